"""What to do now: read off a plan, within what the deadline leaves. Pure, but for a `Planner`'s memory.

The deadline is kept by a rule beside the plan, on exact times instead of a grid: before every step that may end without
work done and saved, it is checked that on-demand, started afterwards, would still be in time. Where it would not,
on-demand starts now, and is not left again until there is room for another start.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent import futures
from concurrent.futures import Future
from typing import TYPE_CHECKING, NamedTuple, Protocol

from bough.capacity.rates import rates, step_of
from bough.capacity.zones import MarketSeen, ZoneSeen, expected_life, together
from bough.kernel.errors import Problem

if TYPE_CHECKING:
    from bough.capacity.planning import Plan

NONE, SPOT, ON_DEMAND = "none", "spot", "on-demand"
FIRST_PLAN_S = 2.0  # for which a job's first plan is waited for; it takes a hundredth of that
PLAN_AGAIN = 1.05  # when a job is so many times as old as at its last plan
PLAN_AGAIN_H = 1.0  # and not sooner than this
TIE_H = 1e-6  # times that differ by less are equal: they are sums, and a start too early costs hours
LOOKS_AHEAD_H = 24.0  # in the choice among zones


class Market(NamedTuple):
    """What a plan rests on, in hours and prices per hour."""

    available: Sequence[float]  # rates at which a spell of availability ends, by age
    away: Sequence[float]
    spot: float
    on_demand: float
    changeover: float
    loss: float = 0.0  # work that is lost at most when spot is taken away
    elsewhere: float = 0.0  # chance that another zone is available at that moment


class Ask(NamedTuple):
    """A job at this moment, in hours of the market."""

    time_left: float
    work_left: float
    changeover: float
    on_demand: float  # price per hour
    spot: dict[str, float]  # price per hour by zone
    tick: float  # until the next decision
    running: str = NONE
    zone: str = ""  # of running spot
    changeover_left: float = 0.0
    reserve: float = 0.0  # by which a start may take longer than `changeover`, where the deadline is at stake
    sure: float = 0.0  # work that running spot will have done and saved by the next decision, whatever happens
    loss: float = 0.0


class Choice(NamedTuple):
    kind: str  # none, spot, on-demand
    zone: str = ""
    cost: float = 0.0  # expected, from here to the end
    forced: bool = False  # by the deadline
    life: float = 0.0  # expected hours of the spell of the zone
    coming: bool = False  # there is no plan yet to read it off
    failure: str = ""  # why there is none


class Planning(Protocol):
    def __call__(self, market: Market, time_h: float, slack_h: float) -> Plan: ...


class Begin(Protocol):
    def __call__(self, market: Market, time_h: float, slack_h: float) -> Future[Plan]:
        """Begins to plan, somewhere else."""


class Planner:
    """Plans for one job, again when it is a twentieth older. Plans are made beside the decisions: the one that there is
    answers until the next is there, and only the first is waited for. One that fails leaves the one before; without
    any, on-demand is what is sure, and the next decision begins another. The deadline's rule needs no plan."""

    def __init__(self, begin: Begin, *, first_s: float = FIRST_PLAN_S) -> None:
        self._begin, self._first_s = begin, first_s
        self._plan: Plan | None = None
        self._coming: Future[Plan] | None = None
        self._failure = ""
        self._began = self._again = 0.0  # in time left

    def choose(self, ask: Ask, seen: MarketSeen) -> Choice:
        ask = sooner(ask)
        if must_buy(ask):
            return Choice(ON_DEMAND, cost=ask.work_left * ask.on_demand, forced=True)
        if ask.running == SPOT:
            return Choice(SPOT, ask.zone, life=life(seen.zones[ask.zone], ask))
        plan = self._current(ask, seen)
        if plan is None and self._failure:
            return Choice(ON_DEMAND, cost=ask.work_left * ask.on_demand, failure=self._failure)
        if plan is None:
            return Choice(ask.running, coming=True)
        assert seen.any is not None  # noqa: S101 - somebody has looked
        slack = ask.time_left - ask.work_left - ask.changeover_left
        best = best_zone(ask, seen)
        state = seen.zones[best] if best else seen.any
        wait, spot, buy, _, bought = plan.costs(ask.time_left, slack, bool(best), step_of(state.age_h))
        choices = [Choice(ON_DEMAND, cost=bought if ask.running == ON_DEMAND else buy), Choice(NONE, cost=wait)]
        if best:
            choices.append(Choice(SPOT, best, cost=spot, life=life(state, ask)))
        return min(choices, key=lambda each: each.cost)

    def _current(self, ask: Ask, seen: MarketSeen) -> Plan | None:
        """The plan; another is begun when there is reason."""
        if self._coming is None and self._is_due(ask):
            self._began = max(self._began, ask.time_left)
            older = (self._began - ask.time_left) * (PLAN_AGAIN - 1.0)
            self._again = ask.time_left - max(older, PLAN_AGAIN_H)
            self._coming = self._begin(market(ask, seen), ask.time_left, ask.time_left - ask.work_left)
            if self._plan is None:
                futures.wait([self._coming], self._first_s)
        if self._coming is not None and self._coming.done():
            error = self._coming.exception()
            self._failure = _in_words(error) if error is not None else ""
            self._plan = self._coming.result() if error is None else self._plan
            self._coming = None
        return self._plan

    def _is_due(self, ask: Ask) -> bool:
        if self._plan is None or ask.time_left <= self._again:
            return True
        of, prices = self._plan.market, (ask.on_demand, min(ask.spot.values()), ask.changeover, ask.loss)
        fits = self._plan.covers(ask.time_left, ask.time_left - ask.work_left)
        return not fits or prices != (of.on_demand, of.spot, of.changeover, of.loss)


