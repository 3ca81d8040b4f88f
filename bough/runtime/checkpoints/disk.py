"""Files that are there whole or not at all, after a kill and after a power cut."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Union

FLUSH_BYTES = 8 << 20  # written, then the disk is set to work on it: the sync at the end finds little left to do
TEMPORARY = ".new-"  # how names of unfinished files begin
_SYNC_FILE_RANGE_WRITE = 2
_libc = ctypes.CDLL(None, use_errno=True)
Content = Union[bytes, memoryview]


def write_whole(path: Path, content: Content) -> None:
    """Durable when it returns, together with its name."""
    with new_file(path) as descriptor:
        write(descriptor, content)
        os.fsync(descriptor)
    sync_folder(path.parent)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[int]:
    """A file that gets its name when the block ends well, and is gone when it does not."""
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        yield descriptor
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    finally:
        os.close(descriptor)


def write(descriptor: int, content: Content) -> None:
    view, flushed, done = memoryview(content), 0, 0
    while done < len(view):  # a full disk may take less than all before it says so
        done += os.write(descriptor, view[done : done + FLUSH_BYTES])
        if done - flushed >= FLUSH_BYTES:
            start_writing(descriptor, flushed, done - flushed)
            flushed = done
    if flushed and done > flushed:
        start_writing(descriptor, flushed, done - flushed)


def start_writing(descriptor: int, start: int, size: int) -> None:
    """A hint: does not wait, and what it cannot do the sync at the end does."""
    call: Any = getattr(_libc, "sync_file_range", None)
    if call is not None:
        call(descriptor, ctypes.c_int64(start), ctypes.c_int64(size), _SYNC_FILE_RANGE_WRITE)


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(folder: Path) -> None:
    """Takes away what writers left that were killed. Only for a folder that has no writer now."""
    for path in folder.glob(f"{TEMPORARY}*"):
        with contextlib.suppress(OSError):
            path.unlink()
