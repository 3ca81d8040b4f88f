"""One request to a web service: a plain reverse proxy, streaming in both directions with back-pressure."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import cast

from bough.gateway.answers import LAST_CHUNK
from bough.gateway.call import Call, Head, Header
from bough.gateway.http import forwarding
from bough.gateway.http.connection import Connection
from bough.gateway.lanes import refusals
from bough.gateway.lanes.refusals import TimedOut
from bough.gateway.lanes.upstream import Upstream
from bough.gateway.lanes.web import WebLane
from bough.gateway.routing.routes import Entry
from bough.gateway.taps import webtap
from bough.kernel.errors import Busy, Problem, TooLarge, Unavailable
from bough.runtime.spec import Exited

REPEATABLE = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))  # RFC 9110, 9.2.2
REPLAY_BYTES = 64 << 10  # of a request's body kept to send it again


def start(client: Connection, call: Call) -> Proxied:
    """Begins to send `call` on; its body follows through `body` and `body_end`."""
    return Proxied(client, call)


def _lane_of(call: Call, head: Head) -> WebLane:
    """The deployment whose turn it is where several share the route; its answer is counted there."""
    entry = cast(Entry, call.plan.entry)
    share = entry.split.choose(call.plan, head) if entry.split is not None else None
    if share is None:
        return cast(WebLane, entry.lane)
    call.plan = share.plan_of(call.plan)
    return cast(WebLane, share.main())


class Proxied:
    """Implements `upstream.Exchange`."""

    def __init__(self, client: Connection, call: Call) -> None:
        head = cast(Head, call.head)
        self.head_only = head.method == b"HEAD"
        self._client = client
        self._call = call
        self._head = head
        self._lane = _lane_of(call, head)
        self._upstream: Upstream | None = None
        self._websocket = head.upgrade == b"websocket" and b"upgrade" in head.connection
        self._tunnelled = False
        self._pending: list[bytes] = []  # framed, not yet sent
        self._pending_bytes = 0
        self._replay: list[bytes] | None = []  # framed, sent; None once too large to send again
        self._complete = False
        self._attempts = 0
        self._status = 0
        self._sent = 0
        self._chunked = False  # the answer's framing towards the client
        self._out: list[bytes] = []
        self._closes = False
        self._over = False
        self._watch = webtap.watch(cast(Entry, call.plan.entry), head, call)
        self._deadline = monotonic() + self._lane.route.timeout_s
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = asyncio.get_running_loop().call_later(
            self._lane.route.timeout_s, self._expired
        )
        if head.length > self._lane.route.max_body_bytes:
            self._refuse_size()
        else:
            self._attach(fresh=False)

    # --- from the client

    def body(self, data: bytes) -> None:
        if self._over:
            return
        if self._call.size > self._lane.route.max_body_bytes:
            self._refuse_size()
            return
        self._push(b"%x\r\n%b\r\n" % (len(data), data) if self._head.chunked else data)

    def body_end(self) -> None:
        if self._complete or self._over:
            return
        self._complete = True
        if self._head.chunked:
            self._push(LAST_CHUNK)

    def upgrade(self, rest: bytes) -> bool:
        """The client waits for a protocol switch; says whether that is what we asked for."""
        if not self._websocket or self._over:
            return False
        self._client.tunnel = self
        if rest:
            self.client_sent(rest)
        return True

    def client_sent(self, data: bytes) -> None:
        """Bytes of the new protocol."""
        if self._tunnelled and self._upstream is not None:
            self._upstream.transport.write(data)
        else:
            self._pending.append(data)
            self._client.pause_reading()

    def client_lost(self) -> None:
        if not self._over:
            self._finish()
            if self._tunnelled:
                self._client.record(self._call, 101, monotonic(), self._sent)
            if self._upstream is not None:
                self._release(False)

    def client_full(self) -> None:
        if self._upstream is not None and not self._upstream.transport.is_closing():
            self._upstream.transport.pause_reading()

    def client_ready(self) -> None:
        if self._upstream is not None and not self._upstream.transport.is_closing():
            self._upstream.transport.resume_reading()

    # --- upstream.Exchange

    def response_head(self, status: int, phrase: bytes, headers: list[Header]) -> None:
        self._cancel_timer()
        self._status = status
        self._call.started = True
        if self._watch is not None:
            self._watch.status = status
        ends = forwarding.tells_its_end(status, headers, head_only=self.head_only)
        self._chunked = not ends and not self._head.http10
        self._closes = (not ends and self._head.http10) or not self._complete or self._client.must_close(self._call)
        connection = b"close" if self._closes else b"keep-alive" if self._head.http10 else b""
        own, rid = self._client.lines(self._call), self._client.rid(self._call)
        head = forwarding.response_head(status, phrase, headers, own, rid, chunked=self._chunked, connection=connection)
        self._out.append(head)

    def response_body(self, data: bytes) -> None:
        self._sent += len(data)
        if self._watch is not None:
            self._watch.part(data)
        if self._chunked:
            self._out.append(b"%x\r\n%b\r\n" % (len(data), data))
        else:
            self._out.append(data)

    def response_end(self, reusable: bool) -> None:
        if self._over:
            return
        if self._chunked:
            self._out.append(LAST_CHUNK)
        self.response_flush()
        complete = self._complete
        self._finish()
        self._release(reusable and complete)
        if self._client.tunnel is self:
            self._client.tunnel = None
            self._closes = True  # the client may have sent bytes of the protocol that was refused
        self._client.done(self._call, self._status, self._sent, self._closes)
        if self._watch is not None:
            self._watch.answered(self._status)

    def response_flush(self) -> None:
        if self._out and not self._client.transport.is_closing():
            out, self._out = self._out, []
            self._client.write(out[0] if len(out) == 1 else b"".join(out))

    def switched(self, rest: bytes) -> None:
        upstream = self._upstream
        if upstream is None or not self._websocket:
            self.upstream_lost()
            return
        self._cancel_timer()
        self._tunnelled = self._call.started = True
        self._client.write(forwarding.switching_head(upstream.headers()) + rest)
        for data in self._pending:
            upstream.transport.write(data)
        self._pending = []
        self._client.resume_reading()

    def raw(self, data: bytes) -> None:
        self._sent += len(data)
        self._client.write(data)

    def upstream_lost(self) -> None:
        if self._over:
            return
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            self._lane.give_back(upstream, reusable=False)
        if self._call.started:
            self._finish()
            if self._tunnelled:
                self._client.transport.close()
            else:
                self._client.abort(self._call)
            return
        if self._head.method in REPEATABLE and self._attempts < 2 and self._replay is not None and not self._websocket:
            self._pending = self._replay + self._pending
            self._replay = []
            self._lane.stats.retried += 1
            self._attach(fresh=True)
            return
        self._cancel_timer()
        if upstream is not None:
            self._lane.partings.ask(upstream.spot.target, self._parted)
        else:
            self._parted(None)

    def upstream_full(self) -> None:
        self._client.pause_reading()

    def upstream_ready(self) -> None:
        self._client.resume_reading()

    # --- private

    def _parted(self, how: Exited | None) -> None:
        if not self._over:
            self._refuse(refusals.parted(self._lane.route, how))

    def _attach(self, *, fresh: bool) -> None:
        """Finds a connection, at once from the pool or by waiting for the service to be there."""
        self._attempts += 1
        if self._lane.full:
            self._refuse(
                Busy(
                    f"{self._lane.route.service} has {self._lane.route.queue_size} requests waiting and takes no more",
                    code="QUEUE_FULL", hint="come back after Retry-After seconds; or raise queue_size",
                )
            )  # fmt: skip
            return
        upstream = None if fresh else self._lane.pooled(self._head.method in REPEATABLE)
        if upstream is not None:
            self._use(upstream)
        else:
            self._task = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        upstream = await self._lane.connect(self._deadline)
        self._task = None
        if self._over:
            if upstream is not None:
                self._lane.give_back(upstream, reusable=True)
        elif upstream is None:
            self._absent()
        else:
            self._use(upstream)
        self._lane.settle()

    def _use(self, upstream: Upstream) -> None:
        self._upstream = upstream
        upstream.exchange = self
        client, prefix, rid = self._client, self._call.plan.prefix, self._client.rid(self._call)
        out = [
            forwarding.request_head(
                self._head, prefix, rid, client.peer, secure=client.secure, websocket=self._websocket
            )
        ]
        if self._watch is not None:
            self._watch.request = out[0]
        if not self._websocket:
            out += self._pending
            self._keep(self._pending)
            self._pending = []
            self._pending_bytes = 0
            self._client.resume_reading()
        upstream.transport.write(b"".join(out))

    def _push(self, data: bytes) -> None:
        if self._upstream is not None:
            self._keep([data])
            self._upstream.transport.write(data)
            return
        self._pending.append(data)
        self._pending_bytes += len(data)
        if self._pending_bytes > REPLAY_BYTES:
            self._client.pause_reading()

    def _keep(self, parts: list[bytes]) -> None:
        if self._replay is not None:
            self._replay += parts
            if sum(map(len, self._replay)) > REPLAY_BYTES:
                self._replay = None

    def _expired(self) -> None:
        self._timer = None
        if self._over or self._call.started:
            return
        if self._upstream is None:
            self._absent()
            return
        service, timeout_s = self._lane.route.service, self._lane.route.timeout_s
        self._refuse(
            TimedOut(
                f"{service} did not answer within {timeout_s:g} s",
                hint=f"raise timeout_s of services.{service} in bough.toml",
            )
        )

    def _absent(self) -> None:
        route = self._lane.route
        self._refuse(
            Unavailable(
                f"no process of {route.service} came up within {route.timeout_s:g} s", code="NO_REPLICA",
                hint=f"bough logs {route.service}",
            )
        )  # fmt: skip

    def _refuse_size(self) -> None:
        limit = self._lane.route.max_body_bytes
        self._refuse(
            TooLarge(
                f"the body is larger than {limit} bytes", code="BODY_TOO_LARGE", hint="raise max_body_mb in bough.toml"
            )
        )

    def _refuse(self, problem: Exception) -> None:
        self._finish()
        if self._upstream is not None:
            self._release(False)
        self._client.tunnel = None
        if not self._complete or self._websocket:
            self._head.close = True
        if self._call.started:
            self._client.abort(self._call)
        else:
            self._client.refuse(self._call, problem, monotonic())
        if self._watch is not None:
            self._watch.answered(problem.http_status if isinstance(problem, Problem) else 500)

    def _release(self, reusable: bool) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.exchange = None
            if reusable:
                upstream.usable = not upstream.transport.is_closing()
                upstream.transport.resume_reading()
            self._lane.give_back(upstream, reusable)

    def _finish(self) -> None:
        self._over = True
        self._cancel_timer()
        if self._task is not None:
            self._task.cancel()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
