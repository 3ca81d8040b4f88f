"""A web service's lane: a pool of connections for each of its processes, the least loaded process first."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from time import monotonic

from bough.gateway import rules
from bough.gateway.call import Call
from bough.gateway.lanes.lane import Node
from bough.gateway.lanes.losses import Partings
from bough.gateway.lanes.upstream import Spot, Upstream
from bough.gateway.models import LaneState, Route, Target
from bough.gateway.telemetry.metrics import LaneStats
from bough.kernel.errors import Problem

POOLED = 64  # idle connections kept per target
FRESH_S = 1.0  # a connection idle for longer may be about to be closed: no request that cannot be repeated goes on it


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
        self.partings = Partings(node.wake)
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


def _active(spot: Spot) -> tuple[bool, int]:
    return not spot.up, spot.active
