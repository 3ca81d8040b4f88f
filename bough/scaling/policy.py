"""The decision: from what is seen now, and what the past says, to a number of replicas. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from bough.kernel.scale import Scale
from bough.scaling import rules
from bough.scaling.lateness import Lateness, terms_of
from bough.scaling.models import (
    BOUND,
    BUDGET,
    COOLDOWN,
    CPU,
    FORECAST,
    GPU,
    IN_FLIGHT,
    JUMP,
    KEPT,
    LATENCY,
    LOAD,
    NOW,
    QUEUE,
    SMOOTH,
    SPENT,
    Costs,
    Learnt,
    Observation,
    Outlook,
    Wish,
)
from bough.scaling.past import Past
from bough.scaling.smooth import Smooth
from bough.scaling.stepping import Stepped, advance
from bough.scaling.stillness import Stillness

CALM_S = 5.0  # a replica that a pool takes back has not been needed for so long
LOOK_S = 1.0  # between two decisions
WITHIN_S = 2.0  # a backlog is never worked off sooner by replicas that have to start
BUSY = 0.85  # of CPU or GPU: beyond it a replica is full
HOUR_S, DAY_S = 3600.0, 86_400.0
GROWS = 0.1  # by so much where only the latency says that something lacks


def decide(
    scale: Scale, costs: Costs, seen: Observation, outlook: Outlook, floor: int = 0, afford: float = math.inf,
    stepped: Mapping[str, float] | None = None, held: float = math.inf,
) -> Wish:  # fmt: skip
    """`floor`: the least that a schedule asks for now; `afford`: the most that the budget bears; `stepped`: what steps
    have come to; `held`: what there is, where the budget of the environment lets nothing grow."""
    least, pooled, most = max(scale.min, floor), scale.warm != 0, int(min(scale.most, afford, held))
    needs = _needs(scale, costs, seen, outlook) | dict(stepped or {})
    now = _now(scale, costs, seen, outlook, needs) if pooled else 0.0
    spare = {KEPT: outlook.kept, FORECAST: outlook.ahead, JUMP: outlook.jump}
    if outlook.smooth or LOAD not in scale.signals:
        spare = {}
    spare = {
        name: _with_margin(scale, outlook, name, load, pooled) for name, load in spare.items() if load > outlook.load
    }
    needs |= spare
    needed = rules.whole(max(needs.values(), default=0.0))
    active = max(least, needed)
    if pooled:
        needs[NOW], active = now, max(least, rules.whole(now))
    calm_s = scale.cooldown if scale.cooldown >= 0 else CALM_S if pooled else 0.0
    calm = [level for level, idle in enumerate(outlook.idle_s) if idle <= calm_s and LOAD in scale.signals]
    if calm and (scale.cooldown > 0 or not outlook.smooth):
        needs[COOLDOWN] = _level(outlook, calm[-1], least)
        if not pooled:
            needs[COOLDOWN] += _margin(scale, outlook, outlook.load)
        active = max(active, rules.whole(needs[COOLDOWN]))
    bounded = min(active, most)
    lately = 0 if outlook.smooth else outlook.lately
    pool = _pool(scale, seen, max(least, needed), lately, bounded, most) if pooled else 0
    why = max(needs, key=lambda name: needs[name], default=BOUND)
    if rules.whole(needs.get(why, 0.0)) <= least:
        why = BOUND
    elif bounded != active:
        why = f"{why}, at max"
    if active > most < scale.most:
        why = SPENT if held < afford else BUDGET
        needs[why] = float(most)
    rounded = {name: round(value, 3) for name, value in needs.items()}
    weighed = round(scale.late_worth, 3)
    return Wish(active=bounded, pool=pool, needed=needed, why=why, needs=rounded, late_cost=weighed)


class Autoscaler:
    """The rule with the past that it needs: what the controller and the simulator both ask."""

    def __init__(self, scale: Scale, costs: Costs | None = None) -> None:
        self.scale, self.costs, self.past = scale, costs or Costs(), Past()
        self.lateness, self.smooth = Lateness(), Smooth()
        self.outlook: Outlook | None = None
        self.stepped, self._stillness = Stepped(), Stillness()
        self._decided = (Observation(at=0.0, arrived=0), 0, Wish(active=0))  # last: what was seen, the least, the wish
        self.spent_s = 0.0  # replica-seconds of the day that began at …
        self.day_at = 0.0

    @property
    def learnt(self) -> Learnt:
        """What the next one may go on from."""
        return msgspec.structs.replace(self.lateness.learnt, smooth=self.smooth.trial)

    def resume(self, learnt: Learnt) -> None:
        self.lateness, self.smooth = Lateness(learnt), Smooth(learnt.smooth)

    @property
    def still_s(self) -> int:
        """Seconds from now on in which nothing is decided if nobody comes."""
        return self._stillness.left_s

    def pass_by(self, seconds: int) -> int:
        """Takes so many to have passed in which the same was seen, or as many as are `still_s`; says how many."""
        return self._stillness.pass_by(seconds)

    def wish(self, seen: Observation, floor: int = 0, held: float = math.inf) -> Wish:
        """`held`: replicas beyond which it may not grow, whatever its own budget says."""
        least = max(self.scale.min, floor)
        terms = (self.scale, self.costs, floor, held, seen.active, seen.pool, seen.slots)
        if self._stillness.passes(seen, terms):
            return self._decided[2]
        self._rest(self._stillness.passed_s)
        wish = self._decide(seen, floor, least, held)
        self._stillness.decided(seen, terms, settled=self._is_settled)
        self._decided = seen, least, wish
        return wish

    def _decide(self, seen: Observation, floor: int, least: int, held: float) -> Wish:
        self.past.observe(seen)
        scale = self._weighed(seen, least)
        price = self.costs.pool_price if scale.warm != 0 else 1.0
        again_s = self.costs.start_s / price
        self.outlook = self.past.outlook(seen, self.costs.start_s, again_s, scale.late_worth * again_s, least)
        dear = scale.warm == 0 and self.lateness.learnt.weight < 1.0  # more is paid than with the usual rule
        if not self.scale.late_cost and not dear and {LOAD, QUEUE} <= set(scale.signals):
            self.outlook = msgspec.structs.replace(self.outlook, smooth=self.smooth.need)
        self.stepped = advance(scale, self.stepped, seen, self.outlook.load)
        afford = self._afford(seen)
        wish = decide(scale, self.costs, seen, self.outlook, floor, afford, self.stepped.needs, held)
        self.past.wished(wish.needed)
        return wish

    @property
    def _is_settled(self) -> bool:
        if self.scale.late_cost:
            return True
        return self.smooth.is_still and (self.scale.warm != 0 or self.lateness.is_still)

    def _rest(self, seconds: int) -> None:
        """So many seconds at once, in which the same was seen as in the last decision."""
        if not seconds:
            return
        seen, least, _ = self._decided
        self.past.rest(seconds, least)
        self.spent_s += seconds * self._runs(seen)
        if not self.scale.late_cost:
            self.smooth.rest(seconds)
            if self.scale.warm == 0:
                self.lateness.rest(seen, seconds, max(1, least))

    def _weighed(self, seen: Observation, least: int) -> Scale:
        """With what a late request has turned out to weigh, where nobody has said it and there is no pool; the rule for
        smooth traffic is tried with a pool, too."""
        if self.scale.late_cost:
            return self.scale
        terms = terms_of(self.costs, self.scale.target)
        self.smooth.observe(seen, self.past.peak, self.scale, terms, max(1, least))
        if self.scale.warm != 0:
            return self.scale
        self.lateness.observe(seen, self.past.service_s, terms, max(1, least), self.scale.most)
        return msgspec.structs.replace(self.scale, late_cost=self.scale.late_worth * self.lateness.learnt.weight)

    def _afford(self, seen: Observation) -> float:
        """Counts what runs, and says what the rest of the day's budget bears."""
        day_at = day_of(seen.at)
        if day_at != self.day_at:
            self.day_at, self.spent_s = day_at, 0.0
        self.spent_s += self._runs(seen)
        if not self.scale.budget:
            return math.inf
        left_s = self.scale.budget * HOUR_S - self.spent_s
        return rules.affordable(left_s, day_at + DAY_S - seen.at, max(1, self.scale.min))

    def _runs(self, seen: Observation) -> float:
        """In replicas of the full price."""
        return seen.active + seen.starting + self.costs.pool_price * (seen.pool + seen.pool_starting)


