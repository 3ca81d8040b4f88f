"""Blobs: bytes kept under the digest of what they are.

A digest is the SHA-256 of the whole content, 64 lower-case hexadecimal digits. Promises, the same for every technology
(tests/adapters/test_blobs.py runs one body over all of them): a blob is there completely or not at all, also after
`kill -9` of a writer or on a full disk; writing the same bytes twice, at once or later, is harmless; bytes that come
back are those that went in, or the read fails and names the blob. All methods may be called from any thread and any
process; they raise `Exhausted` when the disk is full or not writable.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Protocol


class Blobs(Protocol):
    def put(self, source: BinaryIO | bytes, *, expect: str = "") -> str:
        """Stores all that `source` still has and returns its digest. Idempotent. With `expect`, content of another
        digest is refused (`Invalid`, code DIGEST_MISMATCH) and nothing is kept. Durable when it returns."""

    def open(self, digest: str) -> BinaryIO:
        """A stream of the blob, checked while it is read: the read that reaches the end raises `Problem` (code
        BLOB_DAMAGED) instead when the bytes are not those of `digest`. Raises `NotFound` when absent."""

    def read(self, digest: str) -> bytes:
        """The whole blob, checked before anything is returned. Raises as `open` does."""

    def has(self, digest: str) -> bool:
        """Whether it is there; does not read it."""

    def missing(self, digests: Iterable[str]) -> list[str]:
        """Those that are not there, each once, in the order given: what a sender still has to send."""

    def size(self, digest: str) -> int:
        """Bytes. Raises `NotFound` when absent."""

    def delete(self, digest: str) -> None:
        """Removes it; does nothing when absent. Only garbage collection may call this."""

    def local_path(self, digest: str) -> Path | None:
        """A file on this machine that holds exactly these bytes, for hard-linking and never to be written; None when
        the technology has no such file. Does not check the content. Raises `NotFound` when absent."""
