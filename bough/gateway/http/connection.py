"""The client's side: one protocol object per connection, HTTP/1.1 in, one write per answer out.

Parsing a head costs more than everything else the gateway does, and keep-alive clients send the same one again and
again. So heads that led to a plain prediction are remembered byte for byte (`Front.known`): equal bytes mean an equal
head, hence an equal plan — routing, key and limits included — until the table changes or the key expires. Whatever is
not exactly one such request in one read goes through the parser.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic, time
from typing import cast

from bough.gateway import answers
from bough.gateway.call import Call
from bough.gateway.callers.limits import NO_ROOM
from bough.gateway.http.front import Front
from bough.gateway.http.reader import Reader
from bough.gateway.lanes import refusals
from bough.gateway.lanes.wire import Wire
from bough.gateway.models import Route
from bough.gateway.routing.plan import LOCAL, PROXY
from bough.gateway.telemetry.access_log import SETTLE_AT
from bough.kernel.errors import Problem
from bough.runtime.frames import END, Reply

SLOW_READER_BYTES = 4 << 20  # of a stream not yet read by its client; then its replica is held …
SLOW_READER_S = 10.0  # … for this long
_ONE_WRITE_BYTES = 64 << 10  # a body up to this goes out with its head: a system call costs more than a copy

log = logging.getLogger("bough.gateway")


class Connection(Reader):
    """Implements `call.Client`."""

    __slots__ = ("_giving_up", "_held", "_peer", "secure")

    def __init__(self, front: Front, bound: Route | None = None) -> None:
        super().__init__(front, bound)
        self._held: Wire | None = None  # the wire that streams to us, while we keep it from reading
        self._giving_up: asyncio.TimerHandle | None = None  # and when that has lasted too long
        self._peer = b""
        self.secure = False  # it is encrypted

    def _client(self) -> Connection:
        return self

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._write = self.transport.write
        peer = transport.get_extra_info("peername")
        self.secure = transport.get_extra_info("sslcontext") is not None
        self._peer = peer[0].encode() if isinstance(peer, tuple) else b"unix"
        self._front.connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._front.connections.discard(self)
        self._closing = True
        self._quiet = False
        self._unhold()
        call, self._call = self._call, None
        self._parsing = self._waiting = None
        if self.tunnel is not None:
            self.tunnel.client_lost()
        elif call is not None:
            if call.plan.act == PROXY:
                call.proxy.client_lost()
            elif call.plan.entry is not None and call.plan.act != LOCAL:
                call.dropped = True
                if call.wire is not None or not call.started:
                    call.plan.entry.way.cancel(call)
            self.record(call, 499, monotonic(), 0)

    def eof_received(self) -> bool:
        return False  # a client that closes its sending side is taken to have hung up, as other proxies do

    def data_received(self, data: bytes) -> None:
        if self._quiet:
            end = data.find(b"\r\n\r\n") + 4
            front = self._front
            plan = front.known.get(data[:end])
            if (
                plan is not None
                and len(data) - end == plan.length
                and (not plan.expires_at or plan.expires_at > time())
            ):
                now = monotonic()
                front.count = number = front.count + 1
                call = Call(number, self, plan, now)
                call.size = plan.length
                self._call = call
                self._quiet = False
                self._since = now
                try:
                    if plan.guard is not None:
                        plan.guard.take(now, self._peer, self.secure)
                    plan.entry.way.submit(call, plan.verb, data[end:], plan.meta, now)  # type: ignore[union-attr]
                except Problem as problem:
                    self.refuse(call, problem, now)
                return
        self._feed(data)

    def pause_writing(self) -> None:
        self._paused_at = monotonic()
        if self.tunnel is not None:
            self.tunnel.client_full()
        elif self._call is not None and self._call.plan.act == PROXY:
            self._call.proxy.client_full()

    def resume_writing(self) -> None:
        self._paused_at = 0.0
        self._unhold()
        if self.tunnel is not None:
            self.tunnel.client_ready()
        elif self._call is not None and self._call.plan.act == PROXY:
            self._call.proxy.client_ready()

    def answer(self, call: Call, reply: Reply, now: float) -> None:
        if self._call is not call:
            return
        front, plan, body, status = self._front, call.plan, reply.body, reply.status
        if call.head is None and status == 200 and not reply.headers and plan.plain and not front.stopping:
            rid = b"%b%x" % (front.heads.prefix, call.id)
            size = len(body)
            self._write(b"%b%b\r\nContent-Length: %d\r\n\r\n%b" % (front.heads.ok, rid, size, body))
            records = front.records
            records.append((plan, rid, 200, call.arrived, now, call.size, size, self._peer, None, False))
            if len(records) >= SETTLE_AT:
                front.ledger.settle()
            self._call = None
            if self._slow:
                self._advance()
            else:
                self._quiet = True
            return
        self.respond(call, status, reply.headers, body, now)

    def respond(
        self, call: Call, status: int, headers: bytes, body: bytes, now: float, *, refused: bool = False
    ) -> None:
        """The whole answer. `headers` are whole lines; empty means JSON. `refused`: nobody worked on the request."""
        if self._call is not call:
            return
        framing = b"" if status in (204, 304) else b"\r\nContent-Length: %d" % len(body)
        start, close = self._opening(call, status, headers, framing)
        if call.plan.method == b"HEAD" or len(body) > _ONE_WRITE_BYTES:
            self._write(start)
            if call.plan.method != b"HEAD":
                self._write(body)
        else:
            self._write(start + body)
        self.record(call, status, now, len(body), refused=refused)
        self._end(call, close)

    def stream(self, call: Call, replies: list[Reply], now: float) -> None:
        if self._call is not call:
            return
        first, last = replies[0], replies[-1]
        http10 = call.head is not None and call.head.http10
        if not call.started:
            call.started = True
            call.plan.stats.begun(now - call.arrived)
            call.sent = 0
            call.status = first.status
            framing = b"" if http10 else b"\r\nTransfer-Encoding: chunked"
            self._write(self._opening(call, first.status, first.headers, framing)[0])
        parts = [reply.body for reply in replies]
        data = b"".join(parts) if http10 else answers.chunk(parts)
        call.sent += len(data)
        if last.flag == END:
            self._write(data if http10 else data + answers.LAST_CHUNK)
            self.record(call, call.status, now, call.sent)
            self._end(call, self.must_close(call))
            return
        if data:
            self._write(data)
        call.plan.entry.way.progress(call, now)  # type: ignore[union-attr]
        if self._paused_at and self._held is None and self.transport.get_write_buffer_size() > SLOW_READER_BYTES:
            self._hold(call)

    def refuse(self, call: Call, problem: Exception, now: float) -> None:
        if self._call is not call:
            return
        if not isinstance(problem, Problem):
            log.error("request failed in the gateway", exc_info=problem)
            problem = Problem("the gateway failed to handle this request", hint="bough logs gateway")
        if call.plan.guard is not None and problem.own_code in NO_ROOM:
            call.plan.guard.give_back(self._peer)
        body = answers.error_body(problem, call.plan.shape)
        headers, refused = answers.error_headers(problem), refusals.is_refusal(problem)
        self.respond(call, problem.http_status, headers, body, now, refused=refused)

    def abort(self, call: Call) -> None:
        if self._call is call:
            self.transport.abort()

    def write(self, data: bytes) -> None:
        self._write(data)

    def done(self, call: Call, status: int, sent: int, close: bool) -> None:
        """The proxied answer has been written whole."""
        if self._call is call:
            self.record(call, status, monotonic(), sent)
            self._end(call, close or self.must_close(call))

    def rid(self, call: Call) -> bytes:
        if call.head is not None and call.head.rid:
            return call.head.rid
        return b"%b%x" % (self._front.heads.prefix, call.id)

    @property
    def peer(self) -> bytes:
        return self._peer

    @property
    def held(self) -> Wire | None:
        """The replica's connection that waits for this slow reader."""
        return self._held

    def _opening(self, call: Call, status: int, headers: bytes, framing: bytes) -> tuple[bytes, bool]:
        """The head of an answer, and whether the connection closes after it."""
        close = self.must_close(call)
        lines = (headers or answers.JSON) + call.plan.extra if call.plan.extra else headers
        if call.plan.guard is not None:
            framing = call.plan.guard.headers(monotonic(), self._peer) + framing
        connection = b"\r\nConnection: close" if close else b""
        if not close and call.head is not None and call.head.http10:
            connection = b"\r\nConnection: keep-alive"
        start = self._front.heads.head(status, lines)
        return b"%b%b%b%b\r\n\r\n" % (start, self.rid(call), framing, connection), close

    def lines(self, call: Call) -> bytes:
        """What answers of this call's route carry, beside what its replica says."""
        plan = call.plan
        if plan.guard is None:
            return plan.extra
        limits = plan.guard.headers(monotonic(), self._peer)
        return plan.extra + limits[2:] + b"\r\n" if limits else plan.extra

    def must_close(self, call: Call) -> bool:
        head = call.head
        return self._front.stopping or (head is not None and (head.close or (head.http10 and call.started)))

    def record(self, call: Call, status: int, now: float, sent: int, *, refused: bool = False) -> None:
        head = call.head
        trace = head.trace if head is not None else None
        self._front.records.append(
            (call.plan, self.rid(call), status, call.arrived, now, call.size, sent, self._peer, trace, refused)
        )

    def _end(self, call: Call, close: bool) -> None:
        self._call = None
        self._unhold()
        if close:
            self._shut()
        elif not self._advancing:
            self._advance()

    def _hold(self, call: Call) -> None:
        if call.wire is not None:
            self._held = call.wire
            call.wire.hold()
            self._giving_up = asyncio.get_running_loop().call_later(SLOW_READER_S, self.transport.abort)

    def _unhold(self) -> None:
        if self._held is not None:
            self._held.release()
            self._held = None
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None
