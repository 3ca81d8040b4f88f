"""The client's side: one protocol object per connection, HTTP/1.1 in, one write per answer out.

Parsing a head costs more than everything else the gateway does, and keep-alive clients send the same one again and
again. So heads that led to a plain prediction are remembered byte for byte (`Front.known`): equal bytes mean an equal
head, hence an equal plan — routing, key and limits included — until the table changes or the key expires. Whatever is
not exactly one such request in one read goes through the parser.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from time import monotonic, time
from typing import Any, cast

import httptools

from bough.gateway import answers
from bough.gateway.access_log import SETTLE_AT, Ledger
from bough.gateway.answers import BadRequest, Heads, HeadTimeout, TooManyHeaders
from bough.gateway.call import Call, Head, Header
from bough.gateway.head import decoded, read_head
from bough.gateway.link import Wire
from bough.gateway.models import Route
from bough.gateway.plan import LOCAL, NAMED_BY_BODY, PROXY, REFUSE, Plan, Planner
from bough.kernel.errors import Problem, TooLarge
from bough.runtime.frames import END, Reply

HEAD_BYTES = 64 << 10
HEAD_TIMEOUT_S = 10.0
BODY_TIMEOUT_S = 30.0  # and a second more for every BODY_BYTES_PER_S received
BODY_BYTES_PER_S = 4096
IDLE_TIMEOUT_S = 120.0
LINGER_S = 2.0  # after a refusal, so that the client reads it before the reset
STALLED_READER_S = 60.0
DISCARD_BYTES = 1 << 20  # of a refused request's body, to keep its connection
PIPELINE = 8  # requests read ahead of the one being answered
SLOW_READER_BYTES = 4 << 20  # of a stream not yet read by its client; then its replica is held …
SLOW_READER_S = 10.0  # … for this long
_KNOWN_HEADS = 2048
_KNOWN_HEAD_BYTES = 2048

log = logging.getLogger("bough.gateway")


class Front:
    """What all client connections share."""

    def __init__(self, heads: Heads, ledger: Ledger, planner: Planner) -> None:
        self.heads = heads
        self.ledger = ledger
        self.records = ledger.records
        self.planner = planner
        self.known: dict[bytes, Plan] = {}
        self.count = 0  # calls so far; also their ids
        self.stopping = False
        self.connections: set[Connection] = set()
        self.local: Callable[[Call], None]  # answers what the gateway itself is asked
        self.named: Callable[[Call, bytes], None]  # sends a call on whose service the body names
        self.proxy: Callable[[Connection, Call], Any]  # starts a request to a web service

    def forget(self) -> None:
        """The table has changed: what was decided from it is void."""
        self.known.clear()


class Connection(asyncio.Protocol):
    """Implements `call.Client`."""

    __slots__ = (
        "_advancing", "_bound", "_call", "_closing", "_deaf", "_front", "_head_bytes", "_header_list", "_held", "_in_head", "_learn",
        "_parser", "_parsing", "_paused_at", "_peer", "_quiet", "_reading", "_since", "_slow", "_url", "_waiting", "_write",
        "transport", "tunnel",
    )  # fmt: skip

    def __init__(self, front: Front, bound: Route | None = None) -> None:
        self._front = front
        self._bound = bound
        self._parser: httptools.HttpRequestParser | None = None
        self._call: Call | None = None  # being answered
        self._parsing: Call | None = None  # its body is being read
        self._waiting: deque[Call] | None = None  # pipelined behind `_call`
        self._quiet = True  # nothing under way: the next byte begins a request
        self._slow = False  # something besides `_call` needs looking after when it ends
        self._closing = False
        self._deaf = False  # the input cannot be read any further
        self._advancing = False
        self._in_head = False
        self._reading = True
        self._learn: Plan | None = None
        self._head_bytes = 0
        self._header_list: list[Header] = []
        self._url = b""
        self._since = monotonic()
        self._paused_at = 0.0  # when the client stopped reading
        self._held: Wire | None = None  # the wire that streams to us, while we keep it from reading
        self.tunnel: Any = None  # takes raw bytes after an upgrade

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._write = self.transport.write
        peer = transport.get_extra_info("peername")
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
                    call.plan.entry.lane.cancel(call)
            self._record(call, 499, monotonic(), 0)

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
                    plan.entry.lane.submit(call, plan.verb, data[end:], plan.meta, now)  # type: ignore[union-attr]
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

    # --- call.Client

    def answer(self, call: Call, reply: Reply, now: float) -> None:
        if self._call is not call:
            return
        front, plan, body, status = self._front, call.plan, reply.body, reply.status
        if call.head is None and status == 200 and not reply.headers and not plan.extra and not front.stopping:
            rid = b"%b%x" % (front.heads.prefix, call.id)
            size = len(body)
            self._write(b"%b%b\r\nContent-Length: %d\r\n\r\n%b" % (front.heads.ok, rid, size, body))
            records = front.records
            records.append((plan, rid, 200, call.arrived, now, call.size, size, self._peer, b""))
            if len(records) >= SETTLE_AT:
                front.ledger.settle()
            self._call = None
            if self._slow:
                self._advance()
            else:
                self._quiet = True
            return
        self.respond(call, status, reply.headers, body, now)

    def respond(self, call: Call, status: int, headers: bytes, body: bytes, now: float) -> None:
        """The whole answer. `headers` are whole lines; empty means JSON."""
        if self._call is not call:
            return
        close = self._start(
            call, status, headers, b"" if status in (204, 304) else b"\r\nContent-Length: %d" % len(body)
        )
        if call.plan.method != b"HEAD" and body:
            self._write(body)
        self._record(call, status, now, len(body))
        self._end(call, close)

    def stream(self, call: Call, replies: list[Reply], now: float) -> None:
        if self._call is not call:
            return
        first, last = replies[0], replies[-1]
        http10 = call.head is not None and call.head.http10
        if not call.started:
            call.started = True
            call.sent = 0
            call.status = first.status
            self._start(call, first.status, first.headers, b"" if http10 else b"\r\nTransfer-Encoding: chunked")
        parts = [reply.body for reply in replies]
        data = b"".join(parts) if http10 else answers.chunk(parts)
        call.sent += len(data)
        if last.flag == END:
            self._write(data if http10 else data + answers.LAST_CHUNK)
            self._record(call, call.status, now, call.sent)
            self._end(call, self._must_close(call))
            return
        if data:
            self._write(data)
        call.plan.entry.lane.progress(call, now)  # type: ignore[union-attr]
        if self._paused_at and self._held is None and self.transport.get_write_buffer_size() > SLOW_READER_BYTES:
            self._hold(call)

    def refuse(self, call: Call, problem: Exception, now: float) -> None:
        if self._call is not call:
            return
        if not isinstance(problem, Problem):
            log.error("request failed in the gateway", exc_info=problem)
            problem = Problem("the gateway failed to handle this request", hint="bough logs gateway")
        body = answers.error_body(problem, call.plan.shape)
        self.respond(call, problem.http_status, answers.error_headers(problem), body, now)

    def abort(self, call: Call) -> None:
        if self._call is call:
            self.transport.abort()

    # --- for the proxy, which writes its own heads

    def write(self, data: bytes) -> None:
        self._write(data)

    def done(self, call: Call, status: int, sent: int, close: bool) -> None:
        """The proxied answer has been written whole."""
        if self._call is call:
            self._record(call, status, monotonic(), sent)
            self._end(call, close or self._must_close(call))

    def rid(self, call: Call) -> bytes:
        if call.head is not None and call.head.rid:
            return call.head.rid
        return b"%b%x" % (self._front.heads.prefix, call.id)

    @property
    def peer(self) -> bytes:
        return self._peer

    def pause_reading(self) -> None:
        if self._reading and not self.transport.is_closing():
            self._reading = False
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._reading and not self.transport.is_closing():
            self._reading = True
            self._since = monotonic()
            self.transport.resume_reading()

    # --- for the server

    def sweep(self, now: float) -> None:
        """Ends what takes too long. Called once a second."""
        idle = now - self._since
        if self._closing:
            if idle > LINGER_S:
                self.transport.abort()
        elif self._paused_at and now - self._paused_at > STALLED_READER_S and self.tunnel is None:
            self.transport.abort()
        elif self._in_head:
            if idle > HEAD_TIMEOUT_S:
                self._fail(HeadTimeout(f"the request head did not arrive within {HEAD_TIMEOUT_S:g} s"))
        elif self._parsing is not None:
            if not self._reading:
                self._since = now
            elif idle > BODY_TIMEOUT_S + self._parsing.size / BODY_BYTES_PER_S:
                self._fail(HeadTimeout("the request body arrives too slowly"))
        elif self._quiet and idle > IDLE_TIMEOUT_S:
            self.transport.close()

    def stop(self) -> None:
        """Closes now if nothing is under way, else after the answer."""
        if self._quiet or (self._call is None and self._parsing is None):
            self.transport.close()

    @property
    def busy(self) -> bool:
        return self._call is not None or self._parsing is not None

    @property
    def held(self) -> Wire | None:
        """The replica's connection that waits for this slow reader."""
        return self._held

    @property
    def in_head(self) -> bool:
        return self._in_head

    @property
    def parses(self) -> bool:
        """Has a parser: made for the first bytes, so that an idle connection is small."""
        return self._parser is not None

    # --- httptools callbacks

    def on_message_begin(self) -> None:
        self._in_head = True
        self._url = b""
        self._header_list = []
        self._head_bytes = 0
        self._since = monotonic()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head or self._closing:
            return  # a trailer, or we have stopped listening
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes + len(self._url) <= HEAD_BYTES:
            self._header_list.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._closing:
            return
        parser, front, now = self._parser, self._front, monotonic()
        front.count += 1
        try:
            if self._head_bytes + len(self._url) > HEAD_BYTES:
                raise TooManyHeaders(f"the request head is larger than {HEAD_BYTES} bytes")
            head = read_head(parser.get_method(), self._url, self._header_list, parser.get_http_version())  # type: ignore[union-attr]
            plan = front.planner.plan(head, self._bound)
        except Problem as problem:
            head = Head(parser.get_method(), self._url)  # type: ignore[union-attr]
            head.close = True
            plan = front.planner.refusal(head, problem)
        call = Call(front.count, self, plan, now, head)
        call.body = []
        call.complete = False
        if head.length > plan.max_body and plan.act not in (PROXY, REFUSE):
            self._too_large(call)
        self._parsing = call
        if self._call is None and not self._waiting:
            self._begin(call)
        else:
            if self._waiting is None:
                self._waiting = deque()
            self._waiting.append(call)
            if len(self._waiting) >= PIPELINE:
                self.pause_reading()

    def on_body(self, data: bytes) -> None:
        call = self._parsing
        if call is None:
            return
        call.size += len(data)
        act = call.plan.act
        if act == PROXY:
            if call is self._call:
                call.proxy.body(data)
            else:
                call.body.append(data)
                self.pause_reading()
        elif act == REFUSE:
            if call.size > DISCARD_BYTES and call is self._call and call.head is not None:
                call.head.close = True
                self._refused(call)
        elif call.size > call.plan.max_body:
            self._too_large(call)
            if call is self._call:
                self._begin(call)
        else:
            call.body.append(data)

    def on_message_complete(self) -> None:
        call, self._parsing = self._parsing, None
        if call is None:
            return
        call.complete = True
        if call is self._call:
            self._execute(call)

    # --- private: reading

    def _feed(self, data: bytes) -> None:
        if self._closing or self._deaf:
            return
        if self.tunnel is not None:
            self.tunnel.client_sent(data)
            return
        if self._parser is None:
            self._parser = httptools.HttpRequestParser(self)
        fresh, self._quiet, self._slow, self._learn = self._quiet, False, True, None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgraded(data[upgrade.args[0] :])
            return
        except httptools.HttpParserCallbackError as error:
            log.error("a request could not be handled", exc_info=error.__context__ or error)
            self.transport.abort()
            return
        except httptools.HttpParserError as error:
            self._fail(BadRequest(f"not a valid HTTP request: {error}"))
            return
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._fail(TooManyHeaders(f"the request head is larger than {HEAD_BYTES} bytes"))
                return
        elif fresh and self._learn is not None:
            self._remember(data, self._learn)
        if self._call is None:
            self._advance()

    def _remember(self, data: bytes, plan: Plan) -> None:
        """The head at the start of `data` is worth knowing if it and its body are all of `data`."""
        end = data.find(b"\r\n\r\n") + 4
        known = self._front.known
        if end <= _KNOWN_HEAD_BYTES and len(data) - end == plan.length:
            if len(known) >= _KNOWN_HEADS:
                known.clear()
            known[data[:end]] = plan

    def _begin(self, call: Call) -> None:
        """This call's turn has come."""
        self._call = call
        plan, head = call.plan, call.head
        if plan.act == REFUSE:
            if not call.complete and head is not None and (head.chunked or head.length > 0):
                if not head.close and not head.expect and head.length <= DISCARD_BYTES:
                    return  # small: read it and keep the connection
                head.close = True
            self._refused(call)
            return
        if head is not None and head.expect and not call.complete and not call.size:
            self._write(answers.CONTINUE)
        if plan.act == PROXY:
            call.proxy = self._front.proxy(self, call)
            for data in call.body:
                call.proxy.body(data)
            call.body = []
            self.resume_reading()
        if call.complete:
            self._execute(call)

    def _execute(self, call: Call) -> None:
        """The request is complete and it is its turn."""
        plan, head, front = call.plan, call.head, self._front
        if plan.act == PROXY:
            call.proxy.body_end()
            return
        if plan.act == LOCAL:
            front.local(call)
            return
        if plan.act == REFUSE:
            self._refused(call)
            return
        now = monotonic()
        call.arrived = now
        body = call.body[0] if len(call.body) == 1 else b"".join(call.body)
        call.body = []
        try:
            if head is not None and head.encoding:
                body = decoded(body, head.encoding, plan.max_body)
            if plan.act == NAMED_BY_BODY:
                front.named(call, body)
            else:
                plan.entry.lane.submit(call, plan.verb, body, plan.meta, now)  # type: ignore[union-attr]
                if head is not None and _is_plain(head):
                    plan.length = head.length
                    self._learn = plan
        except Problem as problem:
            self.refuse(call, problem, now)

    def _refused(self, call: Call) -> None:
        if call.plan.problem is not None:
            self.refuse(call, call.plan.problem, monotonic())

    def _upgraded(self, rest: bytes) -> None:
        call = self._call
        if call is not None and call.plan.act == PROXY and call.proxy.upgrade(rest):
            return
        if call is not None and call.head is not None:
            call.head.close = True  # the upgrade is not taken; what follows in the stream would be ambiguous
        elif call is None and not self._closing:
            self._shut()

    # --- private: writing

    def _start(self, call: Call, status: int, headers: bytes, framing: bytes) -> bool:
        """Writes the head; says whether the connection closes after this answer."""
        close = self._must_close(call)
        lines = (headers or answers.JSON) + call.plan.extra if call.plan.extra else headers
        connection = b"\r\nConnection: close" if close else b""
        if not close and call.head is not None and call.head.http10:
            connection = b"\r\nConnection: keep-alive"
        self._write(b"%b%b%b%b\r\n\r\n" % (self._front.heads.head(status, lines), self.rid(call), framing, connection))
        return close

    def _must_close(self, call: Call) -> bool:
        head = call.head
        return self._front.stopping or (head is not None and (head.close or (head.http10 and call.started)))

    def _record(self, call: Call, status: int, now: float, sent: int) -> None:
        head = call.head
        trace = b',"trace":"%b"' % head.trace if head is not None and head.trace else b""
        self._front.records.append(
            (call.plan, self.rid(call), status, call.arrived, now, call.size, sent, self._peer, trace)
        )

    def _end(self, call: Call, close: bool) -> None:
        self._call = None
        self._unhold()
        if close:
            self._shut()
        elif not self._advancing:
            self._advance()

    def _advance(self) -> None:
        """Goes on to what has been pipelined; when there is nothing, the connection is quiet again."""
        self._advancing = True
        while self._call is None and self._waiting and not self._closing:
            self._begin(self._waiting.popleft())
        self._advancing = False
        if self._call is not None or self._closing:
            return
        self._since = monotonic()
        self.resume_reading()
        if self._parsing is None and not self._in_head:
            self._slow = False
            self._quiet = True

    def _too_large(self, call: Call) -> None:
        limit = call.plan.max_body
        problem = TooLarge(
            f"the body is larger than {limit} bytes",
            code="BODY_TOO_LARGE",
            hint="raise max_body_mb in bough.toml",
            limit=limit,
        )
        shape, method, log_part, stats = call.plan.shape, call.plan.method, call.plan.log, call.plan.stats
        call.plan = Plan(REFUSE, stats, shape=shape)
        call.plan.problem, call.plan.method, call.plan.log = problem, method, log_part
        call.body = []
        if call.head is not None:
            call.head.close = True

    def _fail(self, problem: Problem) -> None:
        """Refuses what cannot be read further, after the answers that are owed, and closes."""
        call, now = self._call, monotonic()
        self._deaf = True
        head = Head(b"", b"")
        head.close = True
        refusal = Call(self._front.count, self, self._front.planner.refusal(head, problem), self._since, head)
        refusal.body, refusal.complete = [], True
        if call is not None and call is self._parsing and call.plan.act == PROXY:
            call.proxy.client_lost()
            if call.started:
                self.transport.abort()
                return
            call = self._call = None
        if self._waiting and self._waiting[-1] is self._parsing:
            self._waiting.pop()
        self._parsing, self._in_head = None, False
        if call is None or not call.complete:
            self._call = refusal
            self.refuse(refusal, problem, now)
            return
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append(refusal)

    def _shut(self) -> None:
        """Closes so that the client still reads what was written: a reset because of unread input would discard it."""
        self._closing = True
        self._quiet = False
        self._since = monotonic()
        self.resume_reading()
        if self._parsing is None and not self._in_head and not self._waiting:
            self.transport.close()
        else:
            self.transport.write_eof()

    def _hold(self, call: Call) -> None:
        if call.wire is not None:
            self._held = call.wire
            call.wire.hold()
            asyncio.get_running_loop().call_later(SLOW_READER_S, self._give_up, call)

    def _unhold(self) -> None:
        if self._held is not None:
            self._held.release()
            self._held = None

    def _give_up(self, call: Call) -> None:
        if self._held is not None and self._call is call:
            self.transport.abort()


def _is_plain(head: Head) -> bool:
    """Nothing in this head belongs to one request alone."""
    return not (
        head.length < 0
        or head.rid
        or head.trace
        or head.expect
        or head.encoding
        or head.upgrade
        or head.close
        or head.http10
    )


__all__ = ["Connection", "Front"]
