"""Calls operations of the same process. `operations` and `blobs` are those of `app.Bough`."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Protocol

import msgspec


class _Operations(Protocol):
    def call(self, name: str, request: Any, principal: Any, *, key: str = "") -> Any: ...


class _Blobs(Protocol):
    def put(self, source: BinaryIO | bytes, *, expect: str = "") -> str: ...

    def open(self, digest: str) -> BinaryIO: ...


class InProcess:
    def __init__(self, operations: _Operations, principal: Any, blobs: _Blobs | None = None) -> None:
        self._operations, self._principal, self._blobs = operations, principal, blobs

    def call(self, name: str, fields: Mapping[str, Any], key: str) -> Any:
        return _plain(self._operations.call(name, dict(fields), self._principal, key=key))

    def stream(self, name: str, fields: Mapping[str, Any]) -> Iterator[Any]:
        for item in self._operations.call(name, dict(fields), self._principal):
            yield _plain(item)

    def upload(self, digest: str, content: BinaryIO, size: int) -> None:
        if self._blobs is None:
            raise RuntimeError("this transport was made without blobs")
        self._blobs.put(content, expect=digest)

    def upload_many(self, blobs: Sequence[tuple[str, bytes]]) -> None:
        for digest, content in blobs:
            self.upload(digest, io.BytesIO(content), len(content))

    def download(self, digest: str, offset: int) -> Iterator[bytes]:
        if self._blobs is None:
            raise RuntimeError("this transport was made without blobs")
        with self._blobs.open(digest) as stream:
            skipped = 0
            while piece := stream.read(1 << 20):
                if skipped + len(piece) > offset:
                    yield piece[max(offset - skipped, 0) :]
                skipped += len(piece)

    def close(self) -> None:
        pass


def _plain(value: Any) -> Any:
    """Through JSON, so that a caller sees exactly what HTTP would have given it."""
    return msgspec.json.decode(msgspec.json.encode(value))
