"""One deployment's queue and the links that pull from it.

Calls wait in one queue; a link takes the next batch the moment it has nothing (or, for light models, little) to do.
Dealing out (`dealing`) happens once per iteration of the event loop, after every request that came in with it has been
queued: so frames fill by themselves and nothing ever waits for a timer unless the route asks for `max_wait_ms`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from bough.gateway import rules
from bough.gateway.call import Call
from bough.gateway.lanes import refusals
from bough.gateway.lanes.dealing import Dealer
from bough.gateway.lanes.link import Link
from bough.gateway.lanes.losses import Losses
from bough.gateway.lanes.pool import WarmPool
from bough.gateway.lanes.wire import Frame, Wire
from bough.gateway.models import LaneState, Route, Target
from bough.gateway.telemetry.metrics import LaneStats
from bough.kernel.errors import Busy, Problem
from bough.runtime.frames import Request
from bough.runtime.spec import Exited


class Node(Protocol):
    """How a lane asks for a replica that is gone."""

    def wake(self, unit: str) -> None:
        """Asks the node to start the unit again. Returns at once; repeated calls are spaced out."""


class Lane:
    """Implements `wire.Owner`."""

    __slots__ = (
        "_active_at", "_cold", "_dealer", "_held_bytes", "_hold_timer", "_leaving", "_links", "_loop", "_losses",
        "_node", "_observed", "_on_ready", "_pool", "_queue", "_scheduled", "_ticked_at", "_timer", "_wires",
        "closed", "draining", "route", "stats",
    )  # fmt: skip

    def __init__(
        self, route: Route, node: Node, on_ready: Callable[[Lane], None],
        observed: Callable[[Route, bytes], None] = lambda *_: None,
    ) -> None:  # fmt: skip
        self.route = route
        self.stats = LaneStats(route)
        self.draining = False
        self.closed = False
        self._node = node
        self._on_ready = on_ready
        self._observed = observed
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Call] = deque()
        self._links: dict[str, Link] = {}  # by unit and address
        self._wires: list[Wire] = []  # that said hello
        self._leaving: list[Wire] = []  # get no new work and owe answers
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._hold_timer: asyncio.TimerHandle | None = None
        self._dealer = Dealer(self._queue)
        self._active_at = self._ticked_at = monotonic()  # a request came or was answered
        self._pool = WarmPool()
        self._cold: set[str] = set()
        self._held_bytes = 0  # of bodies that wait while nobody is there
        self._losses = Losses(self._close_if_empty)
        self.update(route)

    @property
    def ready(self) -> bool:
        return bool(self._wires) or self.route.asleep

    @property
    def replicas(self) -> int:
        """Those that answer."""
        return len(self._wires)

    @property
    def batch(self) -> int:
        """Requests that one call of a replica takes at most, as far as that is known."""
        hello = self._wires[0].hello if self._wires else None
        if hello is None or hello.mode == "item":
            return 1
        return hello.concurrency if hello.mode == "concurrent" else rules.cap(self.route.max_batch, hello.max_batch)

    @property
    def in_flight(self) -> int:
        return sum(len(wire.inflight) for wire in [*self._wires, *self._leaving])

    def state(self) -> LaneState:
        now, stats, hello = monotonic(), self.stats, self._wires[0].hello if self._wires else None
        return LaneState(
            deployment=self.route.deployment, queued=len(self._queue), in_flight=self.in_flight, links=len(self._wires),
            idle_s=round(now - self._active_at, 3), asleep=self.route.asleep, arrived=stats.arrived, begun=stats.sent,
            late=stats.late, activation_s=stats.mean_start_s("pool"), answered=stats.answered,
            busy_s=round(stats.busy_s, 6), taken=self._pool.taken,
            oldest_s=round(now - self._queue[0].arrived, 3) if self._queue else 0.0,
            slots=max(1, hello.concurrency) if hello is not None and hello.mode == "concurrent" else 1,
        )  # fmt: skip

    def update(self, route: Route) -> None:
        """Takes the route's new limits and targets; links that stay are not touched, unless the lane is to rest."""
        self.route = route
        self.stats.wait_s = route.wait_s
        self._pool.update(route)
        wanted = {self._key(target.unit, target.address): target for target in route.targets}
        for key in [key for key in self._links if key not in wanted]:
            link = self._links.pop(key)
            if link.wire is not None and link.wire in self._wires:
                self._wires.remove(link.wire)
                if link.wire.inflight:
                    self._leaving.append(link.wire)
            link.close()
        for key, target in wanted.items():
            if key in self._links:
                self._links[key].aim(target)
            else:
                self._links[key] = Link(self, target)
        quiet = not self._queue and not self.in_flight and monotonic() - self._active_at > rules.AWAKE_S
        for link in self._links.values():
            if (route.asleep and quiet) or (self.resting(link.target) and link.wire in self._wires):
                link.rest()
            elif not route.asleep:
                self._use(link)

    def submit(self, call: Call, verb: int, body: bytes, meta: str, now: float) -> None:
        """Queues a call; raises `Busy` when the queue is full."""
        route, rank = self.route, call.plan.rank
        if 2 * len(self._queue) >= route.queue_size:
            self._make_room(rank, now)
        call.request = Request(call.id, verb, body, meta)
        call.deadline = now + route.timeout_s
        self._active_at = now
        self.stats.arrived += 1
        if not self._wires:
            self._hold_bytes(len(body))
        if rank > 0:
            self._queue.insert(sum(each.plan.rank > 0 or each.attempts > 0 for each in self._queue), call)
        else:
            self._queue.append(call)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._deal)
        if self._timer is None:
            self._timer = self._loop.call_later(route.timeout_s, self._expire)
        if not self._wires and len(self._queue) == 1:
            self._rouse()

    def cancel(self, call: Call) -> None:
        """Nobody waits for this call any more."""
        call.dropped = True
        if call.wire is not None:
            call.wire.cancel(call)
        elif call in self._queue:
            self._queue.remove(call)

    def drain(self) -> None:
        """No more submissions come; closes when everything is answered."""
        self.draining = True
        self._close_if_empty()

    def surrender(self) -> list[Call]:
        """Gives up the calls that have not been sent."""
        calls = list(self._queue)
        self._queue.clear()
        return calls

    def adopt(self, calls: list[Call]) -> None:
        """Takes over calls from the lane that this one replaces, ahead of its own."""
        self._queue.extendleft(reversed(calls))
        if calls:
            self._active_at = monotonic()
            self._schedule()
            if self._timer is None:
                self._arm()
            if not self._wires:
                self._rouse()

    def close(self) -> None:
        """At once, whatever is under way."""
        self.closed = True
        for timer in (self._timer, self._hold_timer):
            if timer is not None:
                timer.cancel()
        self._losses.give_up()
        for link in self._links.values():
            link.close()
        self._links.clear()

    def progress(self, call: Call, now: float) -> None:
        """A part of a streamed answer came: the deadline is for the next one."""
        call.deadline = now + self.route.timeout_s

    def woken(self, unit: str, address: str, attempt: int) -> None:
        """The node has been asked for a unit, and this is where it is."""
        for key, link in [(key, link) for key, link in self._links.items() if link.target.unit == unit]:
            link.woken(address)
            del self._links[key]
            self._links[self._key(unit, link.target.address)] = link

    def is_cold(self, unit: str) -> None:
        """The node loads the unit's model first."""
        self._cold.add(unit)

    def ended(self, unit: str, how: Exited) -> None:
        """The node has been asked for a unit, and this is how its last attempt ended."""
        self._losses.tell(unit, how)

    # --- wire.Owner

    def joined(self, wire: Wire) -> None:
        if self.resting(wire.target):  # it is ready to be taken
            return
        now, unit = monotonic(), wire.target.unit
        if (taken_at := self._pool.taken_at(unit)) is not None:
            self.stats.started("pool", now - taken_at)
        elif not self._wires and self._queue:
            self.stats.started("cold" if unit in self._cold else "zygote", now - self._queue[0].arrived)
        self._cold.discard(unit)
        self._wires.append(wire)
        self._held_bytes = 0
        self._on_ready(self)
        self._schedule()

    def leaving(self, wire: Wire) -> None:
        if wire in self._wires:
            self._wires.remove(wire)
            self._leaving.append(wire)

    def left(self, wire: Wire, calls: list[Call]) -> None:
        if wire in self._wires:
            self._wires.remove(wire)
        elif wire in self._leaving:
            self._leaving.remove(wire)
        retry, lost = list[Call](), list[Call]()
        for call in calls:
            call.wire = None
            if call.dropped:
                continue
            if call.started:
                call.client.abort(call)
            elif rules.may_retry(call.attempts, self.route.idempotent, call.started):
                retry.append(call)
            else:
                lost.append(call)
        if lost:
            self._losses.add(self.route, wire.target.unit, lost)
        self.stats.retried += len(retry)
        self._queue.extendleft(reversed(retry))
        if retry:
            self._schedule()
            if not self._wires:
                self._rouse()
        self._close_if_empty()

    def freed(self, wire: Wire, frame: Frame, now: float) -> None:
        wire.suspect = False
        self._active_at = now
        spent = self._dealer.measured(wire, frame, self.route, now)
        stats, hello = self.stats, wire.hello
        stats.answered += frame.size
        several = hello is not None and hello.mode == "concurrent"
        stats.busy_s += (now - frame.sent_at) * frame.size if several else spent
        if self._queue and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._deal)
        elif self.draining:
            self._loop.call_soon(self._close_if_empty)

    def roomy(self, wire: Wire) -> None:
        self._schedule()

    def absent(self, target: Target) -> None:
        if not self.draining and (self._queue or not self.route.asleep) and not self.resting(target):
            self._node.wake(target.unit)

    def observed(self, body: bytes) -> None:
        self._observed(self.route, body)

    def wanted(self) -> bool:
        return bool(self._queue)

    def asleep(self) -> bool:
        return self.route.asleep

    def resting(self, target: Target) -> bool:
        return self._pool.rests(target)

    def is_stuck(self, silent_s: float) -> bool:
        return rules.is_stuck(silent_s, self.route.timeout_s)

    def tick(self) -> None:
        """Once a second: a replica that is stuck is ended, so that the node starts another; what was taken from the
        warm pool and has nothing to do goes back."""
        self.stats.tick(len(self._wires))
        now = monotonic()
        held_up, self._ticked_at = now - self._ticked_at > rules.HELD_UP_S, now
        for each in self._wires:
            if not held_up and self.is_stuck(each.silent_s(now)):
                each.end_process()
        if not self._pool.taken:
            return
        for link in list(self._links.values()):
            if self._pool.goes_back(link.target.unit, link.wire is not None and bool(link.wire.inflight), now):
                link.rest()

    # --- private: links

    def _key(self, unit: str, address: str) -> str:
        """A target without an address is the link that the unit has."""
        if not address:
            address = next((each.target.address for each in self._links.values() if each.target.unit == unit), "")
        return f"{unit} {address}"

    # --- private: the warm pool

    def _take(self, now: float) -> None:
        """Uses one more replica of the warm pool where those that answer do not keep up."""
        if not self._pool.is_needed(self._queue, [wire.target.unit for wire in self._wires], self._dealer.item_s, now):
            return
        resting = [link for link in self._links.values() if self.resting(link.target)]
        if resting:
            link = next(filter(_is_ready, resting), resting[0])
            self._pool.take(link.target.unit, now)
            self._use(link)

    def _use(self, link: Link) -> None:
        """Whoever is to answer does so from now on: at once where it has said hello in the pool."""
        if link.wire is not None and _is_ready(link) and link.wire not in self._wires:
            self.joined(link.wire)
        else:
            link.kick()

    def _hold_bytes(self, size: int) -> None:
        """Memory of what waits for a replica that is not there is bounded, whatever the size of the queue."""
        self._held_bytes = self._held_bytes + size if self._queue else size
        if self._held_bytes > rules.HELD_BYTES and self._queue:
            self._held_bytes -= size
            raise refusals.absent(self.route, len(self._queue))

    # --- private: room in the queue

    def _make_room(self, rank: int, now: float) -> None:
        """Raises `Busy` where there is none for a call of this rank. One that matters more takes the place of the
        youngest that matters less."""
        route = self.route

        def is_shed() -> bool:
            queued = len(self._queue)
            wait_s = rules.wait_s(queued, len(self._wires), self._dealer.item_s) if rank <= 0 else 0.0
            return rules.is_shed(rank, queued, route.queue_size, wait_s, route.timeout_s)

        if not is_shed():
            return
        self._deal()  # this iteration's arrivals may be about to leave
        if not is_shed():
            return
        less = [call for call in self._queue if call.plan.rank < rank and not call.attempts]
        if not less:
            raise self._busy()
        self._queue.remove(less[-1])
        less[-1].dropped = True
        less[-1].client.refuse(less[-1], self._busy(), now)

    # --- private: dealing out

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._deal)

    def _deal(self) -> None:
        self._scheduled = False
        if not self._queue:
            return
        now = monotonic()
        if self._wires:
            hold_s = self._dealer.deal(self._wires, self.route, self._send, now)
            if hold_s > 0.0:
                self._hold(hold_s)
        if self._queue and self._pool.there:
            self._take(now)

    def _send(self, wire: Wire, batch: list[Call], reason: str, now: float) -> None:
        wire.send(batch, now)
        self.stats.released(reason, batch, now)

    def _hold(self, seconds: float) -> None:
        if self._hold_timer is None:
            self._hold_timer = self._loop.call_later(max(0.0, seconds), self._held)

    def _held(self) -> None:
        self._hold_timer = None
        self._deal()

    # --- private: deadlines, absence, the end

    def _expire(self) -> None:
        self._timer = None
        now = monotonic() + 0.001  # the loop's clock ticks in milliseconds
        late = [call for call in self._queue if call.deadline <= now]
        if late:
            staying = [call for call in self._queue if call.deadline > now]
            self._queue.clear()
            self._queue.extend(staying)
            self._held_bytes = sum(len(call.request.body) for call in staying) if not self._wires else 0
        for call in late:
            call.dropped = True
            call.client.refuse(call, self._timed_out(call), now)
        for wire in [*self._wires, *self._leaving]:
            for call in [call for call in wire.inflight.values() if call.deadline <= now and not call.dropped]:
                wire.cancel(call)
                if call.started:
                    call.client.abort(call)
                else:
                    call.client.refuse(call, self._timed_out(call), now)
        self._arm()
        self._close_if_empty()

    def _arm(self) -> None:
        deadlines = [call.deadline for call in self._queue]
        for wire in [*self._wires, *self._leaving]:
            deadlines += [call.deadline for call in wire.inflight.values() if not call.dropped]
        if deadlines:
            self._timer = self._loop.call_later(max(0.0, min(deadlines) - monotonic()), self._expire)

    def _timed_out(self, call: Call) -> Problem:
        return refusals.timed_out(self.route, sent=call.wire is not None, served=bool(self._wires))

    def _busy(self) -> Busy:
        if not self._wires:
            return refusals.absent(self.route, len(self._queue))
        return refusals.full(self.route, len(self._queue), self.stats.per_second)

    def _rouse(self) -> None:
        for link in self._links.values():
            link.kick()

    def _close_if_empty(self) -> None:
        owes = self._queue or self.in_flight or self._leaving or self._losses
        if self.draining and not self.closed and not owes:
            self.close()


def _is_ready(link: Link) -> bool:
    wire = link.wire
    return wire is not None and wire.hello is not None and not wire.retired
