"""Scaling as data: what is seen of a service, what follows from its past, what is decided, and why."""

from __future__ import annotations

import msgspec

# Signals that may raise the number of replicas; the largest need wins.
LOAD, QUEUE, IN_FLIGHT, CPU, GPU, LATENCY = "load", "queue", "in_flight", "cpu", "gpu", "latency"
KEPT, FORECAST, JUMP, SCHEDULE, COOLDOWN, BOUND = "kept", "forecast", "jump", "schedule", "cooldown", "bound"
SMOOTH, BUDGET, SLEPT, WOKEN, NOW = "smooth", "budget", "asleep", "woken", "now"
SPENT = "environment_budget"  # of the month: nothing grows any more
STILL = 0.1  # of CPU or GPU: whoever uses less does nothing


class Observation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was seen of one service in the second that ended `at`. `service_s`: mean time for which a request that was
    begun keeps a slot busy; `late`: of those begun, had waited longer than the objective; `in_flight`: mean requests at
    replicas; `pool`: warm replicas that take no traffic; `cpu`, `gpu`: shares in use of what active replicas may use;
    `latency_s`: the 99th percentile, 0 where nobody measured it."""

    at: float
    arrived: int
    begun: int = 0
    late: int = 0
    service_s: float = 0.0
    in_flight: float = 0.0
    queued: int = 0
    oldest_s: float = 0.0
    active: int = 0
    starting: int = 0
    pool: int = 0
    pool_starting: int = 0
    slots: int = 1
    cpu: float = 0.0
    gpu: float = 0.0
    latency_s: float = 0.0

    @property
    def is_silent(self) -> bool:
        """Nobody asked, nobody is being answered, and nothing is on its way up."""
        busy = self.arrived or self.begun or self.in_flight or self.queued or self.starting or self.pool_starting
        return not busy and self.cpu < STILL and self.gpu < STILL


class Outlook(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the past says at this moment. `load`, `ahead`, `kept` and `jump` are loads, in replicas. `idle_s`: of the
    levels above the present load that were needed once, for how long they have not been."""

    rate: float
    service_s: float
    load: float
    ahead: float
    kept: float
    jump: float
    peak: float
    in_flight: float
    trim: float = 1.0  # the share of the margin that is used
    smooth: float = 0.0  # replicas where there is nothing but noise; 0: that is not so
    idle_s: list[int] = []
    lately: int = (
        0  # the most replicas that were needed, in as long as one that is kept costs what one that starts does
    )


class Wish(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How many replicas are to answer and how many to wait in the pool; `needed` of both, without what only stays since
    it is there. `needs` are all needs and `why` names the largest: with ", at max" where it is larger than may answer,
    `bound` where it is no more than the least; `now` is what answers until the next look.
    `late_cost`: what a late request weighed, in its own work, whether somebody said it or it was learnt."""

    active: int
    pool: int = 0
    needed: int = 0
    why: str = ""
    needs: dict[str, float] = {}
    late_cost: float = 0.0

    def keeping(self, active: int, buffer: int = 0) -> Wish:
        """The same where so many answer that may not be given up: they do not wait instead, but for the `buffer`."""
        more = max(0, active - self.active)
        pool = max(self.pool - more, min(self.pool, buffer))
        return msgspec.structs.replace(self, active=self.active + more, pool=pool)


class Costs(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was measured of this service's starts, and what a pool replica costs, in replicas."""

    start_s: float = 30.0
    activation_s: float = 0.0  # of a pool replica
    pool_price: float = 0.1


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule has cost in the last hours, in replica-seconds beyond the least, and how many requests were late."""

    cost: float = 0.0
    late: float = 0.0

    def after(self, keeps: float, cost: float, late: float) -> Account:
        """Later, when so much was added; `keeps` is the share of the past that is not forgotten until then."""
        return Account(cost=self.cost * keeps + cost, late=self.late * keeps + late)


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What the rule for smooth traffic would have come to in the last hours: of those `asked`, so many `late`. `trim`:
    the share of the margin that it uses."""

    asked: float = 0.0
    late: float = 0.0
    trim: float = 0.9


class Learnt(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of late requests after so many seconds: their weight, and from what it follows. `asked`: requests
    of the last hours; `ours`, `usual`: what both rules have come to; `smooth`: the one for smooth traffic."""

    weight: float = 1.0
    seconds: int = 0
    asked: float = 0.0
    ours: Account = Account()
    usual: Account = Account()
    smooth: Trial = Trial()


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """A wish that was followed, with everything that it rests on. `late_cost` is 0 where nobody wrote it down yet."""

    deployment: str
    at: float
    active: int
    pool: int
    why: str
    needs: dict[str, float]
    seen: Observation
    late_cost: float = 0.0


class Minute(msgspec.Struct, frozen=True, kw_only=True):
    """Traffic of one service in one minute since the epoch: requests in each of its seconds."""

    minute: int
    counts: list[int]
    service_s: float
    late: int
    slots: int


Place = tuple[str, str, str]  # project, environment, service
