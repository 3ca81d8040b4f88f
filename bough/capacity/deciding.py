"""From a job's situation to a decision and the sentence for it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from bough.adapters.capacity import ON_DEMAND, SPOT, Offer
from bough.capacity import rules
from bough.capacity.market import Usable, name_of, price_of_work
from bough.capacity.models import AUTO, KEEP, MOVE, START, WAIT, Decision, Situation
from bough.capacity.rules import Ask, Choice, Planner
from bough.capacity.zones import MarketSeen
from bough.kernel.errors import Unavailable

LOOK_MARKET_S = 180.0  # between two decisions, in the market's time
LOOK_S = (0.5, 60.0)  # and in ours
REACTION_S = 2.0  # from the moment when something changes to the start of something else, at most
ESTIMATE = 1.02  # what an estimate of work is multiplied by where the deadline is at stake


class Now(msgspec.Struct, frozen=True, kw_only=True):
    """What there is at this moment."""

    at: float
    usable: Usable
    offered: frozenset[tuple[str, str, str, str]]  # keys of what can be rented
    seen: MarketSeen


def decide(situation: Situation, now: Now, planner: Callable[[], Planner]) -> Decision:
    if not now.usable.on_demand and not now.usable.spot:
        wanted = " or ".join(situation.accelerators) or "what this job needs"
        raise Unavailable(f"no pool has {wanted}", code="NO_POOL", hint="bough capacity pools")
    if situation.capacity == ON_DEMAND or situation.held_back or not now.usable.spot:
        return _simply(situation, now)
    if not situation.deadline:
        return _whenever(situation, now)
    if situation.work_left_s <= 0:
        why = "how much work is left is not known yet, so on-demand until the program says how far it is"
        return _bought(situation, now, why)
    return _planned(situation, now, planner())


def _simply(situation: Situation, now: Now) -> Decision:
    """On-demand, or the only thing there is."""
    if situation.lease is not None:
        return Decision(action=KEEP, why="it goes on where it is")
    why = "on-demand, as asked for" if situation.capacity == ON_DEMAND else "no pool has spot capacity for it"
    why = situation.held_back or why
    return _bought(situation, now, why)


def _whenever(situation: Situation, now: Now) -> Decision:
    """Without a deadline: spot where there is some."""
    again = again_s(now.usable.speed)
    if situation.lease is not None:
        return Decision(action=KEEP, why="it goes on where it is", again_s=again)
    ups = [name for name, offer in now.usable.spot.items() if offer.key in now.offered]
    if ups:
        ask = asked(situation, now)
        best = rules.best_zone(ask._replace(work_left=ask.work_left or rules.LOOKS_AHEAD_H), now.seen) or ups[0]
        offer = now.usable.spot[best]
        return Decision(action=START, offer=offer, again_s=again, why=f"spot in {offer.zone} is available")
    if situation.capacity == AUTO:
        return _bought(situation, now, "no zone has spot capacity; without a deadline nothing says how long to wait")
    return Decision(action=WAIT, again_s=again, why="no zone has spot capacity; it has no deadline and waits")


def _planned(situation: Situation, now: Now, planner: Planner) -> Decision:
    ask = asked(situation, now)
    choice = planner.choose(ask, now.seen)
    late = rules.is_late(ask)
    again, cost = LOOK_S[0] if choice.coming else again_s(now.usable.speed), round(choice.cost, 4)
    why = _why(ask, choice, now, late=late)
    if choice.kind == ask.running and choice.zone in ("", ask.zone):
        action = WAIT if choice.kind == rules.NONE else KEEP
        return Decision(action=action, why=why, again_s=again, expected_cost=cost, late=late)
    if choice.kind == rules.NONE:
        return Decision(action=WAIT, why=why, again_s=again, expected_cost=cost, late=late)
    offer = now.usable.spot[choice.zone] if choice.kind == SPOT else _on_demand(now)
    action = START if situation.lease is None else MOVE
    return Decision(action=action, why=why, offer=offer, again_s=again, expected_cost=cost, late=late)


def asked(situation: Situation, now: Now) -> Ask:
    """In hours of the market, and of work at the rate of on-demand."""
    speed, lease = now.usable.speed, situation.lease
    hours = speed / 3600.0
    bought = now.usable.on_demand[0] if now.usable.on_demand else None
    rate = bought.work_rate if bought is not None else 1.0
    running = rules.NONE if lease is None else lease.offer.kind
    changeover = situation.changeover
    young = 0.0
    if lease is not None and not situation.under_way:
        young = max(changeover.usual_s - (now.at - lease.acquired_at), 0.0)
    needed = max(situation.save_s, situation.to_disk_s) + REACTION_S
    noticed = any(offer.notice_s > needed for offer in now.usable.spot.values())
    return Ask(
        time_left=(situation.deadline - now.at) * hours,
        work_left=situation.work_left_s / rate * hours * ESTIMATE,
        changeover=changeover.usual_s * hours,
        on_demand=price_of_work(bought, speed) * rate if bought is not None else 0.0,
        spot={name: price_of_work(offer, speed) * rate for name, offer in now.usable.spot.items()},
        tick=(again_s(speed) + REACTION_S) * hours,
        running=running,
        zone=name_of(lease.offer) if lease is not None and lease.offer.kind == SPOT else "",
        changeover_left=young * hours,
        reserve=(changeover.most_s - changeover.usual_s) * hours,
        loss=situation.save_s * hours if noticed else situation.interval_s * hours,
    )


def _why(ask: Ask, choice: Choice, now: Now, *, late: bool) -> str:
    """In words, with the figures that it rests on: in the job's own time, of which a replayed market needs less."""
    seen = now.seen

    def own(hours: float) -> str:
        return time_said(hours / now.usable.speed)

    start = f"a start taken as {own(ask.changeover)}"
    slack = f"{own(max(ask.time_left - ask.work_left, 0.0))} more than the work needs, {start}"
    if late:
        return "the deadline cannot be kept any more: on-demand, to be done as soon as possible"
    if choice.coming:
        return f"{'waits' if choice.kind == rules.NONE else 'it goes on where it is'}: its plan is being made"
    if choice.failure:
        return f"on-demand, because no plan could be made ({choice.failure})"
    if choice.forced:
        return f"on-demand, because any later start could miss the deadline ({slack})"
    if choice.kind == SPOT and ask.running == SPOT:
        return f"it goes on: {choice.zone} has been available for {own(seen.zones[choice.zone].age_h)}"
    if choice.kind == SPOT:
        return f"spot in {choice.zone}, expected to stay for {own(choice.life)} ({slack})"
    if choice.kind == rules.NONE and any(zone.up for zone in seen.zones.values()):
        return f"waits: what is available is not expected to stay for as long as a start takes to be worth it ({slack})"
    if choice.kind == rules.NONE:
        return f"waits for spot, which is expected to cost less than on-demand now ({slack})"
    if any(zone.up for zone in seen.zones.values()):
        return f"on-demand: the zones that are available are too young to be worth a start ({slack})"
    away = seen.any.age_h if seen.any is not None else 0.0
    return f"on-demand: no zone is available, for {own(away)} now, and time is worth more than the price ({slack})"


def _bought(situation: Situation, now: Now, why: str) -> Decision:
    again = again_s(now.usable.speed)
    if situation.lease is not None:
        return Decision(action=KEEP, why=why, again_s=again)
    return Decision(action=START, why=why, offer=_on_demand(now), again_s=again)


def _on_demand(now: Now) -> Offer:
    for offer in now.usable.on_demand:
        if offer.key in now.offered:
            return offer
    raise Unavailable("no pool has on-demand capacity for this job now", code="NO_POOL", hint="bough capacity pools")


def again_s(speed: float) -> float:
    return min(max(LOOK_MARKET_S / speed, LOOK_S[0]), LOOK_S[1])


def time_said(hours: float) -> str:
    """In words."""
    minutes = hours * 60.0
    return f"{hours:.1f} h" if hours >= 1.0 else f"{minutes:.0f} min" if minutes >= 1.0 else f"{minutes * 60.0:.0f} s"
