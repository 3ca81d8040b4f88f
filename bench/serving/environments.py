"""One virtual environment per peer, made by uv from `requirements/NAME.txt` and made again when that file changes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from errors import CannotRun

HERE = Path(__file__).parent
PYTHON = "3.11"


def ensure(name: str, envs: Path) -> Path:
    """The environment's folder; does nothing when it is as `requirements/NAME.txt` says."""
    requirements = HERE / "requirements" / f"{name}.txt"
    folder = envs / name
    stamp = folder / "requirements.sha256"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return folder
    print(f"making the environment {name} ...", file=sys.stderr, flush=True)
    if not (folder / "bin" / "python").exists():
        _uv("venv", "--quiet", "--python", PYTHON, str(folder))
    # Bytecode is compiled here so that no peer's start pays for it.
    _uv("pip", "sync", "--quiet", "--compile-bytecode", "--python", str(folder / "bin" / "python"), str(requirements))
    stamp.write_text(digest)
    return folder


def _uv(*arguments: str) -> None:
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if not uv:
        raise CannotRun("uv is not installed; install it with: python -m pip install uv")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    # A folder of local wheels set for pip holds for uv as well (torch without CUDA comes that way on some machines).
    if folder := os.environ.get("PIP_FIND_LINKS"):
        environment.setdefault("UV_FIND_LINKS", folder)
    done = subprocess.run([uv, *arguments], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise CannotRun(f"uv {arguments[0]} failed: {' '.join(done.stderr.split())[-400:]}")
