from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bough.runtime.answers import failure_log
from tests.runtime.wire import Connection, Replica


@pytest.fixture(autouse=True)
def fresh_log() -> None:
    """What one test made fail does not silence the next."""
    failure_log.reset()


@pytest.fixture
def replica() -> Iterator[Callable[..., tuple[Replica, Connection]]]:
    """Starts replica processes and connects to each; ends them all."""
    started: list[Replica] = []

    def start(reference: str, *options: str, **more: Any) -> tuple[Replica, Connection]:
        process = Replica(reference, *options, **more)
        started.append(process)
        return process, process.connect()

    yield start
    for one in started:
        one.close()