def _in_words(error: BaseException) -> str:
    if isinstance(error, Problem):
        return f"{error.message}: {error.hint}" if error.hint else error.message
    return f"{type(error).__name__}: {error}"


def ready(plan: Plan) -> Future[Plan]:
    """A plan that is there already."""
    made: Future[Plan] = Future()
    made.set_result(plan)
    return made


def sooner(ask: Ask) -> Ask:
    """With the deadline brought forward by what a start may take beyond the usual."""
    return ask._replace(time_left=ask.time_left - ask.reserve, reserve=0.0)


def must_buy(ask: Ask) -> bool:
    """Whether a step without on-demand could be one too many."""
    sure = ask.sure if ask.running == SPOT else 0.0
    return ask.time_left - ask.tick < ask.work_left - sure + ask.changeover - TIE_H


def is_late(ask: Ask) -> bool:
    """Whether even on-demand, from now on, would be done too late."""
    left = ask.changeover_left if ask.running == ON_DEMAND else 0.0 if ask.running == SPOT else ask.changeover
    return ask.time_left < ask.work_left + left - TIE_H


def market(ask: Ask, seen: MarketSeen) -> Market:
    assert seen.any is not None  # noqa: S101 - somebody has looked
    return Market(
        available=together(seen.zones),
        away=seen.any.returning(),
        spot=min(ask.spot.values()),
        on_demand=ask.on_demand,
        changeover=ask.changeover,
        loss=ask.loss,
        elsewhere=seen.chance_elsewhere,
    )


def best_zone(ask: Ask, seen: MarketSeen) -> str:
    """Where an hour of work costs least, starts included; empty: no zone has anything."""
    up = [name for name, zone in seen.zones.items() if zone.up and name in ask.spot]
    if len(up) < 2:
        return up[0] if up else ""
    return min(up, key=lambda name: price_of_work(ask.spot[name], life(seen.zones[name], ask), ask.changeover))


def life(zone: ZoneSeen, ask: Ask) -> float:
    return expected_life(rates(zone.available), zone.age_h, min(max(ask.work_left, ask.tick), LOOKS_AHEAD_H))


def price_of_work(price: float, life_h: float, changeover: float) -> float:
    """Of an hour, when every spell begins with a changeover."""
    return price * life_h / max(life_h - changeover, 1e-3 * life_h)
