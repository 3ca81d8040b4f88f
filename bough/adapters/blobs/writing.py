"""Copying into a file while hashing, and the system calls that make many files durable at once."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import io
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from bough.adapters.blobs.reading import CHUNK_BYTES

FLUSH_BYTES = 32 << 20  # written, then the disk is set to work on it: the sync at the end finds little left to do
BUFFER_BYTES = 256 << 10  # read, hashed and written while it is in the processor's cache

_SYNC_FILE_RANGE_WRITE = 2
_libc = ctypes.CDLL(None, use_errno=True)


def copy(
    source: BinaryIO, descriptor: int, digest: hashlib._Hash | None = None, *, flush: bool = True
) -> tuple[str, int]:
    """Everything that `source` still has into a file; the digest (of what `digest` has seen, and this) and bytes.
    `flush` sets the disk to work at once, for a file that is to be made durable."""
    digest = digest or hashlib.sha256()
    size = flushed = 0
    for chunk in _chunks(source):
        digest.update(chunk)
        _write(descriptor, chunk)
        size += len(chunk)
        if flush and size - flushed >= FLUSH_BYTES:
            _start_writing(descriptor, flushed, size - flushed)
            flushed = size
    return digest.hexdigest(), size


def _chunks(source: BinaryIO) -> Iterator[memoryview | bytes]:
    """A plain file is read into one buffer again and again. Hashing in a second thread was tried: on two busy cores it
    costs a fifth instead of saving time, because chunks leave the cache of one core for that of the other."""
    if not isinstance(source, io.FileIO):
        while piece := source.read(CHUNK_BYTES):
            yield piece
        return
    buffer = memoryview(mmap.mmap(-1, BUFFER_BYTES))  # begins at a page: see runtime/buffers.py
    while count := source.readinto(buffer):
        yield buffer[:count]


def sync_file_system(folder: Path) -> None:
    """Everything written so far to the file system of `folder` is on the disk when this returns. One call for ten
    thousand files costs what a few single ones do."""
    with _descriptor(folder) as descriptor:
        if _libc.syncfs(descriptor):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(folder))


def _start_writing(descriptor: int, start: int, size: int) -> None:
    """A hint: does not wait, and what it cannot do the sync at the end does."""
    _libc.sync_file_range(descriptor, ctypes.c_int64(start), ctypes.c_int64(size), _SYNC_FILE_RANGE_WRITE)


@contextlib.contextmanager
def _descriptor(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write(descriptor: int, chunk: memoryview | bytes) -> None:
    view = memoryview(chunk)
    while view:  # a full disk may take less than all before it says so
        view = view[os.write(descriptor, view) :]
