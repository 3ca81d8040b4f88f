"""A rule that scales nobody: simulated beside the one that decides, a second at a time, on as many requests as came."""

from __future__ import annotations

import msgspec

from bough.scaling.models import Observation
from bough.scaling.simulating import TICK_S, Arrival, Policy, Simulation, Terms, Trace

STILL_S = 180  # after the last change, longer than any rule looks back at the last seconds
GOLDEN = 0.618034  # multiples of it lie evenly in every second, and in step with no service time


class Beside:
    """Begins with the replicas that there are. When each request came within its second is not known, so they come
    evenly, and all of a second take as long."""

    def __init__(self, seen: Observation, terms: Terms) -> None:
        first = msgspec.structs.replace(terms, first=max(1, seen.active))
        self._run = Simulation(Trace(name="beside", seconds=0, arrivals=[], slots=seen.slots), first)
        self._seconds = self._came = self._still_s = 0
        self.cost, self.late = 0.0, 0  # replica-seconds of the last second, and of its requests those that were late

    def fits(self, seen: Observation) -> bool:
        return self._run.trace.slots == seen.slots

    @property
    def is_still(self) -> bool:
        """Nobody has been waiting or being answered for long, and as many replicas have been there."""
        return self._still_s >= STILL_S

    def second(self, rule: Policy, seen: Observation, service_s: float, terms: Terms) -> None:
        """`service_s`: that a request takes in the mean."""
        run, active, cost, late = self._run, self._run.active, self._run.cost, self._run.late
        run.terms = terms
        came = sorted((self._came + number) * GOLDEN % 1.0 for number in range(seen.arrived))
        run.tick(rule, [Arrival(self._seconds + at, service_s) for at in came], self._seconds + TICK_S)
        self._seconds += 1
        self._came += seen.arrived
        self.cost, self.late = run.cost - cost, run.late - late
        self._still_s = self._still_s + 1 if run.is_idle and run.active == active else 0

    def rest(self, seconds: int) -> None:
        """So many seconds at once in which nobody came, while it `is_still`: each costs what the last one did."""
        self._seconds += seconds
