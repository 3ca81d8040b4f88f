"""Connections to a web service's processes: a keep-alive pool per target, the least loaded target first."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from time import monotonic
from typing import Protocol, cast

import httptools

from bough.gateway import rules
from bough.gateway.call import Call, Header
from bough.gateway.lanes.lane import Node
from bough.gateway.models import LaneState, Route, Target
from bough.gateway.telemetry.metrics import LaneStats
from bough.kernel.errors import Problem

POOLED = 64  # idle connections kept per target
FRESH_S = 1.0  # a connection idle for longer may be about to be closed: no request that cannot be repeated goes on it
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
    """One target."""

    __slots__ = ("active", "awake_until", "idle", "target", "up")

    def __init__(self, target: Target) -> None:
        self.target = target
        self.awake_until = 0.0  # as far as the node has said
        self.active = 0
        self.idle: list[Upstream] = []
        self.up = False


class WebLane:
    """Implements `routes.AnyLane` for a web service."""

    def __init__(self, route: Route, node: Node, on_ready: Callable[[WebLane], None]) -> None:
        self.route = route
        self.stats = LaneStats(route)
        self.closed = False
        self._draining = False
        self._node = node
        self._on_ready = on_ready
        self._spots: dict[str, Spot] = {}
        self._old: set[Spot] = set()  # no longer targets, but with requests under way
        self._held = 0  # requests that wait for a target to come up
        self._probe: asyncio.Task[None] | None = None
        self._active_at = monotonic()  # a request came or was answered
        self._news = asyncio.Event()  # the node has answered
        self.update(route)

    @property
    def ready(self) -> bool:
        return any(spot.up for spot in self._spots.values()) or self.route.asleep

    @property
    def draining(self) -> bool:
        return self._draining

    @property
    def full(self) -> bool:
        """As many requests wait as may."""
        return self._held >= self.route.queue_size

    def state(self) -> LaneState:
        active = sum(spot.active for spot in [*self._spots.values(), *self._old])
        links = sum(spot.up for spot in self._spots.values())
        return LaneState(
            deployment=self.route.deployment, queued=self._held, in_flight=active, links=links,
            idle_s=round(monotonic() - self._active_at, 3), asleep=self.route.asleep, arrived=self.stats.arrived,
            begun=self.stats.sent, late=self.stats.late, answered=self.stats.answered,
            busy_s=round(self.stats.busy_s, 6),
        )  # fmt: skip

    def tick(self) -> None:
        """Once a second."""
        self.stats.tick(sum(spot.up for spot in self._spots.values()))

    def update(self, route: Route) -> None:
        self.route = route
        wanted = {target.unit: target for target in route.targets}
        for unit in [unit for unit in self._spots if unit not in wanted]:
            self._drop(self._spots.pop(unit))
        for unit, target in wanted.items():
            self._place(unit, target)
        if not route.asleep and (self._probe is None or self._probe.done()):
            self._probe = asyncio.get_running_loop().create_task(self._look())

    def woken(self, unit: str, address: str, attempt: int) -> None:
        """The node has been asked for a unit; if that started another attempt, the address may have changed."""
        spot = self._spots.get(unit)
        if spot is None:
            return
        if address and (attempt > spot.target.attempt or not spot.target.address):
            self._place(unit, Target(unit=unit, address=address, attempt=attempt))
        self._spots[unit].awake_until = monotonic() + rules.AWAKE_S
        self._news.set()

    def drain(self) -> None:
        self._draining = True
        self.settle()

    def close(self) -> None:
        self.closed = True
        if self._probe is not None:
            self._probe.cancel()
        for spot in self._spots.values():
            self._drop(spot)

    def submit(self, call: Call, verb: int, body: bytes, meta: str, now: float) -> None:
        raise Problem(f"{self.route.service} is a web service: it has no predict")

    def cancel(self, call: Call) -> None:
        """Proxied requests end through their exchange."""

    def progress(self, call: Call, now: float) -> None:
        """Streams of web services may be silent for as long as they like."""

    def pooled(self, repeatable: bool) -> Upstream | None:
        """An idle connection of the least loaded target; None when a new one is needed."""
        self._active_at = now = monotonic()
        spots = [spot for spot in self._spots.values() if spot.up and self._may_use(spot, now)]
        if not spots:
            return None
        spot = min(spots, key=_active)
        while spot.idle:
            upstream = spot.idle.pop()
            if upstream.usable and (repeatable or monotonic() - upstream.idle_since < FRESH_S):
                self._begin(upstream, now, now)
                return upstream
            upstream.transport.close()
        return None

    async def connect(self, deadline: float) -> Upstream | None:
        """A new connection, waiting until somebody listens; None when the deadline passed first."""
        self._held += 1
        failures, came_at = 0, monotonic()
        try:
            while True:
                self._news.clear()
                for spot in sorted(self._spots.values(), key=_active):
                    if not self._may_use(spot, monotonic()):
                        self._node.wake(spot.target.unit)
                    elif (upstream := await self._open(spot)) is not None:
                        self._begin(upstream, came_at, monotonic())
                        return upstream
                failures += 1
                pause = rules.reconnect_after_s(failures, wanted=True)
                if monotonic() + pause > deadline or self.closed:
                    return None
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), pause)
        finally:
            self._held -= 1

    def give_back(self, upstream: Upstream, reusable: bool) -> None:
        """The request on this connection has ended."""
        spot = upstream.spot
        spot.active -= 1
        self._active_at = monotonic()
        self.stats.answered += 1
        self.stats.busy_s += self._active_at - upstream.begun_at
        if reusable and upstream.usable and len(spot.idle) < POOLED and not self._draining and spot not in self._old:
            upstream.idle_since = monotonic()
            spot.idle.append(upstream)
        else:
            upstream.transport.close()
        if spot in self._old and not spot.active:
            self._old.discard(spot)
        self.settle()

    def settle(self) -> None:
        """Closes when it was told to and nothing is under way any more."""
        active = self._held or any(spot.active for spot in [*self._spots.values(), *self._old])
        if self._draining and not self.closed and not active:
            self.close()

    # --- private

    def _begin(self, upstream: Upstream, came_at: float, now: float) -> None:
        upstream.spot.active += 1
        upstream.begun_at = now
        stats = self.stats
        stats.arrived += 1
        stats.sent += 1
        stats.late += now - came_at > stats.wait_s

    def _may_use(self, spot: Spot, now: float) -> bool:
        """While asleep only after the node was asked, as a `link.Link` does."""
        return bool(spot.target.address) and (not self.route.asleep or now < spot.awake_until)

    def _place(self, unit: str, target: Target) -> None:
        spot = self._spots.get(unit)
        if spot is not None and spot.target.attempt > target.attempt:
            return  # the node told us of a newer attempt than the table has
        if spot is not None and not target.address:
            return  # and where it is
        if spot is None or spot.target.address != target.address:
            if spot is not None:
                self._drop(spot)
            self._spots[unit] = Spot(target)
        else:
            spot.target = target

    def _drop(self, spot: Spot) -> None:
        for upstream in spot.idle:
            upstream.transport.close()
        spot.idle.clear()
        if spot.active:
            self._old.add(spot)

    async def _open(self, spot: Spot) -> Upstream | None:
        loop = asyncio.get_running_loop()
        address = spot.target.address
        try:
            if address.startswith("unix:"):
                _, made = await loop.create_unix_connection(lambda: Upstream(spot), address.removeprefix("unix:"))
            else:
                host, _, port = address.rpartition(":")
                _, made = await loop.create_connection(lambda: Upstream(spot), host.strip("[]"), int(port))
        except (OSError, ValueError):
            spot.up = False
            if not self._draining:
                self._node.wake(spot.target.unit)
            return None
        if not spot.up or self.route.asleep:
            spot.up = True
            self._on_ready(self)
        return made

    async def _look(self) -> None:
        """Finds out which targets listen. Connections are not kept: a server with one thread would wait on them."""
        failures = 0
        while not self.closed and (absent := [spot for spot in self._spots.values() if not spot.up]):
            if self.route.asleep:
                return
            for spot in absent:
                if (upstream := await self._open(spot)) is not None:
                    upstream.transport.close()
            failures += 1
            if not all(spot.up for spot in self._spots.values()):
                await asyncio.sleep(rules.reconnect_after_s(failures, wanted=False))


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


def _active(spot: Spot) -> tuple[bool, int]:
    return not spot.up, spot.active
