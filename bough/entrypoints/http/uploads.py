"""`PUT /api/v1/blobs/<sha256>`: a file's bytes, checked against their digest while they arrive."""

from __future__ import annotations

import io
from typing import BinaryIO, cast

import anyio.from_thread
import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from bough.adapters.blobs import Blobs
from bough.kernel.errors import TooLarge

MAX_BLOB_BYTES = 16 << 30


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    digest: str
    size: int


async def store(request: Request, blobs: Blobs, digest: str) -> Stored:
    """Raises `Invalid` (DIGEST_INVALID, DIGEST_MISMATCH), `TooLarge` or `Exhausted`; then nothing is kept."""
    body = _Body(request)
    await run_in_threadpool(blobs.put, cast(BinaryIO, io.BufferedReader(body, 1 << 20)), expect=digest)
    return Stored(digest=digest, size=body.size)


class _Body(io.RawIOBase):
    """The request's body as a file for a worker thread; the event loop is asked for each piece, so a slow disk holds
    up the sender and no memory fills."""

    def __init__(self, request: Request) -> None:
        super().__init__()
        self._pieces = request.stream().__aiter__()
        self._piece = memoryview(b"")
        self.size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # typeshed names a wider buffer type
        while not self._piece:
            piece = anyio.from_thread.run(self._next)
            if piece is None:
                return 0
            self._piece = memoryview(piece)
        part = self._piece[: len(buffer)]
        buffer[: len(part)] = part
        self._piece = self._piece[len(part) :]
        self.size += len(part)
        if self.size > MAX_BLOB_BYTES:
            raise TooLarge(f"a blob has at most {MAX_BLOB_BYTES:,} bytes", code="BLOB_TOO_LARGE")
        return len(part)

    async def _next(self) -> bytes | None:
        return await anext(self._pieces, None)
