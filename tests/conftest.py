"""What every test may use, and the one thing that none may do: reach a machine other than this one."""

from __future__ import annotations

import gc
import ipaddress
import os
import sys
import tempfile
from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

from bough.adapters.database.sqlite import SqliteDatabase
from bough.kernel.clock import VirtualClock
from bough.kernel.tables import metadata
from tests.depth import times

# Two shared cores: a slow example is a busy machine, not a bug. CI looks at the same examples again.
EXAMPLES = times("BOUGH_EXAMPLES", quick=40, deep=100)
settings.register_profile("laptop", max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", max_examples=EXAMPLES, deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "laptop")


class ReachedOut(ConnectionRefusedError):
    """A test tried to talk to another machine. An OSError, so that the code under test cleans up after it."""


_guard = {"on": False}  # an audit hook cannot be taken away again, so it is switched instead
_reached: list[str] = []


def _refuse_other_machines(event: str, arguments: tuple[Any, ...]) -> None:
    if not _guard["on"] or event not in ("socket.connect", "socket.sendto"):
        return
    address = arguments[1]
    if isinstance(address, tuple) and not _is_here(str(address[0])):
        _reached.append(f"{address[0]}:{address[1]}")
        raise ReachedOut(f"a test reached for {address[0]}:{address[1]}; tests use the loopback only")


def _is_here(host: str) -> bool:
    if host in ("", "localhost", "0.0.0.0"):
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


sys.addaudithook(_refuse_other_machines)


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: tests of servers wait for most of their time, for processes and for pauses."""
    return len(os.sched_getaffinity(0)) + 1


class FileByFile(LoadFileScheduling):
    """Tests of one file run in one test process, one after the other; so do the files of `tests/mlflow`, which need a
    process with MLflow in memory: to load it takes seven CPU seconds."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "tests/mlflow" if file.startswith("tests/mlflow/") else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FileByFile | None:
    return FileByFile(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported to find the tests stays until the end: looking through it for garbage, now and again in every
    test and fork, would take longer than many tests do."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long first: it would, coming last, leave all but one of the test processes idle."""
    long = [Path(__file__).parent / name for name in ("mlflow", "journeys")]
    items.sort(key=lambda item: not any(item.path.is_relative_to(each) for each in long))


@pytest.fixture(autouse=True)
def closed_planes() -> Iterator[None]:
    """A control plane holds some twenty files, and a process has room for those of so many."""
    yield
    if (plane := sys.modules.get("tests.plane")) is not None:  # importing it takes longer than most tests
        plane.close_all()


@pytest.fixture(autouse=True)
def loopback_only() -> Iterator[list[str]]:
    """Python's own sockets may connect to this machine only; a test whose code tried more fails even if that code took
    the refusal calmly. Subprocesses, and libraries with sockets of their own (libuv), are out of its reach."""
    _guard["on"] = True
    _reached.clear()
    yield _reached
    _guard["on"] = False
    assert not _reached, f"reached for other machines: {', '.join(_reached)}"


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    """A fresh database file with the tables of everything imported so far."""
    path = tmp_path / "bough.db"
    path.write_bytes(_fresh(frozenset(metadata.tables)))
    made = SqliteDatabase(path, durable=False)
    yield made
    made.close()


@cache
def _fresh(tables: frozenset[str]) -> bytes:
    """A file with these tables, all that are known: made once, for that takes longer than most tests."""
    with tempfile.TemporaryDirectory() as folder:
        made = SqliteDatabase(Path(folder) / "bough.db", durable=False)
        with made.write() as tx:
            metadata.create_all(tx, tables=[metadata.tables[name] for name in tables])
        made.close()
        return made.path.read_bytes()
