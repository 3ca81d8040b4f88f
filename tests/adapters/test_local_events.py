"""Ends of processes, as the engine hears of them: many at a time, of descriptors whose numbers are given out again."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable, Iterator

import pytest

from bough.adapters.engine.local_events import Events


@pytest.fixture
def events() -> Iterator[Events]:
    """Not started: the test says when."""
    made = Events(lambda: None)
    yield made
    made.close()


def waiting() -> subprocess.Popen[bytes]:
    """A process that ends as soon as its input does."""
    return subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)


def end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


def test_an_end_that_was_told_together_with_others_is_not_that_of_whoever_has_its_number_since(
    events: Events,
) -> None:
    first, second, lives = waiting(), waiting(), waiting()
    one, two, three = (os.pidfd_open(each.pid) for each in (first, second, lives))
    told, wrong = threading.Event(), threading.Event()

    def takes_the_number(of: int) -> Callable[[], None]:
        def handler() -> None:
            if not told.is_set():  # whichever is told first: the other one's number becomes that of who lives
                events.forget_process(of)
                os.dup2(three, of)
                events.on_exit(of, wrong.set)
                events.soon(told.set)

        return handler

    events.on_exit(one, takes_the_number(two))
    events.on_exit(two, takes_the_number(one))
    end(first), end(second)
    events.start()
    assert told.wait(10) and not wrong.is_set()
    end(lives)
    assert wrong.wait(10), "its own end is told"
    for process in (first, second, lives):
        process.wait()
    for fd in (one, two, three):
        os.close(fd)
