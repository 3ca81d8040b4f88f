"""SQLite's own locks, taken from outside: what keeps writers away from a database for the moment of a cut.

They are locks of an open file description (Linux): they stand against those of every SQLite connection, also of this
process, and go when the descriptor does. To close any descriptor of a database drops the locks that SQLite holds on it
in the same process; the server therefore never opens a database that it cuts through SQLite (`worker.py` does).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from bough.kernel.errors import Busy

PENDING, RESERVED, SHARED, SHARED_SIZE = 0x40000000, 0x40000001, 0x40000002, 510  # bytes of the database file
WAL_LOCKS, WAL_LOCKS_SIZE, WAL_CONNECTED = 120, 3, 128  # bytes of -shm: write, checkpoint, recover; who is connected
LOOK_S = 0.0005
_FLOCK = struct.Struct("hhqqi4x")


class Held:
    """`wal_is_live`: somebody has the database open in WAL mode, so what `-shm` says is true."""

    def __init__(self, wal_is_live: bool, waited_s: float) -> None:
        self.wal_is_live, self.waited_s = wal_is_live, waited_s


@contextlib.contextmanager
def writers_held(path: Path, *, wal: bool, within_s: float) -> Iterator[Held]:
    """Keeps everybody from writing into the database at `path`; readers go on. `wal`: it is in WAL mode. Raises `Busy`
    (DATABASE_IN_USE) when a writer does not end `within_s`."""
    began = time.monotonic()
    deadline = began + within_s
    with contextlib.ExitStack() as stack:
        main = _open(stack, path)
        _take(main, fcntl.F_RDLCK, PENDING, 1, deadline, path)
        _take(main, fcntl.F_RDLCK, SHARED, SHARED_SIZE, deadline, path)
        _set(main, fcntl.F_UNLCK, PENDING, 1)
        _take(main, fcntl.F_WRLCK, RESERVED, 1, deadline, path)
        live = False
        if wal:
            shared = _open(stack, path.with_name(f"{path.name}-shm"), os.O_CREAT)
            _take(shared, fcntl.F_WRLCK, WAL_LOCKS, WAL_LOCKS_SIZE, deadline, path)
            live = not _set(shared, fcntl.F_WRLCK, WAL_CONNECTED, 1)
            if not live:
                _set(shared, fcntl.F_UNLCK, WAL_CONNECTED, 1)
        yield Held(live, time.monotonic() - began)


def _open(stack: contextlib.ExitStack, path: Path, flags: int = 0) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | flags, 0o600)
    stack.callback(os.close, descriptor)
    return descriptor


def _take(descriptor: int, kind: int, start: int, size: int, deadline: float, path: Path) -> None:
    while not _set(descriptor, kind, start, size):
        if time.monotonic() > deadline:
            raise Busy(
                f"a program has been writing into {path.name} for a while; nothing was cut",
                code="DATABASE_IN_USE", hint="try again when its transaction has ended",
            )  # fmt: skip
        time.sleep(LOOK_S)


def _set(descriptor: int, kind: int, start: int, size: int) -> bool:
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, start, size, 0))
    except (BlockingIOError, PermissionError):
        return False
    return True
