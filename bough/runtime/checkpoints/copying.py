"""Bytes from one place in memory to another, as fast as the machine does it.

The C library's `memmove` writes past the caches where it copies much; PyTorch's own `copy_` does not, and took more
than twice as long for a gigabyte. What is large is divided among threads: one core seldom fills the way to the memory,
and the program's other cores have nothing to do while it waits.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
from collections.abc import Sequence

MOST_THREADS = 4  # more fill no memory faster
_EACH_BYTES = 64 << 20  # for less than this a thread is not worth starting

Move = tuple[int, int, int]  # to, from, how many bytes


def move(moves: Sequence[Move]) -> None:
    """The ranges must stay where they are until it returns, and not overlap."""
    total = sum(size for _, _, size in moves)
    parts = divided(moves, max(1, min(MOST_THREADS, len(os.sched_getaffinity(0)), total // _EACH_BYTES)))
    others = [threading.Thread(target=_move, args=(part,), name="bough-copy") for part in parts[1:]]
    for thread in others:
        thread.start()
    _move(parts[0])
    for thread in others:
        thread.join()


def divided(moves: Sequence[Move], count: int) -> list[list[Move]]:
    """Pure: the same bytes in `count` parts of about equal size; a large range is cut."""
    share = -(-sum(size for _, _, size in moves) // count) or 1
    parts: list[list[Move]] = [[] for _ in range(count)]
    number, room = 0, share
    for to, source, size in moves:
        done = 0
        while done < size:
            some = min(size - done, room)
            parts[number].append((to + done, source + done, some))
            done, room = done + some, room - some
            if not room and number + 1 < count:
                number, room = number + 1, share
    return parts


def address_of(memory: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def _move(moves: Sequence[Move]) -> None:
    for to, source, size in moves:
        ctypes.memmove(to, source, size)  # other threads run meanwhile: ctypes lets them
