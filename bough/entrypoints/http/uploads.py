"""Blobs over HTTP.

`PUT /api/v1/blobs/<sha256>`: a file's bytes, checked against their digest while they arrive. With `Upload-Offset`, what
arrives before the connection is lost is kept, and `GET …/partial` says where to go on.
`PUT /api/v1/blobs`: many small ones in one body (a pack), made durable together; all of them or none.
`GET /api/v1/blobs/<sha256>`: the bytes, in a stream, from `Range: bytes=N-` on. A whole blob is checked: the last piece
is held back until the digest is known to be right, so a damaged one ends too early instead of looking well. It is known
without hashing for an hour after it was, while nobody has written in the file (`adapters/blobs/known.py`)."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from functools import partial
from typing import BinaryIO, cast

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from bough.adapters.blobs import Blobs
from bough.entrypoints.http.answers import REQUEST_ID, request_id
from bough.entrypoints.http.bodies import Sent, stored
from bough.entrypoints.http.threads import in_thread
from bough.kernel.errors import Invalid

PIECE_BYTES = 1 << 20
OFFSET = "Upload-Offset"
MAX_PACKED_BYTES = 8 << 20  # of one blob in a pack; larger ones go by themselves
PACK_HEAD_BYTES = 40


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    digest: str
    size: int


async def store(request: Request, blobs: Blobs, digest: str) -> Stored:
    """Raises `Invalid` (DIGEST_INVALID, DIGEST_MISMATCH), `TooLarge` or `Exhausted`; then nothing is kept."""
    _, size = await stored(request, partial(blobs.put, expect=digest))
    return Stored(digest=digest, size=size)


async def receive(request: Request, blobs: Blobs) -> Stored:
    """As `store`, for bytes whose digest nobody knows yet."""
    digest, size = await stored(request, blobs.put)
    return Stored(digest=digest, size=size)


class StoredMany(msgspec.Struct, frozen=True, kw_only=True):
    files: int
    bytes: int


async def store_many(request: Request, blobs: Blobs) -> StoredMany:
    """Raises what `store` does, or `Invalid` (PACK_INVALID); then none of them is kept."""
    found, _ = await stored(request, partial(_unpack, blobs))
    return found


def _unpack(blobs: Blobs, raw: BinaryIO) -> StoredMany:
    files = size = 0
    body = io.BufferedReader(cast(io.RawIOBase, raw), 1 << 20)
    with blobs.batch() as batch:
        while head := body.read(PACK_HEAD_BYTES):
            length = int.from_bytes(head[32:], "big")
            content = body.read(length) if length <= MAX_PACKED_BYTES else b""
            if len(head) < PACK_HEAD_BYTES or len(content) != length:
                raise Invalid(
                    f"the pack breaks off, or one blob has more than {MAX_PACKED_BYTES:,} bytes, after {files} blobs",
                    code="PACK_INVALID", hint="for each blob: 32 bytes of digest, 8 of length (big-endian), its bytes",
                )  # fmt: skip
            batch.put(content, expect=head[:32].hex())
            files, size = files + 1, size + length
    return StoredMany(files=files, bytes=size)


class Partial(msgspec.Struct, frozen=True, kw_only=True):
    """How much of an unfinished upload is there."""

    digest: str
    size: int


async def resume(request: Request, blobs: Blobs, digest: str, offset: str) -> Stored:
    """As `store`, for an upload that may take several calls. Raises `Conflict` (OFFSET_WRONG) besides."""
    if not offset.isdigit():
        raise Invalid(
            "Upload-Offset is not a number of bytes", code="OFFSET_INVALID", hint=f"GET {request.url.path}/partial"
        )
    size, _ = await stored(request, lambda body: blobs.resume(digest, body, int(offset)))
    return Stored(digest=digest, size=size)


async def send(request: Request, blobs: Blobs, digest: str) -> Response:
    """Raises `NotFound` (BLOB_NOT_FOUND), `Invalid` (RANGE_INVALID)."""
    size = await in_thread(partial(blobs.size, digest))
    start = _start(request.headers.get("Range", ""), size)
    headers = {"Content-Length": str(size - start), "Accept-Ranges": "bytes", REQUEST_ID: request_id(request)}
    if start:
        headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
    status = 206 if start else 200
    if request.method == "HEAD":
        return Response(None, status, headers, media_type="application/octet-stream")
    stream = await in_thread(partial(blobs.open, digest, afresh=False))
    return Sent(status, headers, partial(_pieces, stream, start))


def _start(range: str, size: int) -> int:
    if not range:
        return 0
    found = re.fullmatch(r"bytes=(\d{1,18})-", range.strip())
    if found is None or int(found[1]) >= max(size, 1):
        raise Invalid(
            f"the range {range!r} is not one of the blob", code="RANGE_INVALID", hint=f"bytes=N-, below {size}"
        )
    return int(found[1])


def _pieces(stream: BinaryIO, start: int) -> Iterator[bytes]:
    """All of a blob that has to be hashed is read, also what is not asked for: else nothing could be checked."""
    with stream:
        left, held = start, b""
        if stream.seekable():
            left -= stream.seek(start)
        while piece := stream.read(PIECE_BYTES):
            if held:
                yield held
            held, left = piece[left:], max(left - len(piece), 0)
        yield held
