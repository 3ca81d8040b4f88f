"""Official tools, each in a Python environment of its own: they bring libraries that would fight with ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import uv

SIGNING = ("model-signing==1.1.1", "pyopenssl")  # which it imports and does not ask for
CYCLONEDX = ("cyclonedx-python-lib[json-validation]==11.12.0",)
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bough-tests"
VALIDATE = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
found = JsonStrictValidator(SchemaVersion.V1_6).validate_str(sys.stdin.read())
sys.exit(repr(found) if found else 0)
"""

Official = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def official() -> Official:
    """Runs the command `model_signing`."""
    command = str(environment(SIGNING) / "bin/model_signing")
    return lambda *words: subprocess.run([command, *words], capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="session")
def cyclonedx() -> Official:
    """Checks a document against the official schema."""
    python = str(environment(CYCLONEDX) / "bin/python")
    return lambda document: subprocess.run(
        [python, "-c", VALIDATE], input=document, capture_output=True, text=True, timeout=60
    )


def environment(packages: tuple[str, ...]) -> Path:
    """Made once and kept; without a network skipped, but not where CI is set."""
    folder = CACHE / packages[0].partition("[")[0].replace("==", "-")
    if (folder / "whole").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    tool = uv.find_uv_bin()
    make = ["venv", "-q", "-p", sys.executable, str(folder)]
    for words in (make, ["pip", "install", "-q", "-p", str(folder), *packages]):
        done = subprocess.run([tool, *words], capture_output=True, text=True, timeout=100)
        if done.returncode != 0:
            if os.environ.get("CI"):
                pytest.fail(f"{packages[0]} cannot be installed: {done.stderr[-500:]}")
            pytest.skip(f"{packages[0]} cannot be installed here")
    (folder / "whole").touch()
    return folder
