"""One platform for all journeys, and fresh ones for those that break theirs."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.machine import Machine


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Python environments of all journeys of one run: what one has built and compiled, the next finds. That they are
    made right is proven in tests/adapters/test_builder.py."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "environments"
    folder.mkdir(exist_ok=True)
    yield folder


@pytest.fixture(scope="session")
def machine(environments: Path) -> Iterator[Machine]:
    """Shared: a test uses project names of its own and leaves the platform running."""
    yield from _machine(environments)


@pytest.fixture
def own_machine(environments: Path) -> Iterator[Machine]:
    """For this test alone."""
    yield from _machine(environments)


@pytest.fixture
def bare_machine() -> Iterator[Machine]:
    """For this test alone, and it shares nothing: all that it makes is below its home."""
    yield from _machine(None)


def _machine(environments: Path | None) -> Iterator[Machine]:
    folder = Path(tempfile.mkdtemp(prefix="bj-", dir="/tmp"))  # short: Unix socket paths hold 107 bytes
    made = Machine(folder / "home", environments)
    try:
        made.up()
        yield made
    finally:
        made.down()
        shutil.rmtree(folder, ignore_errors=True)
