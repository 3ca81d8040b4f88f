"""Bough's planner as a policy of the judge: each plan is there before the decision that begins it, so that what a job
costs does not depend on how fast the machine is."""

from __future__ import annotations

import time
from concurrent.futures import Future

from bench.spot.judge import NONE, ON_DEMAND, TICK_H, WAIT, Action, State
from bough.capacity import planning, rules
from bough.capacity.zones import MarketSeen, look_at_all

STEPS = 150


class Planned:
    """Knows nothing but the prior when a job begins; `seen` says more."""

    def __init__(self, seen: MarketSeen | None = None) -> None:
        self._seen = seen or MarketSeen()
        self._planner = rules.Planner(self._plan)
        self.plan_s: list[float] = []
        self.decide_s: list[float] = []  # plans included
        self.look_s: list[float] = []  # of decisions that made none

    def decide(self, state: State) -> Action:
        began, plans = time.perf_counter(), len(self.plan_s)
        setting = state.setting
        names = [str(number) for number in range(len(state.available))]
        ups = {name: bool(up) for name, up in zip(names, state.available, strict=True)}
        self._seen = look_at_all(self._seen, ups, state.tick * TICK_H)
        works = state.running.kind != NONE and state.changeover_left == 0
        ask = rules.Ask(
            time_left=state.time_left * TICK_H,
            work_left=state.work_left * TICK_H,
            changeover=setting.changeover * TICK_H,
            on_demand=setting.on_demand_per_h,
            spot=dict.fromkeys(names, setting.spot_per_h),
            tick=TICK_H,
            running=state.running.kind,
            zone=str(state.running.zone),
            changeover_left=state.changeover_left * TICK_H,
            sure=TICK_H if works else 0.0,
        )
        choice = self._planner.choose(ask, self._seen)
        self.decide_s.append(time.perf_counter() - began)
        if len(self.plan_s) == plans:
            self.look_s.append(self.decide_s[-1])
        if choice.kind == NONE:
            return WAIT
        return Action(choice.kind, 0 if choice.kind == ON_DEMAND else int(choice.zone))

    def _plan(self, market: rules.Market, time_h: float, slack_h: float) -> Future[planning.Plan]:
        began = time.perf_counter()
        steps = max(round(STEPS * min(time_h / 48.0, 1.0)), 30)
        plan = planning.plan(market, time_h, slack_h, steps=steps)
        self.plan_s.append(time.perf_counter() - began)
        return rules.ready(plan)
