"""One platform for all journeys, and fresh ones for those that break theirs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.machine import Machine


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    """Shared: a test uses project names of its own and leaves the platform running."""
    yield from _machine()


@pytest.fixture
def own_machine() -> Iterator[Machine]:
    """For this test alone."""
    yield from _machine()


def _machine() -> Iterator[Machine]:
    folder = Path(tempfile.mkdtemp(prefix="bj-", dir="/tmp"))  # short: Unix socket paths hold 107 bytes
    made = Machine(folder / "home")
    try:
        made.up()
        yield made
    finally:
        made.down()
        shutil.rmtree(folder, ignore_errors=True)
