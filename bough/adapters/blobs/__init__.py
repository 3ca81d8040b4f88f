"""Blobs: bytes kept under the digest of what they are.

A digest is the SHA-256 of the whole content, 64 lower-case hexadecimal digits. Promises, the same for every technology
(tests/adapters/test_blobs.py runs one body over all of them): a blob is there completely or not at all, also after
`kill -9` of a writer or on a full disk; writing the same bytes twice, at once or later, is harmless; bytes that come
back are those that went in, or the read fails and names the blob. All methods may be called from any thread and any
process; they raise `Exhausted` when the disk is full or not writable.

A blob remembers when it was last *used*: put, or found by `missing`. Garbage collection spares what was used lately,
so what has been sent is safe until the change that refers to it is committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol


class Held(NamedTuple):
    """A blob that is there; `used_at` in seconds since the epoch, by the storage's own clock."""

    digest: str
    size: int
    used_at: float


class Batch(Protocol):
    def put(self, source: BinaryIO | bytes, *, expect: str = "") -> str:
        """As `Blobs.put`, but there, and durable, only when the batch ends. From any thread."""


class Blobs(Protocol):
    def put(self, source: BinaryIO | bytes, *, expect: str = "") -> str:
        """Stores all that `source` still has and returns its digest. Idempotent. With `expect`, content of another
        digest is refused (`Invalid`, code DIGEST_MISMATCH) and nothing is kept. Durable when it returns."""

    def batch(self) -> AbstractContextManager[Batch]:
        """Many blobs at the price of few: all of them are made durable together when the block ends without an error
        (earlier for a part of them when there are very many). A batch that fails or is killed keeps whole blobs or
        none."""

    def resume(self, digest: str, source: BinaryIO, offset: int) -> int:
        """Goes on with a blob that came in part: what `source` still has belongs at `offset`, which must be
        `partial(digest)` (`Conflict`, code OFFSET_WRONG). Returns the blob's size when it is complete, that is when
        its digest is right; else raises DIGEST_MISMATCH and keeps nothing. When reading `source` fails, what came so
        far is kept for the next call."""

    def partial(self, digest: str) -> int:
        """How many bytes of an unfinished blob are there; 0 when none."""

    def open(self, digest: str, *, afresh: bool = True) -> BinaryIO:
        """A stream of the blob, checked while it is read: the read that reaches the end raises `Problem` (code
        BLOB_DAMAGED) instead when the bytes are not those of `digest`. Raises `NotFound` when absent. Without
        `afresh`, bytes that this process has hashed within an hour and that nobody has written since are not hashed
        again, and the stream may be seekable: what a disk has lost meanwhile is not seen."""

    def read(self, digest: str) -> bytes:
        """The whole blob, checked before anything is returned. Raises as `open` does."""

    def write_to(self, digest: str, descriptor: int) -> int:
        """Writes the blob into an open file from its present position; returns the bytes. Raises as `open` does, after
        it has written: the caller gives the file its name only when this returns."""

    def has(self, digest: str) -> bool:
        """Whether it is there; does not read it."""

    def missing(self, digests: Iterable[str]) -> list[str]:
        """Those that are not there, each once, in the order given: what a sender still has to send. The others count
        as used now."""

    def size(self, digest: str) -> int:
        """Bytes. Raises `NotFound` when absent."""

    def held(self) -> Iterator[Held]:
        """Every blob, in no order. What comes or goes meanwhile may be listed or not."""

    def delete(self, digest: str, *, unless_used_since: float | None = None) -> bool:
        """Removes it unless it was used since that time; says whether it did. Does nothing when absent. Only garbage
        collection may call this."""

    def local_path(self, digest: str) -> Path | None:
        """A file on this machine that holds exactly these bytes, for hard-linking and never to be written; None when
        the technology has no such file. Does not check the content. Raises `NotFound` when absent."""

    def link(self, digest: str, place: str) -> bool:
        """Makes the file `place` a hard link to the blob, which shows its bytes unchecked and is never to be written;
        False, and nothing made, where the technology has no such file or cannot link it there. Raises `NotFound` when
        the blob is absent, `FileExistsError` when something is at `place`."""
