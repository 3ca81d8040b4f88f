"""Memory for files: where it begins, and that it is its holder's alone."""

from __future__ import annotations

import ctypes
import mmap
import os

import pytest

from bough.runtime.buffers import aligned


@pytest.mark.parametrize("size", [0, 1, 4096, 300_000])
def test_it_begins_at_a_page_and_has_the_size_that_was_asked_for(size: int) -> None:
    buffer = aligned(size)
    assert (len(buffer), buffer.readonly, bytes(buffer)) == (size, False, bytes(size))
    if size:
        assert ctypes.addressof(ctypes.c_char.from_buffer(buffer)) % mmap.PAGESIZE == 0


def test_what_a_forked_process_writes_into_it_stays_there() -> None:
    buffer = aligned(1)
    if not (child := os.fork()):
        buffer[0] = 1
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert buffer[0] == 0
