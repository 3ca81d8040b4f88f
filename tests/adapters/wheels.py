"""Tiny wheels, so that environments are built for real without a package index."""

from __future__ import annotations

import base64
import hashlib
import os
import zipfile
from pathlib import Path


def wheel(
    folder: Path, name: str, version: str, *, needs: tuple[str, ...] = (), size: int = 0, script: str = ""
) -> Path:
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + "".join(
        f"Requires-Dist: {need}\n" for need in needs
    )
    files: dict[str, bytes] = {
        f"{name}/__init__.py": f"VERSION = {version!r}\ndef main():\n    print(VERSION)\n".encode(),
        f"{info}/METADATA": metadata.encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if size:
        files[f"{name}/data.bin"] = os.urandom(size)
    if script:
        files[f"{info}/entry_points.txt"] = f"[console_scripts]\n{script} = {name}:main\n".encode()
    record = "".join(f"{path},sha256={_hash(content)},{len(content)}\n" for path, content in files.items())
    files[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inside, content in files.items():
            archive.writestr(inside, content)
    return path


def shelf(folder: Path) -> Path:
    """A folder of wheels that the tests share."""
    wheel(folder, "msgspec", "0.22.0")
    wheel(folder, "demo", "1.0")
    wheel(folder, "demo", "2.0", script="demo-main")
    wheel(folder, "asks", "1.0", needs=("demo<2",))
    return folder


def offline(shelf: Path, cache: Path) -> dict[str, str]:
    """Variables under which uv knows these wheels and nothing else."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "PIP_NO_INDEX": "1",
        "UV_FIND_LINKS": str(shelf),
        "UV_CACHE_DIR": str(cache),
        "UV_HTTP_RETRIES": "0",
    }


def _hash(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
