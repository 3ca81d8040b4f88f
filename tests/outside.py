"""Official tools and clients, each in a Python environment of its own: their libraries would fight with ours."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from uv import find_uv_bin

from bough.adapters.builder.uv import uv_environment


def kept() -> Path:
    """Where tests keep what takes long to make, from one run to the next."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bough-tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def environment(*packages: str) -> Path:
    """The folder of a Python environment with these packages; made once, by one test process at a time, and kept.
    Without a network the test is skipped, but fails where CI is set."""
    cache = kept()
    wanted = hashlib.sha256(repr((packages, sys.version_info[:2])).encode()).hexdigest()[:12]
    folder = cache / f"{packages[0].partition('[')[0].partition('==')[0]}-{wanted}"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            variables = uv_environment(os.environ, cache)
            for command in (
                [find_uv_bin(), "venv", "--quiet", "--clear", "--python", sys.executable, folder],
                [find_uv_bin(), "pip", "install", "--quiet", "--python", folder / "bin/python", *packages],
            ):
                done = subprocess.run(command, capture_output=True, text=True, env=variables)
                if done.returncode:
                    why = f"{packages[0]} could not be installed: {done.stderr[-1000:]}"
                    pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
            (folder / "complete").touch()
    return folder
