"""Digests of what is saved, worked out ahead of whoever writes it.

Hashing goes at the speed of a fast disk: one after the other they would take twice as long as either. Threads hash what
comes next while a piece is written, which hashlib and the system let happen at once.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future

from bough.runtime.checkpoints.disk import Content

MOST_THREADS = 3  # of 1.5 GB/s each where the processor has instructions for it, of 0.4 where not
_EACH_BYTES = 16 << 20  # for less than this a thread is not worth starting


def ahead(contents: Sequence[Content]) -> Generator[str, None, None]:
    """In order. When it ends, or is closed, nobody looks at the contents any more."""
    threads = min(MOST_THREADS, len(os.sched_getaffinity(0)) - 1, sum(map(len, contents)) // _EACH_BYTES)
    if threads < 1:
        yield from map(digest, contents)
        return
    found: list[Future[str]] = [Future() for _ in contents]
    waiting = deque(zip(contents, found))
    # No pool: it takes no more work once the program has ended, which is when its last state is saved.
    others = [threading.Thread(target=_work, args=(waiting,), name="bough-digests") for _ in range(threads)]
    for thread in others:
        thread.start()
    try:
        for each in found:
            yield each.result()
    finally:
        waiting.clear()
        for thread in others:
            thread.join()


def digest(content: Content) -> str:
    return hashlib.sha256(content).hexdigest()


def _work(waiting: deque[tuple[Content, Future[str]]]) -> None:
    while True:
        try:
            content, found = waiting.popleft()
        except IndexError:
            return
        try:
            found.set_result(digest(content))
        except BaseException as error:  # whoever waits for it has to know
            found.set_exception(error)
