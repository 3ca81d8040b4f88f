"""The judge: runs one job under one policy over what zones had, and says what it cost.

A policy is anything with `decide(state) -> Action`; it is asked at every tick, before the tick happens. Work is done in
whole ticks. A start on another machine, or of another kind, takes `changeover` ticks in which nothing gets done and
everything is paid for; what was done is kept when a machine is taken away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

TICK_H = 0.05  # three minutes
NONE, SPOT, ON_DEMAND = "none", "spot", "on-demand"


class Setting(NamedTuple):
    work: int  # ticks
    deadline: int
    changeover: int
    spot_per_h: float = 0.97
    on_demand_per_h: float = 3.06

    @property
    def name(self) -> str:
        return f"{self.deadline * TICK_H:g} h, changeover {self.changeover * TICK_H:g} h"


SETTINGS = [Setting(960, round(hours / TICK_H), round(changeover / TICK_H))
            for hours in (52, 60, 70, 92) for changeover in (0.05, 0.2, 0.4)]  # fmt: skip


class Action(NamedTuple):
    kind: str  # none, spot, on-demand
    zone: int = 0  # of spot


WAIT, BUY = Action(NONE), Action(ON_DEMAND)


class State:
    """What a policy may know. `running` is what ran in the last tick and is still there."""

    __slots__ = ("available", "changeover_left", "running", "setting", "tick", "work_left")

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.tick = 0
        self.work_left = setting.work
        self.running = WAIT
        self.changeover_left = 0  # ticks until the running machine does work
        self.available: Sequence[int] = ()  # by zone, for this tick

    @property
    def time_left(self) -> int:
        return self.setting.deadline - self.tick


class Policy(Protocol):
    def decide(self, state: State) -> Action: ...


class Outcome(NamedTuple):
    cost: float
    late: bool
    spot_ticks: int
    on_demand_ticks: int
    starts: int


def run(policy: Policy, zones: Sequence[Sequence[int]], start: int, setting: Setting) -> Outcome:
    """`zones`: availability by tick; the job begins at tick `start` of them."""
    state = State(setting)
    spot = on_demand = starts = 0
    while state.work_left > 0 and state.tick < 2 * setting.deadline:
        now = start + state.tick
        state.available = [zone[now] if now < len(zone) else 0 for zone in zones]
        if state.running.kind == SPOT and not state.available[state.running.zone]:
            state.running, state.changeover_left = WAIT, 0
        action = policy.decide(state)
        if action.kind == SPOT and not state.available[action.zone]:
            raise ValueError(f"{policy} took spot where there is none")
        if action.kind != NONE and action != state.running:
            state.changeover_left = setting.changeover
            starts += 1
        state.running = action
        if action.kind != NONE:
            spot += action.kind == SPOT
            on_demand += action.kind == ON_DEMAND
            if state.changeover_left > 0:
                state.changeover_left -= 1
            else:
                state.work_left -= 1
        state.tick += 1
    cost = (spot * setting.spot_per_h + on_demand * setting.on_demand_per_h) * TICK_H
    return Outcome(cost, state.tick > setting.deadline, spot, on_demand, starts)
