"""What a unit's process finds around it: Bough's runtime on its path, an environment, a port."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

import bough
from bough.kernel.errors import Unavailable
from bough.kernel.files import as_exhausted
from bough.runtime.spec import MODEL_ENVIRONMENT, UnitSpec

# Below the kernel's ephemeral range, so that no outgoing connection takes a port between our choice and its use.
PORTS = range(20_000, 30_000)
# What a unit inherits. Nothing else: the node's own settings and secrets stay with the node.
_INHERITED = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
    "http_proxy", "https_proxy", "no_proxy", "CUDA_VISIBLE_DEVICES",
)  # fmt: skip
# The runtime, and what a program reports with; of the kernel what those two need.
_STAGED = ("checkpoint.py", "runtime/**/*.py", "client/*.py", "client/contract.json", "kernel/__init__.py",
           *(f"kernel/{name}.py" for name in ("calling", "errors", "names", "platform", "settings")))  # fmt: skip
_INHERITED_PREFIXES = ("LC_", "NVIDIA_", "UV_", "PIP_")


def stage_runtime(home: Path) -> Path:
    """A copy of what runs inside users' processes, under a name that says what is in it; what units that already run
    have imported never changes below them. Returns the folder to put on their path."""
    source = Path(bough.__file__).parent
    files = sorted([source / "__init__.py", *(each for name in _STAGED for each in source.glob(name))])
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(source)}\0".encode() + file.read_bytes() + b"\0")
    target = home / "runtime" / digest.hexdigest()[:16]
    if target.is_dir():
        return target
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    with as_exhausted(target):
        for file in files:
            copy = temporary / "bough" / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            with copy.open("wb") as out:  # flushed: under a name that is its digest a torn copy would stay for ever
                out.write(file.read_bytes())
                out.flush()
                os.fsync(out.fileno())
        try:
            temporary.rename(target)
        except OSError:
            shutil.rmtree(temporary, ignore_errors=True)
            if not target.is_dir():  # else another process was faster
                raise
    return target


def base_environment(spec: UnitSpec, runtime: Path, inherited: Mapping[str, str]) -> dict[str, str]:
    """What all attempts of a unit, and the zygote of its model, have in common: nothing that says which unit it is."""
    base = {name: value for name, value in inherited.items()
            if name in _INHERITED or name.startswith(_INHERITED_PREFIXES)}  # fmt: skip
    base |= {"PYTHONUNBUFFERED": "1", **spec.environment}
    if spec.python or spec.model:
        python = Path(spec.python or sys.executable)
        base["PYTHONPATH"] = os.pathsep.join(filter(None, (str(runtime), spec.environment.get("PYTHONPATH", ""))))
        if "PATH" not in spec.environment:
            base["PATH"] = os.pathsep.join(filter(None, (str(python.parent), base.get("PATH", os.defpath))))
        if (python.parent.parent / "pyvenv.cfg").exists():
            base.setdefault("VIRTUAL_ENV", str(python.parent.parent))
    if spec.model:
        base = {**MODEL_ENVIRONMENT, **base}
    return base


def unit_environment(spec: UnitSpec, base: dict[str, str], folder: Path, port: int) -> dict[str, str]:
    own = {f"BOUGH_{name.upper()}": value for name, value in spec.labels.items()}
    own |= {"BOUGH_UNIT": spec.unit, "BOUGH_ATTEMPT": str(spec.attempt), "BOUGH_FOLDER": str(folder)}
    if port:
        own["PORT"] = str(port)
    return {**base, **own}


def free_port(taken: set[int]) -> int:
    """A loopback port that nobody listens on and that is not in `taken`."""
    start = random.randrange(len(PORTS))  # noqa: S311 - spreads nodes that share a machine; no secret
    for step in range(len(PORTS)):
        port = PORTS[(start + step) % len(PORTS)]
        if port in taken:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise Unavailable("no free port between 20000 and 29999", code="NO_FREE_PORT", hint="stop services: bough status")
