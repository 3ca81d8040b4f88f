"""From an HTTP request to an operation's typed request. Nothing unknown is let through."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import msgspec
from starlette.requests import Request

from bough.kernel.errors import Invalid, TooLarge
from bough.kernel.operations import Operation

MAX_BODY_BYTES = 8 << 20  # the largest request is a list of digests; files travel as blobs
SMALL_BODY_BYTES = 64 << 10
QUICK_BODY_BYTES = 16 << 10  # about 150 points of metrics: two milliseconds of the event loop
MAX_KEY_LENGTH = 200


def is_small(request: Request) -> bool:
    """Whether its body may be taken before it is known who sends it."""
    announced = request.headers.get("content-length", "0")
    return announced.isdigit() and int(announced) <= SMALL_BODY_BYTES and "transfer-encoding" not in request.headers


def is_quick(operation: Operation[Any, Any], request: Request) -> bool:
    """Whether it may be tried in the event loop."""
    announced = request.headers.get("content-length", "")
    return operation.quick and announced.isdigit() and int(announced) <= QUICK_BODY_BYTES


async def reader(operation: Operation[Any, Any], request: Request) -> Callable[[], Any]:
    """Takes what was sent; what it returns makes the operation's request of it, or raises `Invalid`."""
    if operation.method == "GET":
        return lambda: _from_query(operation, request)
    body = await read_body(request, MAX_BODY_BYTES)
    return lambda: _from_body(operation, request, body)


def _from_query(operation: Operation[Any, Any], request: Request) -> Any:
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in given:
            raise _invalid(operation, f"{name} is given twice")
        given[name] = value
    _check_names(operation, given)
    try:
        return msgspec.convert(given, operation.request, strict=False)
    except msgspec.ValidationError as error:
        raise _invalid(operation, str(error)) from error


def _from_body(operation: Operation[Any, Any], request: Request, body: bytes) -> Any:
    if request.query_params:
        raise _invalid(operation, "fields go into the JSON body, not into the query")
    try:
        return msgspec.json.decode(body or b"{}", type=operation.request)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _invalid(operation, str(error)) from error


async def event(request: Request) -> dict[str, Any]:
    """The body as an object, also when it is packed with gzip."""
    body = await read_body(request, MAX_BODY_BYTES)
    if request.headers.get("content-encoding", "").strip().lower() == "gzip":
        body = _unpacked(body)
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        what = f"the body is no JSON object; {error}"
        raise Invalid(what, code="EVENT_INVALID", hint="see docs/lineage.md") from error


def _unpacked(body: bytes) -> bytes:
    """Never more than the limit, however well it was packed."""
    unpacking = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        found = unpacking.decompress(body, MAX_BODY_BYTES + 1)
    except zlib.error as error:
        raise Invalid(f"the body is not gzip; {error}", code="EVENT_INVALID", hint="send it unpacked") from error
    if len(found) > MAX_BODY_BYTES:
        raise _too_large(MAX_BODY_BYTES)
    return found


async def read_body(request: Request, limit: int) -> bytes:
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise _too_large(limit)
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
    return b"".join(chunks)


def idempotency_key(request: Request) -> str:
    key = request.headers.get("Idempotency-Key", "")
    if len(key) > MAX_KEY_LENGTH or not key.isprintable():
        raise Invalid(
            f"an Idempotency-Key has at most {MAX_KEY_LENGTH} printable characters",
            code="IDEMPOTENCY_KEY_INVALID",
            hint="use a random text such as a UUID",
        )
    return key


def _check_names(operation: Operation[Any, Any], given: dict[str, str]) -> None:
    if unknown := sorted(given.keys() - operation.fields.keys()):
        raise _invalid(operation, f"unknown field {unknown[0][:100]!r}")


def _invalid(operation: Operation[Any, Any], why: str) -> Invalid:
    return Invalid(f"{operation.name}: {why}", code="REQUEST_INVALID", hint=f"bough {operation.command} --help")


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than {limit:,} bytes", code="BODY_TOO_LARGE", limit=limit)
