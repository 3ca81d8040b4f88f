"""Blobs in memory, for tests and for `bough dev` without a disk."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from bough.adapters.blobs import Held
from bough.adapters.blobs.reading import CheckedReader, check_digest, damaged, mismatch, wrong_offset
from bough.kernel.errors import NotFound, Problem


class MemoryBlobs:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._contents: dict[str, bytes] = {}
        self._used: dict[str, float] = {}
        self._partial: dict[str, bytes] = {}

    def put(self, source: BinaryIO | bytes, *, expect: str = "") -> str:
        content = source if isinstance(source, bytes) else source.read()
        digest = hashlib.sha256(content).hexdigest()
        if expect and digest != check_digest(expect):
            raise mismatch(expect, digest)
        self._keep({digest: content})
        return digest

    @contextmanager
    def batch(self) -> Iterator[_Batch]:
        made = _Batch()
        yield made
        self._keep(made.contents)

    def resume(self, digest: str, source: BinaryIO, offset: int) -> int:
        if offset != (there := self.partial(digest)):
            raise wrong_offset(digest, offset, there)
        content = self._partial.pop(digest, b"")
        try:
            while piece := source.read(1 << 20):
                content += piece
        except BaseException:
            self._partial[digest] = content
            raise
        self.put(content, expect=digest)
        return len(content)

    def partial(self, digest: str) -> int:
        return len(self._partial.get(check_digest(digest), b""))

    def open(self, digest: str, *, afresh: bool = True) -> BinaryIO:
        reader = CheckedReader(io.BytesIO(self._content(digest)), digest, lambda: self._damaged(digest))
        return cast(BinaryIO, io.BufferedReader(reader))

    def read(self, digest: str) -> bytes:
        with self.open(digest) as stream:
            return stream.read()

    def write_to(self, digest: str, descriptor: int) -> int:
        content = self.read(digest)
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(content)
        return len(content)

    def has(self, digest: str) -> bool:
        with self._lock:
            return check_digest(digest) in self._contents

    def missing(self, digests: Iterable[str]) -> list[str]:
        absent = []
        for digest in dict.fromkeys(digests):
            if self.has(digest):
                self._used[digest] = time.time()
            else:
                absent.append(digest)
        return absent

    def size(self, digest: str) -> int:
        return len(self._content(digest))

    def held(self) -> Iterator[Held]:
        with self._lock:
            found = [Held(digest, len(content), self._used[digest]) for digest, content in self._contents.items()]
        yield from found

    def delete(self, digest: str, *, unless_used_since: float | None = None) -> bool:
        with self._lock:
            if unless_used_since is not None and self._used.get(check_digest(digest), 0.0) >= unless_used_since:
                return False
            return self._contents.pop(check_digest(digest), None) is not None

    def local_path(self, digest: str) -> Path | None:
        self._content(digest)
        return None

    def link(self, digest: str, place: str) -> bool:
        self._content(digest)
        return False

    def damage(self, digest: str) -> None:
        """Fault injection: changes the last byte, or adds one to an empty blob."""
        with self._lock:
            content = self._contents[digest]
            self._contents[digest] = content[:-1] + bytes([(content[-1] + 1) % 256]) if content else b"x"

    def _keep(self, contents: dict[str, bytes]) -> None:
        with self._lock:
            self._contents |= contents
            self._used |= dict.fromkeys(contents, time.time())

    def _content(self, digest: str) -> bytes:
        with self._lock:
            content = self._contents.get(check_digest(digest))
        if content is None:
            raise NotFound(f"there is no blob {digest}", code="BLOB_NOT_FOUND", digest=digest)
        return content

    def _damaged(self, digest: str) -> Problem:
        self.delete(digest)
        return damaged(digest, "memory")


class _Batch:
    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}

    def put(self, source: BinaryIO | bytes, *, expect: str = "") -> str:
        content = source if isinstance(source, bytes) else source.read()
        digest = hashlib.sha256(content).hexdigest()
        if expect and digest != check_digest(expect):
            raise mismatch(expect, digest)
        self.contents[digest] = content
        return digest
