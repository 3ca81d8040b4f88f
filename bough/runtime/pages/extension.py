"""The loadable extension: built on demand where a C compiler is, kept by the digest of its source, as other libraries
are."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("extension.c")
VARIABLE = "BOUGH_SQLITE_EXTENSION"  # where units find it
TIMEOUT_S = 60.0


def find(folder: Path) -> Path | None:
    """The extension in `folder`, built there first if it is not there yet; None where it cannot be built."""
    return library(SOURCE, folder, "boughpages.so")


def library(source: Path, folder: Path, name: str) -> Path | None:
    """The same of any one file of C."""
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    target = folder / f"{digest}-{platform.machine()}" / name
    if target.exists():
        return target
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    return target if compiler and _build(compiler, source, target) else None


def _build(compiler: str, source: Path, target: Path) -> bool:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            made = Path(folder) / target.name
            command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(made), str(source), "-ldl"]
            done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False)  # noqa: S603 - our own words
            if done.returncode == 0:
                made.replace(target)
    except (OSError, subprocess.SubprocessError):
        return False
    return target.exists()


def here() -> Path | None:
    """For a program: the one that it was told of, else one of its own user's."""
    if (told := os.environ.get(VARIABLE)) and Path(told).exists():
        return Path(told)
    return find(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bough")
