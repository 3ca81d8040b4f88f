"""The decision: from what is seen now, and what the past says, to a number of replicas. Pure."""

from __future__ import annotations

import math

from bough.kernel.scale import Scale
from bough.scaling import rules
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
    QUEUE,
    Costs,
    Observation,
    Outlook,
    Wish,
)
from bough.scaling.past import Past

CALM_S = 5.0  # a replica that a pool takes back has not been needed for so long
QUICK_S = 1.0  # what it costs to take a replica from the pool, in seconds of one
WITHIN_S = 2.0  # a backlog is never worked off sooner by replicas that have to start
BUSY = 0.85  # of CPU or GPU: beyond it a replica is full
HOUR_S, DAY_S = 3600.0, 86_400.0
GROWS = 0.1  # by so much where only the latency says that something lacks


def decide(
    scale: Scale, costs: Costs, seen: Observation, outlook: Outlook, floor: int = 0, afford: float = math.inf
) -> Wish:  # fmt: skip
    """`floor`: the least that a schedule asks for now; `afford`: the most that the budget bears."""
    least, pooled, most = max(scale.min, floor), scale.warm != 0, int(min(scale.most, afford))
    needs = _needs(scale, costs, seen, outlook)
    now = max(needs.values(), default=0.0)
    spare = {KEPT: outlook.kept, FORECAST: outlook.ahead, JUMP: outlook.jump}
    spare = {
        name: _with_margin(scale, outlook, name, load, pooled) for name, load in spare.items() if load > outlook.load
    }
    whole = max([now, *spare.values()])
    needs |= spare
    active = max(least, rules.whole(now if pooled else whole))
    calm_s = scale.cooldown if scale.cooldown >= 0 else CALM_S if pooled else 0.0
    held = [level for level, idle in enumerate(outlook.idle_s) if idle <= calm_s]
    if held:
        needs[COOLDOWN] = _level(outlook, held[-1], least) + _margin(scale, outlook, outlook.load)
        active = max(active, rules.whole(needs[COOLDOWN]))
    bounded = min(active, most)
    pool = max(0, min(max(least, rules.whole(whole)), most) - bounded) if pooled else 0
    pool = max(pool, min(scale.buffer, most - bounded)) if pooled else 0
    if scale.warm > 0:
        pool = min(pool, scale.warm)
    why = max(needs, key=lambda name: needs[name]) if needs else LOAD
    if bounded != active or rules.whole(max(needs.values(), default=0.0)) <= least:
        why = BOUND
    if active > most < scale.most:
        why, needs[BUDGET] = BUDGET, float(most)
    return Wish(active=bounded, pool=pool, why=why, needs={name: round(value, 3) for name, value in needs.items()})


class Autoscaler:
    """The rule with the past that it needs: what the controller and the simulator both ask."""

    def __init__(self, scale: Scale, costs: Costs | None = None) -> None:
        self.scale, self.costs, self.past = scale, costs or Costs(), Past()
        self.outlook: Outlook | None = None
        self.spent_s = 0.0  # replica-seconds of the day that began at …
        self.day_at = 0.0

    def wish(self, seen: Observation, floor: int = 0) -> Wish:
        self.past.observe(seen)
        price = self.costs.pool_price if self.scale.warm != 0 else 1.0
        worth = self.scale.late_worth * self.costs.start_s / price
        self.outlook = self.past.outlook(seen, self.costs.start_s, worth, max(self.scale.min, floor))
        return decide(self.scale, self.costs, seen, self.outlook, floor, self._afford(seen))

    def _afford(self, seen: Observation) -> float:
        """Counts what runs, and says what the rest of the day's budget bears."""
        day_at = day_of(seen.at)
        if day_at != self.day_at:
            self.day_at, self.spent_s = day_at, 0.0
        self.spent_s += seen.active + seen.starting + self.costs.pool_price * (seen.pool + seen.pool_starting)
        if not self.scale.budget:
            return math.inf
        left_s = self.scale.budget * HOUR_S - self.spent_s
        return rules.affordable(left_s, day_at + DAY_S - seen.at, max(1, self.scale.min))


def day_of(at: float) -> float:
    """When the day began, in UTC."""
    return at - at % DAY_S


def _needs(scale: Scale, costs: Costs, seen: Observation, outlook: Outlook) -> dict[str, float]:
    """What each signal asks for now, in replicas."""
    needs = {LOAD: outlook.load + _margin(scale, outlook, outlook.load)}
    waiting = seen.queued * outlook.service_s / max(1, seen.slots)
    if QUEUE in scale.signals and seen.queued and seen.oldest_s > scale.target / 2:
        at_once = seen.pool > 0
        if not at_once:  # what will have gathered until the first of them is there
            waiting += max(0.0, outlook.load - seen.active) * costs.start_s / 2
        soon_s = max(QUICK_S, costs.activation_s) if at_once else costs.start_s
        within_s = scale.target / 2 if at_once else WITHIN_S
        needs[QUEUE] = needs[LOAD] + rules.to_work_off(waiting, outlook.load, scale.late_worth, soon_s, within_s)
    if IN_FLIGHT in scale.signals:
        needs[IN_FLIGHT] = outlook.in_flight / max(1, seen.slots)
    for name, share in ((CPU, seen.cpu), (GPU, seen.gpu)):
        if name in scale.signals and share > BUSY:
            needs[name] = seen.active * share / BUSY
    if LATENCY in scale.signals and seen.latency_s > scale.latency > 0:
        needs[LATENCY] = seen.active + max(1.0, GROWS * seen.active)
    return needs


def _margin(scale: Scale, outlook: Outlook, load: float) -> float:
    return outlook.trim * rules.margin(load, outlook.service_s, scale.target, scale.late_worth, outlook.peak)


def _with_margin(scale: Scale, outlook: Outlook, name: str, load: float, pooled: bool) -> float:
    """What is kept at the full price within the margin of the present load adds nothing to it: it may be noise."""
    spare = _margin(scale, outlook, load)
    return load + (spare if pooled or name != KEPT else min(spare, load - outlook.load))


def _level(outlook: Outlook, above: int, least: int) -> float:
    """The load at so many levels above the present one."""
    return max(least, -(-outlook.load // 1)) + above + 1
