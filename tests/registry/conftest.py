"""Official tools, each in a Python environment of its own: they bring libraries that would fight with ours."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from tests.outside import environment

SIGNING = ("model-signing==1.1.1", "pyopenssl")  # which it imports and does not ask for
CYCLONEDX = ("cyclonedx-python-lib[json-validation]==11.12.0",)
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
    command = str(environment(*SIGNING) / "bin/model_signing")
    return lambda *words: subprocess.run([command, *words], capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="session")
def cyclonedx() -> Official:
    """Checks a document against the official schema."""
    python = str(environment(*CYCLONEDX) / "bin/python")
    return lambda document: subprocess.run(
        [python, "-c", VALIDATE], input=document, capture_output=True, text=True, timeout=60
    )
