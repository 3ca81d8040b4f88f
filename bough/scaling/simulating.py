"""A service of replicas under a trace, request by request: what a policy would have cost and made people wait.

Exact for what it models: one first-come queue, replicas of so many slots, service times as the trace says, starts that
take `start_s`, activations out of the pool that take `activation_s`. Time moves in ticks, at each of which the policy
is asked once; between ticks every request is followed by itself. The policy sees what the gateway could measure and
nothing else.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush, heapreplace
from typing import Protocol

import msgspec

from bough.gateway.telemetry.metrics import LATENCY_S
from bough.scaling.latencies import within_s
from bough.scaling.models import Observation, Wish

TICK_S = 1.0
LOOKED_BACK = 30  # ticks whose answers the latency is of, as live
WARM_UP_S = 60.0


class Arrival(msgspec.Struct, frozen=True, array_like=True):
    """When, and for how long it keeps a slot busy."""

    at: float
    service_s: float


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """`slots`: requests that one replica works on at once."""

    name: str
    seconds: int
    arrivals: list[Arrival]
    slots: int = 1

    @property
    def work_s(self) -> float:
        return sum(each.service_s for each in self.arrivals)


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What a simulated machine does and costs. `pool_price`: of a pool replica, in replicas."""

    start_s: float = 30.0
    activation_s: float = 0.05
    objective_s: float = 1.0
    pool_price: float = 0.1
    first: int = 1  # replicas that are there when the trace begins
    held: int | None = None  # requests that may wait; whoever waits longest gives up when there are more


class Policy(Protocol):
    """Asked once per tick."""

    def wish(self, seen: Observation) -> Wish: ...


class ScaleChange(msgspec.Struct, frozen=True, kw_only=True):
    """A wish that was another one than before, and what it rests on."""

    at: float
    active: int
    pool: int
    why: str
    needs: dict[str, float]
    late_cost: float = 0.0


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """`cost` in replica-seconds; `late`: requests that waited longer than the objective; `curve`: active, starting and
    pool replicas after each tick; `late_costs`: what a late request weighed in it; `changes`: of the policy's mind."""

    trace: str
    policy: str
    cost: float
    requests: int
    late: int
    waited_s: float
    curve: list[tuple[int, int, int]] = []
    late_costs: list[float] = []
    changes: list[ScaleChange] = []

    @property
    def violations(self) -> float:
        return self.late / self.requests if self.requests else 0.0


def simulate(trace: Trace, policy: Policy, terms: Terms | None = None, *, name: str = "") -> Outcome:
    return Simulation(trace, terms or Terms()).run(policy, name or type(policy).__name__)