def day_of(at: float) -> float:
    """When the day began, in UTC."""
    return at - at % DAY_S


def _needs(scale: Scale, costs: Costs, seen: Observation, outlook: Outlook) -> dict[str, float]:
    """What each signal asks for now, in replicas."""
    answering = outlook.load + _margin(scale, outlook, outlook.load)
    needs = {LOAD: answering} if LOAD in scale.signals else {}
    if outlook.smooth:
        needs = {SMOOTH: outlook.smooth}
    waiting_s = _waiting_s(seen, outlook)
    if QUEUE in scale.signals and seen.queued and seen.oldest_s > scale.target / 2 and not outlook.smooth:
        # and what will have gathered until the first of them is there
        gathered_s = waiting_s + max(0.0, outlook.load - seen.active) * costs.start_s / 2
        within_s = max(WITHIN_S, outlook.service_s)
        more = rules.to_work_off(gathered_s, outlook.load, scale.late_worth, costs.start_s, within_s)
        busy = min(seen.active - answering, waiting_s / within_s)  # whoever is there works on
        needs[QUEUE] = answering + max(more, busy)
    if IN_FLIGHT in scale.signals:
        needs[IN_FLIGHT] = outlook.in_flight / max(1, seen.slots)
    for name, share in ((CPU, seen.cpu), (GPU, seen.gpu)):
        if name in scale.signals and share > BUSY:
            needs[name] = seen.active * share / BUSY
    if LATENCY in scale.signals and seen.latency_s > scale.latency > 0:
        needs[LATENCY] = seen.active + max(1.0, GROWS * seen.active)
    return needs


