"""Blobs as files: `<root>/sha256/ab/abcd…`, each written under `<root>/incoming` first and renamed when whole.

Files are read-only and all have the same modification time: they are hard-linked into folders that programs run in,
where a stable time keeps cached bytecode valid. When a blob was last used is its *change* time, which no program can
set; linking it counts as use, too. The modification time never moves again, so that a file which another program has
written in shows it (`known.py`). A blob found damaged moves to `<root>/damaged`: it counts as missing from then on,
so that sending it again heals it, and nothing is thrown away.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from bough.adapters.blobs import Held
from bough.adapters.blobs.known import Known, status
from bough.adapters.blobs.reading import (
    CHUNK_BYTES,
    CheckedReader,
    KnownReader,
    check_digest,
    damaged,
    mismatch,
    wrong_offset,
)
from bough.adapters.blobs.writing import copy, sync_file_system
from bough.kernel.errors import NotFound, Problem
from bough.kernel.files import MTIME_S, as_exhausted, sync_path

# An unlocked file in `incoming` this old has no writer: between open and lock lie microseconds.
ABANDONED_AFTER_S = 60.0
PARTIAL_KEPT_S = 7 * 86_400.0  # an upload that was cut may be taken up again for so long
# A batch is made durable whenever so much has come: what a crash can cost stays bounded, and so do open files.
FLUSH_FILES, FLUSH_BYTES = 20_000, 4 << 30
_MODE = 0o444
_CANNOT_LINK = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS)


class DirectoryBlobs:
    def __init__(self, root: Path) -> None:
        """Touches nothing: folders are made by the first `put`."""
        self.root = root
        self._incoming = root / "incoming"
        self._shelves = os.fspath(root / "sha256")
        self._known = Known()

    def put(self, source: BinaryIO | bytes, *, expect: str = "") -> str:
        if expect:
            check_digest(expect)
        stream = io.BytesIO(source) if isinstance(source, bytes) else source
        with as_exhausted(self.root), self._temporary() as (temporary, descriptor):
            digest, size = copy(stream, descriptor)
            if expect and digest != expect:
                raise mismatch(expect, digest)
            self._finish(descriptor, temporary, digest, size)
            return digest

    @contextlib.contextmanager
    def batch(self) -> Iterator[_Batch]:
        folder = self._incoming / f"{os.getpid()}-{secrets.token_hex(8)}"
        with as_exhausted(self.root):
            folder.mkdir(parents=True)
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                made = _Batch(self, folder)
                yield made
                made.flush()
            finally:
                os.close(lock)
                shutil.rmtree(folder, ignore_errors=True)

    def resume(self, digest: str, source: BinaryIO, offset: int) -> int:
        path = self.root / "partial" / check_digest(digest)
        with as_exhausted(self.root):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)  # of two senders the second sees how far the first came
                there = os.fstat(descriptor).st_size
                if offset != there:
                    raise wrong_offset(digest, offset, there)
                with os.fdopen(os.dup(descriptor), "rb") as written:
                    seen = hashlib.file_digest(written, "sha256")
                actual, size = copy(source, descriptor, seen)
                if actual != digest:
                    path.unlink()
                    raise mismatch(digest, actual)
                self._finish(descriptor, path, digest, there + size)
                path.unlink(missing_ok=True)
                return there + size
            finally:
                os.close(descriptor)

    def partial(self, digest: str) -> int:
        try:
            return (self.root / "partial" / check_digest(digest)).stat().st_size
        except FileNotFoundError:
            return 0

    def open(self, digest: str, *, afresh: bool = True) -> BinaryIO:
        path = self.path(digest)
        try:
            raw = path.open("rb", buffering=0)
        except FileNotFoundError:
            raise _absent(digest) from None
        begun = status(raw.fileno())
        reader: io.RawIOBase
        if not afresh and self._known.holds(digest, begun):
            reader = KnownReader(raw, lambda: self._check_still(digest, raw, path))
        else:
            reader = CheckedReader(
                cast(BinaryIO, raw), digest, lambda: self._set_aside(digest, path),
                lambda: self._known.note(digest, begun),
            )  # fmt: skip
        return cast(BinaryIO, io.BufferedReader(reader, CHUNK_BYTES))

    def read(self, digest: str) -> bytes:
        with self.open(digest) as stream:
            return stream.read()

    def write_to(self, digest: str, descriptor: int) -> int:
        path = self.path(digest)
        try:
            source = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            raise _absent(digest) from None
        with os.fdopen(source, "rb", buffering=0) as raw:
            actual, size = copy(cast(BinaryIO, raw), descriptor, flush=False)
        if actual != digest:
            raise self._set_aside(digest, path)
        return size

    def has(self, digest: str) -> bool:
        return self.path(digest).exists()

    def missing(self, digests: Iterable[str]) -> list[str]:
        return [digest for digest in dict.fromkeys(digests) if not self._use(digest)]

    def size(self, digest: str) -> int:
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            raise _absent(digest) from None

    def held(self) -> Iterator[Held]:
        for shelf in sorted((self.root / "sha256").glob("??")):
            with os.scandir(shelf) as found:
                for each in found:
                    with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                        status = each.stat(follow_symlinks=False)
                        yield Held(shelf.name + each.name, status.st_size, status.st_ctime)

    def delete(self, digest: str, *, unless_used_since: float | None = None) -> bool:
        path = self.path(digest)
        if unless_used_since is None:  # for good: also what was set aside
            for damaged_one in (self.root / "damaged").glob(f"{digest}-*"):
                damaged_one.unlink(missing_ok=True)
        with as_exhausted(self.root), contextlib.suppress(FileNotFoundError):
            if unless_used_since is not None and path.stat().st_ctime >= unless_used_since:
                return False
            path.unlink()
            return True
        return False

    def local_path(self, digest: str) -> Path | None:
        path = self.path(digest)
        if not path.exists():
            raise _absent(digest)
        return path

    def link(self, digest: str, place: str) -> bool:
        try:
            os.link(f"{self._shelves}/{check_digest(digest)[:2]}/{digest[2:]}", place)  # ten thousand times: no Path
        except FileNotFoundError:
            if self.has(digest):
                raise  # it is the folder of `place` that is not there
            raise _absent(digest) from None
        except OSError as error:
            if error.errno not in _CANNOT_LINK:
                raise
            return False
        return True

    def sweep(self) -> int:
        """Removes what killed writers left; says how many. Living writers hold a lock and are spared, and so are
        uploads that may be taken up again."""
        swept = 0
        for folder, kept_s in ((self._incoming, ABANDONED_AFTER_S), (self.root / "partial", PARTIAL_KEPT_S)):
            for path in folder.glob("*"):
                with contextlib.suppress(FileNotFoundError):
                    swept += _sweep(path, kept_s)
        return swept

    def path(self, digest: str) -> Path:
        """Where this blob is, or would be."""
        return Path(f"{self._shelves}/{check_digest(digest)[:2]}/{digest[2:]}")  # one Path, not four

    def _finish(self, descriptor: int, temporary: Path, digest: str, size: int) -> None:
        target = self.path(digest)
        if self._use(digest, size):
            return
        _seal(descriptor)
        os.fsync(descriptor)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.rename(target)
        self._known.note(digest, status(descriptor))
        sync_path(target.parent)

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[tuple[Path, int]]:
        self._incoming.mkdir(parents=True, exist_ok=True)
        path = self._incoming / f"{os.getpid()}-{secrets.token_hex(8)}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield path, descriptor
        finally:
            os.close(descriptor)
            path.unlink(missing_ok=True)  # renamed away by now when all went well

    def _use(self, digest: str, size: int | None = None) -> bool:
        """Whether the blob is there already; then it counts as used. One of another size than it should have was cut
        off by a crash of the machine."""
        path = self.path(digest)
        try:
            before = status(path)
            if size is not None and before.size != size:
                return False
            path.chmod(_MODE)  # says nothing new, and moves the change time
            self._known.changed(digest, before, status(path))
        except FileNotFoundError:
            return False
        return True

    def _check_still(self, digest: str, raw: io.FileIO, path: Path) -> None:
        """After a file that was known to be whole has been read. Linked or deleted meanwhile, it still is."""
        now = status(raw.fileno())
        if self._known.holds(digest, now):
            return
        raw.seek(0)
        if hashlib.file_digest(raw, "sha256").hexdigest() != digest:
            raise self._set_aside(digest, path)
        self._known.note(digest, now)

    def _set_aside(self, digest: str, path: Path) -> Problem:
        with contextlib.suppress(OSError):  # read-only: then it stays, and every read says so again
            folder = self.root / "damaged"
            folder.mkdir(parents=True, exist_ok=True)
            path.rename(folder / f"{digest}-{secrets.token_hex(4)}")
        return damaged(digest, str(path))


class _Batch:
    """Files of a folder of its own in `incoming`; nothing has its final name before everything is on the disk."""

    def __init__(self, blobs: DirectoryBlobs, folder: Path) -> None:
        self._blobs, self._folder = blobs, folder
        self._lock = threading.Lock()
        self._waiting: dict[str, tuple[str, int]] = {}  # digest -> file, size
        self._count = self._bytes = 0

    def put(self, source: BinaryIO | bytes, *, expect: str = "") -> str:
        if expect:
            check_digest(expect)
        with self._lock:
            self._count += 1
            place = f"{self._folder}/{self._count}"
        stream = io.BytesIO(source) if isinstance(source, bytes) else source
        with as_exhausted(self._blobs.root):
            descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            try:
                digest, size = copy(stream, descriptor)
                if expect and digest != expect:
                    raise mismatch(expect, digest)
                _seal(descriptor)
            finally:
                os.close(descriptor)
        with self._lock:
            self._waiting[digest] = (place, size)
            self._bytes += size
            if len(self._waiting) >= FLUSH_FILES or self._bytes >= FLUSH_BYTES:
                self.flush()
        return digest

    def flush(self) -> None:
        """Content first, then names: a name that survives a crash stands for content that did."""
        if not self._waiting:
            return
        sync_file_system(self._folder)
        shelves = set()
        for digest, (place, size) in self._waiting.items():
            target = self._blobs.path(digest)
            if self._blobs._use(digest, size):
                continue
            if target.parent not in shelves:
                shelves.add(target.parent)
                target.parent.mkdir(parents=True, exist_ok=True)
            os.rename(place, target)  # noqa: PTH104 - a Path for every file would double the time
        sync_file_system(self._folder)
        self._waiting.clear()
        self._bytes = 0


def _seal(descriptor: int) -> None:
    os.fchmod(descriptor, _MODE)
    os.utime(descriptor, (MTIME_S, MTIME_S))


def _sweep(path: Path, kept_s: float) -> int:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if time.time() - os.fstat(descriptor).st_mtime < kept_s:
            return 0
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
        return 1
    except BlockingIOError:
        return 0
    finally:
        os.close(descriptor)


def _absent(digest: str) -> NotFound:
    return NotFound(f"there is no blob {digest}", code="BLOB_NOT_FOUND", digest=digest)
