"""What a late request weighs in a service that has not said so: learnt beside the usual rule, on the same traffic.

No one number is right for all traffic. Where the load drifts, to have one late request less costs eight times its own
work; where crowds come out of nothing, fifty times; what that is worth, nobody has said. But nobody wants to pay more,
or to wait more often, than with the rule that the service would have elsewhere. So Knative's rule with its defaults
scales the service too, in the simulator, once a second, with as many requests as came; and the weight follows from how
both have done (`rules.weighed_anew`).
"""

from __future__ import annotations

from bough.scaling import peers, rules
from bough.scaling.beside import Beside
from bough.scaling.models import Costs, Learnt, Observation
from bough.scaling.simulating import Terms

SHORT_S = 600  # of traffic from which nothing is concluded
HELD = 100_000  # requests that wait for the usual rule at most: it may be overloaded for hours


class Lateness:
    """One per service. `observe` once a second; `learnt.weight` is that of a late request, in what it usually weighs.
    Whoever begins with what another one had `learnt` goes on from there; only the usual rule's replicas are again those
    that there are."""

    def __init__(self, learnt: Learnt | None = None) -> None:
        self.learnt = learnt or Learnt()
        self._rule = peers.Bounded(peers.KnativeKpa())
        self._usual: Beside | None = None

    def observe(self, seen: Observation, service_s: float, terms: Terms, least: int, most: int) -> None:
        """`service_s`: that a request takes in the mean; `least` and `most` bound the usual rule as they do ours."""
        usual = self._usual
        if usual is None or not usual.fits(seen):
            usual = self._usual = Beside(seen, terms)
            self._rule = peers.Bounded(peers.KnativeKpa())
        self._rule.least, self._rule.most = least, most
        usual.second(self._rule, seen, service_s, terms)
        self._add(1, seen, usual.cost, usual.late, least)

    @property
    def is_still(self) -> bool:
        return self._usual is not None and self._usual.is_still

    def rest(self, seen: Observation, seconds: int, least: int) -> None:
        """So many seconds at once in which this was seen, nobody, while it `is_still`."""
        if self._usual is not None:
            self._usual.rest(seconds)
            self._add(seconds, seen, self._usual.cost, 0, least)

    def _add(self, passed_s: int, seen: Observation, usual_cost: float, usual_late: int, least: int) -> None:
        before, keeps = self.learnt, (1 - 1 / rules.MEMORY_S) ** passed_s
        seconds, weight = before.seconds + passed_s, before.weight
        asked = before.asked * keeps + seen.arrived
        ours = before.ours.after(keeps, passed_s * max(0, seen.active + seen.starting - least), seen.late)
        theirs = before.usual.after(keeps, passed_s * max(0.0, usual_cost - least), usual_late)
        if seconds > SHORT_S:
            weight = rules.weighed_anew(weight, ours, theirs, asked, max(1.0, rules.TRUSTED_S / seconds), passed_s)
        self.learnt = Learnt(weight=weight, seconds=seconds, asked=asked, ours=ours, usual=theirs)


def terms_of(costs: Costs, target: float) -> Terms:
    return Terms(start_s=costs.start_s, objective_s=target, held=HELD)