def _now(scale: Scale, costs: Costs, seen: Observation, outlook: Outlook, needs: dict[str, float]) -> float:
    """What has to answer until the next look: others wait in the pool, and are there as soon as somebody has looked."""
    found = [0.0, *(need for name, need in needs.items() if name not in (LOAD, QUEUE, SMOOTH))]
    if LOAD in scale.signals:
        found.append(_lean(scale, costs, seen, outlook))
        if scale.warm > 0:  # of the margin, no more than that can wait
            found.append(needs.get(LOAD, outlook.smooth) - scale.warm)
    waiting_s, soon_s = _waiting_s(seen, outlook), scale.target / 2
    if outlook.smooth:  # hardly anybody waits by plan: whoever does is helped before the next look
        soon_s = max(0.0, min(soon_s, scale.target - LOOK_S - costs.activation_s))
    if QUEUE in scale.signals and max(seen.oldest_s, waiting_s / max(1, seen.active)) > soon_s and seen.queued:
        more = waiting_s / max(soon_s, outlook.service_s)
        found.append(seen.active + min(more, seen.pool))
        if more > seen.pool:
            found.append(needs.get(QUEUE, 0.0))
    return max(found)


def _lean(scale: Scale, costs: Costs, seen: Observation, outlook: Outlook) -> float:
    """The staffing of the next second, for which most is known: what is busy now, and who waits is soon helped."""
    lasting = math.exp(-LOOK_S / max(1e-6, outlook.service_s))
    busy = outlook.load + (seen.in_flight / max(1, seen.slots) - outlook.load) * lasting
    unknown = max(1e-6, 1.0 - lasting * lasting)
    missed = min(1.0, max(0.0, (LOOK_S + costs.activation_s - scale.target) / LOOK_S))
    worth = scale.late_worth * missed / unknown
    return busy + outlook.trim * rules.margin(
        outlook.load * unknown, outlook.service_s, scale.target, worth, outlook.peak
    )


def _pool(scale: Scale, seen: Observation, needed: int, lately: int, active: int, most: int) -> int:
    """What is needed and does not answer. What is there stays for as long as to start it again would cost."""
    there = seen.active + seen.starting + seen.pool + seen.pool_starting
    ready = max(needed, min(lately, there), active + scale.buffer)
    pool = max(0, min(ready, most) - active)
    return min(pool, scale.warm) if scale.warm > 0 else pool


def _waiting_s(seen: Observation, outlook: Outlook) -> float:
    """The work that waits, in seconds of a replica."""
    return seen.queued * outlook.service_s / max(1, seen.slots)


def _margin(scale: Scale, outlook: Outlook, load: float) -> float:
    return outlook.trim * rules.margin(load, outlook.service_s, scale.target, scale.late_worth, outlook.peak)


def _with_margin(scale: Scale, outlook: Outlook, name: str, load: float, pooled: bool) -> float:
    """What is kept at the full price within the margin of the present load adds nothing to it: it may be noise."""
    spare = _margin(scale, outlook, load)
    return load + (spare if pooled or name != KEPT else min(spare, load - outlook.load))


def _level(outlook: Outlook, above: int, least: int) -> float:
    """The load at so many levels above the present one."""
    return max(least, -(-outlook.load // 1)) + above + 1
