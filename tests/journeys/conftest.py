"""One platform for all journeys, and fresh ones for those that break theirs."""

from __future__ import annotations

import datetime
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.machine import Machine
from tests.outside import kept


@pytest.fixture(scope="session")
def environments() -> Path:
    """Python environments of the journeys: what one has built and compiled, the next finds, for a week. That they are
    made right is proven in tests/adapters/test_builder.py."""
    year, week, _ = datetime.date.today().isocalendar()
    folder = kept() / "environments" / f"{year}-{week:02}"
    folder.mkdir(parents=True, exist_ok=True)
    for old in sorted(folder.parent.iterdir())[:-2]:  # a run that began last week may still use its own
        shutil.rmtree(old, ignore_errors=True)
    return folder


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
