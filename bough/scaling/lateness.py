"""What a late request weighs in a service that has not said so: learnt beside the usual rule, on the same traffic.

No one number is right for all traffic. Where the load drifts, to have one late request less costs eight times its own
work; where crowds come out of nothing, fifty times; what that is worth, nobody has said. But nobody wants to pay more,
or to wait more often, than with the rule that the service would have elsewhere. So Knative's rule with its defaults
scales the service too, in the simulator, once a second, with as many requests as came; and the weight follows from how
both have done (`rules.weighed_anew`).
"""

from __future__ import annotations

import msgspec

from bough.scaling import rules
from bough.scaling.models import Account, Costs, Observation, Wish
from bough.scaling.peers import KnativeKpa
from bough.scaling.simulating import TICK_S, Arrival, Simulation, Terms, Trace

MEMORY_S = 14_400.0  # after which what was paid and who was late count for a third
SHORT_S = 600  # of traffic from which nothing is concluded
TRUSTED_S = 7200  # a service that has shown less than this is taken to have had nobody late in the rest of it
GOLDEN = 0.618034  # multiples of it lie evenly in every second, and in step with no service time
HELD = 100_000  # requests that wait for the usual rule at most: it may be overloaded for hours


class Lateness:
    """One per service. `observe` once a second; `weight` is that of a late request, in what it usually weighs."""

    def __init__(self) -> None:
        self.weight = 1.0
        self._rule = _Bounded()
        self._usual: Simulation | None = None
        self._seconds = 0
        self._came, self._asked = 0, 0.0
        self._ours = self._theirs = Account()

    def observe(self, seen: Observation, service_s: float, terms: Terms, least: int, most: int) -> None:
        """`service_s`: that a request takes in the mean; `least` and `most` bound the usual rule as they do ours."""
        usual = self._usual
        if usual is None or usual.trace.slots != seen.slots:
            usual = self._usual = _begun(seen, terms)
        cost, late = usual.cost, usual.late
        usual.terms, self._rule.least, self._rule.most = terms, least, most
        # evenly, since when each came within its second is not known
        came = sorted((self._came + number) * GOLDEN % 1.0 for number in range(seen.arrived))
        usual.tick(self._rule, [Arrival(self._seconds + at, service_s) for at in came], self._seconds + TICK_S)
        self._seconds += 1
        self._came += seen.arrived
        keeps = 1 - 1 / MEMORY_S
        self._asked = self._asked * keeps + seen.arrived
        self._ours = self._ours.after(keeps, max(0, seen.active + seen.starting - least), seen.late)
        self._theirs = self._theirs.after(keeps, max(0.0, usual.cost - cost - least), usual.late - late)
        if self._seconds > SHORT_S:
            asked = self._asked * max(1.0, TRUSTED_S / self._seconds)
            self.weight = rules.weighed_anew(self.weight, self._ours, self._theirs, asked)


class _Bounded:
    """Knative's rule between the bounds of the service."""

    def __init__(self) -> None:
        self._rule, self.least, self.most = KnativeKpa(), 1, 1

    def wish(self, seen: Observation) -> Wish:
        return Wish(active=min(self.most, max(self.least, self._rule.wish(seen).active)))


def terms_of(costs: Costs, target: float) -> Terms:
    return Terms(start_s=costs.start_s, objective_s=target, held=HELD)


def _begun(seen: Observation, terms: Terms) -> Simulation:
    """With the replicas that there are."""
    first = msgspec.structs.replace(terms, first=max(1, seen.active))
    return Simulation(Trace(name="usual", seconds=0, arrivals=[], slots=seen.slots), first)
