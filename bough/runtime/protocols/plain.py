"""Bough's own protocol: JSON in, JSON out; streams as server-sent events, or as lines for who asks for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bough.runtime.answers import refusal, whole
from bough.runtime.frames import Request
from bough.runtime.items import Contract
from bough.runtime.protocols.work import Stream, Work
from bough.runtime.service import Reject

_LINES = "ndjson"


def expand(request: Request, contract: Contract) -> Work:
    meta = request.meta
    lines = meta.endswith(_LINES)
    if lines:
        meta = meta[: -len(_LINES)].strip()
    item = contract.decode(request.body, meta)
    stream: Stream | None = None
    if contract.streams:
        stream = Lines(contract.encode) if lines else Events(contract.encode)
    return Work(request.id, [item], lambda results: [whole(request.id, results[0], contract.encode)], refusal, stream)


class Events:
    """`data: <json>` and an empty line for each piece; a failure is an event named `error`."""

    headers = b"Content-Type: text/event-stream\r\nCache-Control: no-cache\r\n"

    def __init__(self, encode: Callable[[Any], bytes]) -> None:
        self._encode = encode

    def piece(self, value: Any) -> bytes:
        return b"data: %b\n\n" % self._encode(value)

    def finish(self, returned: Any) -> bytes:
        return b""

    def fail(self, reject: Reject) -> bytes:
        return b"event: error\ndata: %b\n\n" % refusal(0, reject).body


class Lines:
    """One line of JSON for each piece; a failure is a last line `{"error": {...}}`."""

    headers = b"Content-Type: application/x-ndjson\r\nCache-Control: no-cache\r\n"

    def __init__(self, encode: Callable[[Any], bytes]) -> None:
        self._encode = encode

    def piece(self, value: Any) -> bytes:
        return self._encode(value) + b"\n"

    def finish(self, returned: Any) -> bytes:
        return b""

    def fail(self, reject: Reject) -> bytes:
        return refusal(0, reject).body + b"\n"
