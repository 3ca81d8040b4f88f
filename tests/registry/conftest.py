"""The official verifier, in a Python environment of its own: it brings libraries that would fight with ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import uv

PACKAGE = "model-signing==1.1.1"
UNDECLARED = "pyopenssl"  # which it imports and does not ask for
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bough-tests"

Official = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def official() -> Official:
    """Runs the command `model_signing`. Made once and kept; without a network skipped, but not where CI is set."""
    folder = CACHE / PACKAGE.replace("==", "-")
    command = folder / "bin/model_signing"
    if not command.exists():
        shutil.rmtree(folder, ignore_errors=True)
        tool = uv.find_uv_bin()
        make = ["venv", "-q", "-p", sys.executable, str(folder)]
        for words in (make, ["pip", "install", "-q", "-p", str(folder), PACKAGE, UNDECLARED]):
            done = subprocess.run([tool, *words], capture_output=True, text=True, timeout=100)
            if done.returncode != 0:
                shutil.rmtree(folder, ignore_errors=True)
                if os.environ.get("CI"):
                    pytest.fail(f"{PACKAGE} cannot be installed: {done.stderr[-500:]}")
                pytest.skip(f"{PACKAGE} cannot be installed here")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(command), *words], capture_output=True, text=True, timeout=60)

    return run
