"""Blobs in memory, for tests and for `bough dev` without a disk."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, cast

from bough.adapters.blobs.reading import CheckedReader, check_digest, damaged, mismatch
from bough.kernel.errors import NotFound, Problem


class MemoryBlobs:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._contents: dict[str, bytes] = {}

    def put(self, source: BinaryIO | bytes, *, expect: str = "") -> str:
        content = source if isinstance(source, bytes) else source.read()
        digest = hashlib.sha256(content).hexdigest()
        if expect and digest != check_digest(expect):
            raise mismatch(expect, digest)
        with self._lock:
            self._contents[digest] = content
        return digest

    def open(self, digest: str) -> BinaryIO:
        reader = CheckedReader(io.BytesIO(self._content(digest)), digest, lambda: self._damaged(digest))
        return cast(BinaryIO, io.BufferedReader(reader))

    def read(self, digest: str) -> bytes:
        with self.open(digest) as stream:
            return stream.read()

    def has(self, digest: str) -> bool:
        with self._lock:
            return check_digest(digest) in self._contents

    def missing(self, digests: Iterable[str]) -> list[str]:
        return [digest for digest in dict.fromkeys(digests) if not self.has(digest)]

    def size(self, digest: str) -> int:
        return len(self._content(digest))

    def delete(self, digest: str) -> None:
        with self._lock:
            self._contents.pop(check_digest(digest), None)

    def local_path(self, digest: str) -> Path | None:
        self._content(digest)
        return None

    def damage(self, digest: str) -> None:
        """Fault injection: changes the last byte, or adds one to an empty blob."""
        with self._lock:
            content = self._contents[digest]
            self._contents[digest] = content[:-1] + bytes([(content[-1] + 1) % 256]) if content else b"x"

    def _content(self, digest: str) -> bytes:
        with self._lock:
            content = self._contents.get(check_digest(digest))
        if content is None:
            raise NotFound(f"there is no blob {digest}", code="BLOB_NOT_FOUND", digest=digest)
        return content

    def _damaged(self, digest: str) -> Problem:
        self.delete(digest)
        return damaged(digest, "memory")
