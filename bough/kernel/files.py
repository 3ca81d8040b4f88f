"""Files that are whole or absent, and the disk's refusals as errors that a person can act on."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from bough.kernel.errors import Exhausted

# The modification time of every file that Bough lays out for programs: 2020-01-01 UTC. Any constant keeps cached
# bytecode valid; a date after 1980 also suits zip files made from such a folder.
MTIME_S = 1_577_836_800

FICLONE = 0x40049409  # ioctl: share the blocks of another file, where the file system can

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextlib.contextmanager
def as_exhausted(place: Path) -> Iterator[None]:
    """Turns a full or unwritable disk under `place` into `Exhausted` (code DISK_FULL or NOT_WRITABLE)."""
    try:
        yield
    except OSError as error:
        path = str(error.filename or place)
        if error.errno in _FULL:
            what = f"no space left to write {path} ({error.strerror}); nothing was half-written"
            raise disk_full(what, place, path=path) from error
        if error.errno in _READ_ONLY:
            what = f"{path} cannot be written ({error.strerror}); nothing was changed"
            raise not_writable(what, place, path=path) from error
        raise


def disk_full(message: str, place: Path, **fields: str) -> Exhausted:
    """The one error for a disk without room, whoever met it: code DISK_FULL."""
    hint = f"free some space (df -h {place}), then run the same command again"
    return Exhausted(message, code="DISK_FULL", hint=hint, **fields)


def not_writable(message: str, place: Path, **fields: str) -> Exhausted:
    """The one error for a place that takes no writes, whoever met it: code NOT_WRITABLE."""
    hint = f"ls -ld {place}; make it writable for the user that runs Bough"
    return Exhausted(message, code="NOT_WRITABLE", hint=hint, **fields)


def write_whole(path: Path, content: bytes, *, mode: int = 0o644, synced: bool = True) -> None:
    """Writes `path` so that a reader, or a crash at any moment, finds the old content or the new, never a part. Without
    `synced` that holds for every crash but that of the machine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
            file.flush()
            if synced:
                os.fsync(file.fileno())
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)


def save(path: Path, text: str) -> None:
    """A file that somebody asked for, whole or not at all. Raises `Exhausted`."""
    with as_exhausted(path.parent):
        write_whole(path, text.encode())


def sync_path(path: Path) -> None:
    """What the file holds, or which names the folder has, is on the disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cloned(source: Path, target: Path) -> bool:
    """Makes `target` a copy that shares the blocks of `source` until either changes. False where the file system
    cannot: then `target` is empty."""
    with source.open("rb") as old, target.open("wb") as new:
        return share_blocks(old, new)


def share_blocks(source: IO[bytes], target: IO[bytes]) -> bool:
    """The same for open files. Whatever the reason is for a no, a copy still works, and says what is wrong if not."""
    try:
        fcntl.ioctl(target.fileno(), FICLONE, source.fileno())
    except OSError:
        return False
    return True


@contextlib.contextmanager
def locked(path: Path) -> Iterator[int]:
    """Holds the lock file `path` exclusively among processes and threads, waiting for it. The kernel lets go when the
    last process with the descriptor (which is yielded, to be handed to children) is gone, however it went."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked_at_once(path: Path) -> Iterator[int | None]:
    """As `locked`, in a folder that is there; None, without waiting, where somebody else holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held = None
        else:
            held = descriptor
        yield held
    finally:
        os.close(descriptor)
