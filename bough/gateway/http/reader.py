"""Reading requests off a connection: limits, time limits, pipelining, and whose turn it is."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

import httptools

from bough.gateway import answers
from bough.gateway.answers import BadRequest, HeadTimeout, TooManyHeaders
from bough.gateway.call import Call, Head, Header
from bough.gateway.head import decoded, read_head
from bough.gateway.http.front import Front
from bough.gateway.models import Route
from bough.gateway.routing.plan import LOCAL, NAMED_BY_BODY, PROXY, REFUSE, Plan
from bough.kernel.errors import Problem, TooLarge

if TYPE_CHECKING:
    from bough.gateway.http.connection import Connection

HEAD_BYTES = 64 << 10
HEAD_TIMEOUT_S = 10.0
BODY_TIMEOUT_S = 30.0  # and a second more for every BODY_BYTES_PER_S received
BODY_BYTES_PER_S = 4096
IDLE_TIMEOUT_S = 120.0
LINGER_S = 2.0  # after a refusal, so that the client reads it before the reset
STALLED_READER_S = 60.0
DISCARD_BYTES = 1 << 20  # of a refused request's body, to keep its connection
PIPELINE = 8  # requests read ahead of the one being answered
_KNOWN_HEADS = 2048
_KNOWN_HEAD_BYTES = 2048

log = logging.getLogger("bough.gateway")


class Reader(asyncio.Protocol):
    """The half of a connection that reads; `http.Connection` is the half that answers."""

    __slots__ = (
        "_advancing", "_bound", "_call", "_closing", "_deaf", "_front", "_head_bytes", "_header_list",
        "_in_head", "_learn", "_muted", "_parser", "_parsing", "_passed_over", "_paused_at", "_quiet", "_reading",
        "_since", "_slow", "_unread", "_url", "_waiting", "_write", "transport", "tunnel",
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
        self._passed_over = False  # the head before asks for an upgrade that nobody takes
        self._muted = False  # what is read is no client's
        self._reading = True
        self._learn: Plan | None = None
        self._head_bytes = 0
        self._header_list: list[Header] = []
        self._url = b""
        self._since = monotonic()
        self._paused_at = 0.0  # when the client stopped reading
        self._unread = 0  # bytes of the last answer, when it was looked at last
        self.tunnel: Any = None  # takes raw bytes after an upgrade
        self.transport: asyncio.Transport
        self._write: Callable[[bytes], None]

    def refuse(self, call: Call, problem: Exception, now: float) -> None:
        """An error as the answer to `call`."""
        raise NotImplementedError

    def _client(self) -> Connection:
        """This object, as who waits for an answer."""
        raise NotImplementedError

    def sweep(self, now: float) -> None:
        """Ends what takes too long, and says to who asked how a request stands that waits. Called once a second."""
        idle, call = now - self._since, self._call
        if call is not None and call.plan.progress and call.wire is None and not call.started and not self._closing:
            self._tell_progress(call, now)
        if self._closing:
            unread = self.transport.get_write_buffer_size()
            if unread and unread != self._unread:  # the client is at it
                self._unread, self._since = unread, now
            elif idle > (STALLED_READER_S if unread else LINGER_S):
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
    def in_head(self) -> bool:
        return self._in_head

    @property
    def reads(self) -> bool:
        """Takes input now; false while it is held back."""
        return self._reading

    @property
    def parses(self) -> bool:
        """Has a parser: made for the first bytes, so that an idle connection is small."""
        return self._parser is not None

    def on_message_begin(self) -> None:
        if self._muted:
            return
        self._in_head = True
        self._url = b""
        self._header_list = []
        self._head_bytes = 0
        self._since = monotonic()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head or self._closing:
            return  # a trailer, or nobody listens
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes + len(self._url) <= HEAD_BYTES:
            self._header_list.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._closing or self._muted:
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
        call = Call(front.count, self._client(), plan, now, head)
        call.body = []
        call.complete = False
        self._passed_over = parser.should_upgrade() and not (plan.act == PROXY and head.upgrade == b"websocket")  # type: ignore[union-attr]
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
            if call is not self._call and call.size > DISCARD_BYTES:
                self.pause_reading()  # it is not its turn: what has come is enough for now

    def on_message_complete(self) -> None:
        if self._passed_over:
            return  # it has said that it is over before its body
        call, self._parsing = self._parsing, None
        if call is None:
            return
        call.complete = True
        if call is self._call:
            self._execute(call)

    def pause_reading(self) -> None:
        if self._reading and not self.transport.is_closing():
            self._reading = False
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._reading and not self.transport.is_closing():
            self._reading = True
            self._since = monotonic()
            self.transport.resume_reading()

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
            if plan.guard is not None and (problem := self._kept_out(call)):
                self._turn_away(call, problem)
                self._begin(call)
                return
            call.proxy = self._front.proxy(self._client(), call)
            for data in call.body:
                call.proxy.body(data)
            call.body = []
        if call.complete:
            self._execute(call)
        else:
            self.resume_reading()

    def _execute(self, call: Call) -> None:
        """The request is complete and it is its turn."""
        plan, head, front = call.plan, call.head, self._front
        if plan.act == PROXY:
            call.proxy.body_end()
            return
        if plan.act == REFUSE:
            self._refused(call)
            return
        now = monotonic()
        if plan.act == LOCAL:
            try:
                if plan.guard is not None:
                    plan.guard.admit(self._client().peer, self._client().secure)
                front.local(call)
            except Problem as problem:
                self.refuse(call, problem, now)
            return
        call.arrived = now
        body = call.body[0] if len(call.body) == 1 else b"".join(call.body)
        call.body = []
        try:
            if head is not None and head.encoding:
                body = decoded(body, head.encoding, plan.max_body)
            if plan.act == NAMED_BY_BODY:
                front.named(call, body)
            else:
                if plan.guard is not None:
                    plan.guard.take(now, self._client().peer, self._client().secure)
                plan.entry.way.submit(call, plan.verb, body, plan.meta, now)  # type: ignore[union-attr]
                if head is not None and _is_plain(head) and (plan.wanted is None or plan.wanted.plain):
                    plan.length = head.length
                    self._learn = plan
        except Problem as problem:
            self.refuse(call, problem, now)

    def _refused(self, call: Call) -> None:
        if call.plan.problem is not None:
            self.refuse(call, call.plan.problem, monotonic())

    def _upgraded(self, rest: bytes) -> None:
        if self._passed_over:
            self._pass_over(rest)
            return
        call = self._call
        if call is not None and call.plan.act == PROXY and call.proxy.upgrade(rest):
            return
        if call is not None and call.head is not None:
            call.head.close = True  # the upgrade is not taken; what follows in the stream would be ambiguous
        elif call is None and not self._closing:
            self._shut()

    def _pass_over(self, rest: bytes) -> None:
        """The message goes on as it would without the upgrade (RFC 9110, 7.8), such as the one to HTTP/2 that Java's
        client asks for with every request. The parser has left HTTP; another one hears how long the body is."""
        self._passed_over = False
        self._parser = httptools.HttpRequestParser(self)
        head = self._parsing.head if self._parsing is not None else None
        if head is not None and (head.chunked or head.length > 0):
            self._muted = True
            framing = b"Transfer-Encoding: chunked" if head.chunked else b"Content-Length: %d" % head.length
            self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % framing)
            self._muted = False
        else:
            self.on_message_complete()
        if rest:
            self._feed(rest)
        elif self._call is None:
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

    def _tell_progress(self, call: Call, now: float) -> None:
        entry = call.plan.entry
        if entry is not None and self._parsing is not call and now - call.arrived >= 0.5:
            self._write(answers.processing(now - call.arrived, entry.lane.state().links))

    def _too_large(self, call: Call) -> None:
        limit = call.plan.max_body
        problem = TooLarge(
            f"the body is larger than {limit} bytes",
            code="BODY_TOO_LARGE",
            hint="raise max_body_mb in bough.toml",
            limit=limit,
        )
        self._turn_away(call, problem)
        call.body = []
        if call.head is not None:
            call.head.close = True

    def _kept_out(self, call: Call) -> Problem | None:
        try:
            client = self._client()
            call.plan.guard.take(monotonic(), client.peer, client.secure)  # type: ignore[union-attr]
        except Problem as problem:
            return problem
        return None

    def _turn_away(self, call: Call, problem: Problem) -> None:
        """Another plan for this one request: a refusal, with all that answers of its route carry."""
        before, plan = call.plan, Plan(REFUSE, call.plan.stats, shape=call.plan.shape)
        plan.problem, plan.method, plan.log = problem, before.method, before.log
        plan.extra, plan.guard, plan.plain = before.extra, before.guard, before.plain
        call.plan = plan

    def _fail(self, problem: Problem) -> None:
        """Refuses what cannot be read further, after the answers that are owed, and closes."""
        call, now = self._call, monotonic()
        self._deaf = True
        head = Head(b"", b"")
        head.close = True
        if self._parsing is None:  # nothing of it could be read, and it is one more all the same
            self._front.count += 1
        number = self._front.count if self._parsing is None else self._parsing.id
        refusal = Call(number, self._client(), self._front.planner.refusal(head, problem), self._since, head)
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
        if (self._parsing is None and not self._in_head and not self._waiting) or not self.transport.can_write_eof():
            self.transport.close()
        else:
            self.transport.write_eof()


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
