"""One platform for all journeys, and fresh ones for those that break theirs."""

from __future__ import annotations

import datetime
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.journeys.machine import Machine
from tests.outside import kept

# Of NumPy, in jobs and workers: several that wait for one another, on cores that others use too, do so by spinning.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def built() -> dict[str, Path]:
    """Locks and Python environments of the journeys, by their name in a home: what one has resolved, built and
    compiled, the next finds, for a week. That they are made right is proven in tests/adapters/test_builder.py."""
    year, week, _ = datetime.date.today().isocalendar()
    folders = {"envs": kept() / "environments" / f"{year}-{week:02}", "locks": kept() / "locks" / f"{year}-{week:02}"}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
        for old in sorted(folder.parent.iterdir())[:-2]:  # a run that began last week may still use its own
            shutil.rmtree(old, ignore_errors=True)
    return folders


@pytest.fixture(scope="session")
def machine(built: dict[str, Path]) -> Iterator[Machine]:
    """Shared: a test uses project names of its own and leaves the platform running."""
    with _machine(built) as made:
        made.up()
        yield made


@pytest.fixture
def own_machine(built: dict[str, Path]) -> Iterator[Machine]:
    """For this test alone."""
    with _machine(built) as made:
        made.up()
        yield made


@pytest.fixture(scope="module")
def our_machine(built: dict[str, Path]) -> Iterator[Machine]:
    """For the tests of one file."""
    with _machine(built) as made:
        made.up()
        yield made


@pytest.fixture
def new_machine(built: dict[str, Path]) -> Iterator[Machine]:
    """For this test alone, and not up yet."""
    with _machine(built) as made:
        yield made


@pytest.fixture
def bare_machine() -> Iterator[Machine]:
    """For this test alone, and it shares nothing: all that it makes is below its home."""
    with _machine({}) as made:
        made.up()
        yield made


@contextmanager
def _machine(built: dict[str, Path]) -> Iterator[Machine]:
    folder = Path(tempfile.mkdtemp(prefix="bj-", dir="/tmp"))  # short: Unix socket paths hold 107 bytes
    made = Machine(folder / "home", built)
    made.environment |= ONE_THREAD
    try:
        yield made
    finally:
        made.down()
        shutil.rmtree(folder, ignore_errors=True)
