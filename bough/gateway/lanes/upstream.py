"""A keep-alive connection to a process of a web service: HTTP/1.1 responses in, one exchange at a time."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Protocol, cast

import httptools

from bough.gateway.call import Header
from bough.gateway.models import Target

HEAD_BYTES = 64 << 10


class Exchange(Protocol):
    """One request under way, as its upstream connection sees it."""

    head_only: bool  # the answer has no body (HEAD)

    def response_head(self, status: int, phrase: bytes, headers: list[Header]) -> None: ...

    def response_body(self, data: bytes) -> None: ...

    def response_end(self, reusable: bool) -> None: ...

    def response_flush(self) -> None:
        """All that one read brought has been given."""

    def switched(self, rest: bytes) -> None:
        """The upgrade was taken; `rest` are the first bytes of the new protocol."""

    def raw(self, data: bytes) -> None: ...

    def upstream_lost(self) -> None: ...

    def upstream_full(self) -> None: ...

    def upstream_ready(self) -> None: ...


class Spot:
    """One target, and its connections that are idle."""

    __slots__ = ("active", "awake_until", "idle", "target", "up")

    def __init__(self, target: Target) -> None:
        self.target = target
        self.awake_until = 0.0  # as far as the node has said
        self.active = 0
        self.idle: list[Upstream] = []
        self.up = False


class Upstream(asyncio.Protocol):
    __slots__ = (
        "_header_bytes", "_headers", "_parser", "_phrase", "_raw", "_tcp", "begun_at", "exchange", "idle_since", "spot",
        "transport", "until_close", "usable", "used",
    )  # fmt: skip

    def __init__(self, spot: Spot) -> None:
        self.spot = spot
        self.exchange: Exchange | None = None
        self.usable = True
        self.used = False
        self.idle_since = 0.0
        self.begun_at = 0.0  # when the request that has it got it
        self.until_close = False  # the answer's end is the connection's end
        self.transport: asyncio.Transport
        self._raw = False
        self._tcp: socket.socket | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[Header] = []
        self._header_bytes = 0
        self._phrase = b""

    def raw_from_now(self) -> None:
        self._raw = True

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        found = transport.get_extra_info("socket")
        if found is not None and found.family != socket.AF_UNIX and hasattr(socket, "TCP_QUICKACK"):
            self._tcp = found

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            self.usable = False  # bytes that nobody asked for
            self.transport.close()
            return
        if self._raw:
            exchange.raw(data)
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._raw = True
            exchange.switched(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            if self.usable:  # otherwise the answer has ended and only its body's absence confused the parser
                self.usable = False
                self.transport.abort()
                return
        exchange.response_flush()
        if self.exchange is not None and self._tcp is not None:
            self._acknowledge(self._tcp)

    def connection_lost(self, error: Exception | None) -> None:
        self.usable = False
        if self in self.spot.idle:
            self.spot.idle.remove(self)
        exchange, self.exchange = self.exchange, None
        if exchange is None:
            return
        if self.until_close and error is None:
            exchange.response_end(False)
            exchange.response_flush()
        else:
            exchange.upstream_lost()

    def pause_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.upstream_full()

    def resume_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.upstream_ready()

    # --- httptools callbacks

    def on_message_begin(self) -> None:
        self._headers, self._header_bytes, self._phrase, self.until_close = [], 0, b"", False

    def on_status(self, phrase: bytes) -> None:
        self._phrase += phrase

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > HEAD_BYTES:
            raise ValueError("the answer's head is too large")
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200 or self.exchange is None:
            return  # 100 and 103 are between the service and us; 101 comes through HttpParserUpgrade
        names = {name.lower() for name, _ in self._headers}
        bodyless = self.exchange.head_only or status in (204, 304)
        self.until_close = not bodyless and not names & {b"content-length", b"transfer-encoding"}
        self.exchange.response_head(status, self._phrase, self._headers)
        if self.exchange is not None and self.exchange.head_only:
            keep = self._parser.should_keep_alive()
            self.usable = False  # this parser now waits for a body that does not come
            self._parser = httptools.HttpResponseParser(self)
            self._finish(keep)

    def on_body(self, data: bytes) -> None:
        if self.exchange is not None:
            self.exchange.response_body(data)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() >= 200:
            self._finish(self._parser.should_keep_alive() and not self.until_close)

    def headers(self) -> list[Header]:
        return self._headers

    @property
    def phrase(self) -> bytes:
        return self._phrase

    def _acknowledge(self, tcp: socket.socket) -> None:
        """Tells the service at once that a part of its answer came. One that writes head and body apart and leaves
        Nagle's algorithm on (Python's http.server does) sends the second only then, and the kernel would wait 40 ms for
        something to send along. It forgets the option by itself, so it is set for each part; an answer that comes whole
        costs nothing."""
        with contextlib.suppress(OSError):  # the connection has just ended, which is told elsewhere
            tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _finish(self, keep: bool) -> None:
        exchange = self.exchange
        if exchange is not None:
            exchange.response_end(keep)