class Simulation:
    """One run. Slots are kept as the times at which they are free, the soonest first."""

    def __init__(self, trace: Trace, terms: Terms) -> None:
        self.trace, self.terms = trace, terms
        self.active = terms.first
        self.free = [0.0] * (terms.first * trace.slots)
        self.starting: deque[float] = deque()  # when each is ready, the soonest first
        self.pool = 0
        self.pool_starting: deque[float] = deque()
        self.queue: deque[Arrival] = deque(maxlen=terms.held)
        self.cost = self.waited_s = 0.0
        self.late = self.late_now = 0
        self.service_s = 0.0  # of those that were begun in this tick
        self.begun = 0
        self.busy_before = 0
        self.answers = [0] * (len(LATENCY_S) + 1)  # of the last ticks, by latency …
        self.lately: deque[list[int]] = deque()  # … and of each of them
        self.still = 0  # ticks since one in which something was begun

    def run(self, policy: Policy, name: str) -> Outcome:
        arrivals, position, curve = self.trace.arrivals, 0, list[tuple[int, int, int]]()
        changes, late_costs, before = list[ScaleChange](), list[float](), Wish(active=self.active)
        for second in range(self.trace.seconds):
            end, first = second + TICK_S, position
            while position < len(arrivals) and arrivals[position].at < end:
                position += 1
            wish = self.tick(policy, arrivals[first:position], end)
            if (wish.active, wish.pool) != (before.active, before.pool):
                changes.append(ScaleChange(
                    at=end, active=wish.active, pool=wish.pool, why=wish.why, needs=wish.needs,
                    late_cost=wish.late_cost,
                ))  # fmt: skip
            before = wish
            curve.append((self.active, len(self.starting), self.pool))
            late_costs.append(wish.late_cost)
        self._serve(float("inf"))
        return Outcome(
            trace=self.trace.name, policy=name, cost=self.cost, requests=position, late=self.late,
            waited_s=self.waited_s, curve=curve, late_costs=late_costs, changes=changes,
        )  # fmt: skip

    def tick(self, policy: Policy, arrivals: Sequence[Arrival], end: float) -> Wish:
        """One tick, with what comes in it, and what is wished at its end; ticks follow one another."""
        self._come_up(end)
        self.queue.extend(arrivals)
        self._serve(end)
        self.cost += self.active + len(self.starting) + len(self.pool_starting) + self.terms.pool_price * self.pool
        wish = policy.wish(self._seen(end, len(arrivals)))
        self._obey(wish, end)
        return wish

    @property
    def is_idle(self) -> bool:
        """Nobody waits or is being answered, and nothing is on its way up."""
        return not (self.queue or self.busy_before or self.starting or self.pool_starting)

    def _come_up(self, end: float) -> None:
        while self.starting and self.starting[0] < end:
            self._join(self.starting.popleft())
        while self.pool_starting and self.pool_starting[0] < end:
            self.pool_starting.popleft()
            self.pool += 1

    def _join(self, at: float) -> None:
        self.active += 1
        for _ in range(self.trace.slots):
            heappush(self.free, at)

    def _serve(self, end: float) -> None:
        if not self.queue and self._is_forgotten:
            return  # as in the tick before
        queue, free, objective_s = self.queue, self.free, self.terms.objective_s
        if not free and end == float("inf"):
            heappush(free, self.trace.seconds + self.terms.start_s)
        service_s, begun, late, counts = 0.0, 0, self.late, [0] * len(self.answers)
        while queue and free and free[0] < end:
            request = queue.popleft()
            start = free[0] if free[0] > request.at else request.at
            heapreplace(free, start + request.service_s)
            waited = start - request.at
            self.waited_s += waited
            if waited > objective_s:
                self.late += 1
            service_s += request.service_s
            counts[bisect_left(LATENCY_S, waited + request.service_s)] += 1
            begun += 1
        self.service_s, self.begun, self.late_now = service_s, begun, self.late - late
        self.still = 0 if begun else self.still + 1
        self._answered(counts)

    @property
    def _is_forgotten(self) -> bool:
        """Nothing was begun in any tick that is looked back at: a service that nobody asks costs nearly nothing."""
        return self.still > LOOKED_BACK

    def _answered(self, counts: list[int]) -> None:
        """Known as soon as they are begun, which live shows a service time later."""
        self.lately.append(counts)
        gone = self.lately.popleft() if len(self.lately) > LOOKED_BACK else [0] * len(counts)
        self.answers = [had + new - old for had, new, old in zip(self.answers, counts, gone, strict=True)]

    def _seen(self, now: float, arrived: int) -> Observation:
        busy = sum(1 for each in self.free if each > now)
        in_flight = (busy + self.busy_before) / 2
        mean_s = self.service_s / self.begun if self.begun else 0.0
        if self.begun and mean_s < TICK_S / 2:  # two looks would miss most of it
            in_flight = self.service_s / TICK_S
        self.busy_before = busy
        return Observation(
            at=now, arrived=arrived, begun=self.begun, late=self.late_now, service_s=mean_s, in_flight=in_flight,
            queued=len(self.queue),
            oldest_s=now - self.queue[0].at if self.queue else 0.0, active=self.active, starting=len(self.starting),
            pool=self.pool, pool_starting=len(self.pool_starting), slots=self.trace.slots,
            latency_s=0.0 if self._is_forgotten else within_s(self.answers),
        )  # fmt: skip

    def _obey(self, wish: Wish, now: float) -> None:
        if now <= WARM_UP_S:  # nobody has seen enough to give up what is there
            wish = wish.keeping(self.active)
        if (wish.active, wish.pool) == (self.active, self.pool) and not (self.starting or self.pool_starting):
            return
        lacking = wish.active - self.active
        if lacking > 0:
            used = min(lacking, self.pool)
            for _ in range(used):
                self._join(now + self.terms.activation_s)
            self.pool -= used
            lacking -= used
        if lacking < 0:
            self._release(-lacking, wish.pool, now)
        self._start(max(0, lacking), max(0, wish.pool - self.pool), now)
        self.pool = min(self.pool, wish.pool)

    def _start(self, active: int, pool: int, now: float) -> None:
        """What is under way goes on, the soonest for those that are to answer; what is too many is given up."""
        ready = sorted([*self.starting, *self.pool_starting])[: active + pool]
        ready += [now + self.terms.start_s] * (active + pool - len(ready))
        self.starting, self.pool_starting = deque(ready[:active]), deque(ready[active:])

    def _release(self, count: int, pool: int, now: float) -> None:
        """The idle first; what is under way is finished, and paid for."""
        for _ in range(count):
            last = now
            for _ in range(self.trace.slots):
                last = max(last, heappop(self.free))
            self.cost += last - now
        self.active -= count
        self.pool += count if pool > self.pool else 0


def merge(many: Iterable[Outcome]) -> Outcome:
    """As one: costs and requests added up."""
    found = list(many)
    return Outcome(
        trace="all", policy=found[0].policy, cost=sum(each.cost for each in found),
        requests=sum(each.requests for each in found), late=sum(each.late for each in found),
        waited_s=sum(each.waited_s for each in found),
    )  # fmt: skip
