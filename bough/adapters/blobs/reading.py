"""What every technology of `Blobs` does the same way: digests as text, and reading that checks."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable
from typing import BinaryIO

from bough.kernel.errors import Conflict, Invalid, Problem

CHUNK_BYTES = 1 << 20  # hashing and copying reach full speed from about 256 KiB on

_DIGEST = re.compile(r"[0-9a-f]{64}")


def check_digest(digest: str) -> str:
    """`digest` if it is one: it becomes part of a path. Raises `Invalid` (code DIGEST_INVALID) otherwise."""
    if _DIGEST.fullmatch(digest):
        return digest
    what = f"{digest!r} is not a SHA-256 in 64 lower-case hexadecimal digits"
    raise Invalid(what, code="DIGEST_INVALID", digest=digest)


def mismatch(expected: str, actual: str) -> Invalid:
    return Invalid(
        f"the content has digest {actual}, not {expected} as announced; nothing was kept",
        code="DIGEST_MISMATCH",
        hint="send it again: it changed while it was read, or was damaged on the way",
        expected=expected,
        actual=actual,
    )


def damaged(digest: str, where: str) -> Problem:
    return Problem(
        f"blob {digest} at {where} no longer holds what was stored: the disk or another program changed it",
        code="BLOB_DAMAGED",
        hint="it was set aside; send the file again: bough deploy, bough data put, or bough data verify --from DIR",
        digest=digest,
        path=where,
    )


def wrong_offset(digest: str, asked: int, there: int) -> Conflict:
    return Conflict(
        f"{there:,} bytes of blob {digest} are there, so it cannot go on at {asked:,}",
        code="OFFSET_WRONG", hint="ask blobs.partial how far it came, and go on from there", digest=digest,
        offset=there,
    )  # fmt: skip


def _nothing() -> None: ...


class CheckedReader(io.RawIOBase):
    """Reads `stream`, and refuses to report the end unless all bytes together had the digest; then calls `on_whole`."""

    def __init__(
        self, stream: BinaryIO, digest: str, on_damage: Callable[[], Problem], on_whole: Callable[[], None] = _nothing
    ) -> None:
        super().__init__()
        self._stream = stream
        self._digest = digest
        self._on_damage, self._on_whole = on_damage, on_whole
        self._hash = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # typeshed names a wider buffer type
        count = self._stream.readinto(buffer)  # type: ignore[attr-defined] # of raw files and of memory alike
        if not count and len(buffer):
            if self._hash.hexdigest() != self._digest:
                raise self._on_damage()
            self._on_whole()
            return 0
        self._hash.update(buffer[:count])
        return int(count)

    def close(self) -> None:
        self._stream.close()
        super().close()


class KnownReader(io.RawIOBase):
    """Reads a file that is known to be whole, from wherever it is asked to. `check` is called at the end, and raises
    when that is no longer so."""

    def __init__(self, stream: io.FileIO, check: Callable[[], None]) -> None:
        super().__init__()
        self._stream, self._check = stream, check

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # typeshed names a wider buffer type
        count = self._stream.readinto(buffer)
        if not count and len(buffer):
            self._check()
        return count

    def close(self) -> None:
        self._stream.close()
        super().close()
