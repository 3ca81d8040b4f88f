"""Blobs as files: `<root>/sha256/ab/abcd…`, each written under `<root>/incoming` first and renamed when whole.

Files are read-only and all have the same modification time: they are hard-linked into folders that programs run in,
where a stable time keeps cached bytecode valid. A blob found damaged moves to `<root>/damaged`: it counts as missing
from then on, so that sending it again heals it, and nothing is thrown away.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from bough.adapters.blobs.reading import CHUNK_BYTES, CheckedReader, check_digest, damaged, mismatch
from bough.kernel.errors import NotFound, Problem
from bough.kernel.files import MTIME_S, as_exhausted

# An unlocked file in `incoming` this old has no writer: between open and lock lie microseconds.
ABANDONED_AFTER_S = 60.0


class DirectoryBlobs:
    def __init__(self, root: Path) -> None:
        """Touches nothing: folders are made by the first `put`."""
        self.root = root
        self._incoming = root / "incoming"

    def put(self, source: BinaryIO | bytes, *, expect: str = "") -> str:
        if expect:
            check_digest(expect)
        stream = io.BytesIO(source) if isinstance(source, bytes) else source
        with as_exhausted(self.root), self._temporary() as (temporary, file):
            digest = _copy(stream, file)
            if expect and digest != expect:
                raise mismatch(expect, digest)
            target = self._path(digest)
            if self._holds(target, file.tell()):
                return digest
            os.fchmod(file.fileno(), 0o444)
            os.utime(file.fileno(), (MTIME_S, MTIME_S))
            os.fsync(file.fileno())
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.rename(target)
            _sync_folder(target.parent)
            return digest

    def open(self, digest: str) -> BinaryIO:
        path = self._path(digest)
        try:
            raw = path.open("rb", buffering=0)
        except FileNotFoundError:
            raise _absent(digest) from None
        reader = CheckedReader(cast(BinaryIO, raw), digest, lambda: self._set_aside(digest, path))
        return cast(BinaryIO, io.BufferedReader(reader, CHUNK_BYTES))

    def read(self, digest: str) -> bytes:
        with self.open(digest) as stream:
            return stream.read()

    def has(self, digest: str) -> bool:
        return self._path(digest).exists()

    def missing(self, digests: Iterable[str]) -> list[str]:
        return [digest for digest in dict.fromkeys(digests) if not self.has(digest)]

    def size(self, digest: str) -> int:
        try:
            return self._path(digest).stat().st_size
        except FileNotFoundError:
            raise _absent(digest) from None

    def delete(self, digest: str) -> None:
        with as_exhausted(self.root):
            self._path(digest).unlink(missing_ok=True)

    def local_path(self, digest: str) -> Path | None:
        path = self._path(digest)
        if not path.exists():
            raise _absent(digest)
        return path

    def sweep(self) -> int:
        """Removes what killed writers left in `incoming`; says how many. Living writers hold a lock and are spared."""
        swept = 0
        for path in self._incoming.glob("*"):
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                if time.time() - os.fstat(file.fileno()).st_mtime < ABANDONED_AFTER_S:
                    continue
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                path.unlink()
                swept += 1
        return swept

    def _path(self, digest: str) -> Path:
        return self.root / "sha256" / check_digest(digest)[:2] / digest[2:]

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[tuple[Path, BinaryIO]]:
        self._incoming.mkdir(parents=True, exist_ok=True)
        path = self._incoming / f"{os.getpid()}-{secrets.token_hex(8)}"
        file = path.open("xb", buffering=0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield path, cast(BinaryIO, file)
        finally:
            file.close()
            path.unlink(missing_ok=True)  # renamed away by now when all went well

    def _holds(self, target: Path, size: int) -> bool:
        """Whether the blob is there already. One of another size was cut off by a crash of the machine."""
        try:
            return target.stat().st_size == size
        except FileNotFoundError:
            return False

    def _set_aside(self, digest: str, path: Path) -> Problem:
        with contextlib.suppress(OSError):  # read-only: then it stays, and every read says so again
            folder = self.root / "damaged"
            folder.mkdir(parents=True, exist_ok=True)
            path.rename(folder / f"{digest}-{secrets.token_hex(4)}")
        return damaged(digest, str(path))


def _copy(source: BinaryIO, target: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := source.read(CHUNK_BYTES):
        digest.update(chunk)
        view = memoryview(chunk)
        while view:  # an unbuffered file may take less than all
            view = view[target.write(view) :]
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _absent(digest: str) -> NotFound:
    return NotFound(f"there is no blob {digest}", code="BLOB_NOT_FOUND", digest=digest)
