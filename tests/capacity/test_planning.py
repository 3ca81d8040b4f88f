"""The planner: what a plan costs, what it chooses, and that no deadline is missed."""

from __future__ import annotations

import math
import random
import time
from typing import Any

import numpy as np
import pytest

from bench.spot.judge import NONE, TICK_H, Setting, run
from bench.spot.omniscient import best
from bench.spot.ours import Planned
from bough.capacity import planning
from bough.capacity.rates import PRIOR_PER_H, step_of
from bough.capacity.rules import Market

NEVER = float(planning.NEVER)
NEVER_LOST, NEVER_BACK = (1e-6,) * len(PRIOR_PER_H), (1e-6,) * len(PRIOR_PER_H)


def market(**other: object) -> Market:
    usual = {"available": PRIOR_PER_H, "away": PRIOR_PER_H, "spot": 1.0, "on_demand": 3.0, "changeover": 0.2}
    return Market(**(usual | other))  # type: ignore[arg-type]


def test_with_spot_that_is_never_lost_a_job_costs_its_work_and_one_start() -> None:
    plan = planning.plan(market(available=NEVER_LOST), 20.0, 10.0)
    _, spot, *_ = plan.costs(20.0, 10.0, True, step_of(1.0))
    assert spot == pytest.approx(10.2, rel=0.01)


def test_with_spot_that_never_comes_a_job_costs_on_demand() -> None:
    plan = planning.plan(market(away=NEVER_BACK), 20.0, 10.0)
    wait, _, buy, *_ = plan.costs(20.0, 10.0, False, step_of(1.0))
    assert buy == pytest.approx(3.0 * 10.2, rel=0.01)
    assert wait >= buy - 0.05


def test_more_slack_never_costs_more() -> None:
    plan = planning.plan(market(), 40.0, 20.0)
    costs = [min(plan.costs(20.0 + slack, slack, False, 0)[:3]) for slack in (1.0, 2.0, 5.0, 10.0, 19.0)]
    assert costs == sorted(costs, reverse=True)


def test_finer_steps_change_little() -> None:
    coarse, fine = (
        min(planning.plan(market(), 60.0, 12.0, steps=steps).costs(60.0, 12.0, True, step_of(1.0))[:3])
        for steps in (150, 600)
    )
    assert coarse == pytest.approx(fine, rel=0.02)


def test_a_plan_takes_less_than_two_seconds_and_a_look_less_than_a_millisecond() -> None:
    began = time.process_time()
    plan = planning.plan(market(), 92.0, 44.0)
    assert time.process_time() - began < 2.0
    began = time.process_time()
    for _ in range(200):
        plan.costs(50.0, 20.0, True, 3)
    assert time.process_time() - began < 0.2


def test_another_zone_nearby_makes_spot_worth_more() -> None:
    alone, near = (
        planning.plan(market(elsewhere=chance), 30.0, 6.0).costs(30.0, 6.0, True, 2)[planning.START_SPOT]
        for chance in (0.0, 0.95)
    )
    assert near < alone


@pytest.mark.parametrize("loss", [0.0, 0.3, 9.0])
@pytest.mark.parametrize("changeover", [0.0, 0.2, 0.5, 5.0])
def test_a_plan_is_what_the_rule_of_a_step_says_for_each_cell(changeover: float, loss: float) -> None:
    market_ = market(changeover=changeover, loss=loss, elsewhere=0.3, away=[2.0 * rate for rate in PRIOR_PER_H])
    made = planning.plan(market_, 10.0, 2.0, steps=40)
    chosen = np.random.default_rng(0).integers((1, 0, 0), made.choices.shape[:1] + made.choices.shape[2:], (400, 3))
    for time_, state, slack in chosen.tolist():
        found, wanted = made.choices[time_, :, state, slack], step_by_rule(made, time_, state, slack)
        feasible = np.array(wanted) < planning.NEVER / 1e4
        assert found[feasible] == pytest.approx(np.array(wanted)[feasible], rel=1e-3, abs=1e-3)
        assert (found[~feasible] > planning.NEVER / 1e5).all()


def step_by_rule(made: planning.Plan, time_: int, state: int, slack: int) -> list[float]:
    """The choices of one cell, from those of the step before it, in plain words."""
    market_, step, ages = made.market, made.step_h, planning.AGES
    now, before = made.choices[time_].astype(float), made.choices[time_ - 1].astype(float)
    work = max(time_ * step - made.least - slack * step, 0.0)
    if not work:
        return [0.0] * 5
    none = before[:3].min(axis=0)
    spot, bought = np.minimum(none, before[planning.STAY]), np.minimum(none, before[planning.BOUGHT])
    moves = planning.zone_moves(market_, step)[state].astype(float)
    first, half = min(work, step), min(work, step / 2.0)
    wait = NEVER
    if slack and state < ages:
        wait = moves @ none[:, slack - 1]
    elif slack:
        back = (none[0, slack] + none[0, slack - 1]) / 2.0 + market_.spot * half
        wait = moves[ages:] @ none[ages:, slack - 1] + moves[0] * back
    stay = NEVER
    if state < ages:
        ends = 1.0 - moves[:ages].sum()
        gone = ends * market_.spot * half + ends * between(
            lost(made, now, none, time_), slack - market_.loss / step / 2.0
        )
        stay = moves[:ages] @ spot[:ages, slack] + market_.spot * first * (1.0 - ends) + gone
    keep = market_.on_demand * first + moves @ bought[:, slack]
    start_at = slack - market_.changeover / step
    to_the_end = market_.on_demand * (work + market_.changeover)
    return [
        wait,
        between(now[planning.STAY, state], start_at),
        min(between(now[planning.BOUGHT, state], start_at), to_the_end),
        stay,
        keep,
    ]


def lost(made: planning.Plan, now: Any, none: Any, time_: int) -> list[float]:
    """By slack: the value after spot was taken away in the middle of a step."""
    market_, ages = made.market, planning.AGES
    found = []
    for slack in range(none.shape[1]):
        half = min(max(time_ * made.step_h - made.least - slack * made.step_h, 0.0), made.step_h / 2.0)
        alone = (min(now[planning.WAIT, ages, slack], now[planning.BUY, ages, slack]) + none[ages, slack]) / 2.0
        another = none[planning.MET, slack] + market_.spot * half
        found.append(market_.elsewhere * another + (1.0 - market_.elsewhere) * alone)
    return found


def between(values: Any, at: float) -> float:
    """Of the cells beside it; where there is none below, never."""
    below = math.floor(at + 1e-9)
    if below < 0:
        return NEVER
    part = max(at - below, 0.0)
    return float(values[below] if part < 1e-9 else (1.0 - part) * values[below] + part * values[below + 1])


@pytest.mark.parametrize("seed", range(25))
def test_no_deadline_is_missed_whatever_the_zones_do(seed: int) -> None:
    """Spells of any length, one to three zones, from hardly any slack to a lot; never cheaper than the optimum."""
    chance = random.Random(seed)
    setting = Setting(work=chance.randint(1, 120), deadline=0, changeover=chance.choice((0, 1, 4, 8)))
    slack = setting.changeover + chance.choice((0, 1, 3, 20, 100))
    setting = setting._replace(deadline=setting.work + slack)
    zones = [spells(chance, setting.deadline) for _ in range(chance.randint(1, 3))]
    outcome = run(Planned(), zones, 0, setting)
    assert not outcome.late
    assert outcome.cost >= best(zones, 0, setting) - 1e-6


def test_spot_that_works_is_not_left_while_its_steps_use_up_no_slack() -> None:
    """Slack of exactly a changeover is enough: nothing is lost until the zone goes, and then on-demand is in time."""
    setting = Setting(work=960, deadline=976, changeover=8)
    outcome = run(Planned(), [bytes([1]) * 2000], 0, setting)
    assert (outcome.on_demand_ticks, outcome.starts) == (0, 1)


def test_with_room_for_just_one_more_start_spot_may_still_be_started() -> None:
    """Also where the grid has no cell at that slack."""
    for steps in (60, 150, 200):
        made = planning.plan(market(changeover=0.4), 52.0, 4.0, steps=steps)
        assert made.costs(20.0, 0.8, True, 8)[planning.START_SPOT] < planning.NEVER / 2
        assert made.costs(20.0, 0.79, True, 8)[planning.START_SPOT] > planning.NEVER / 2


def test_what_nobody_can_keep_is_done_on_demand_at_once() -> None:
    outcome = run(Planned(), [bytes([1]) * 500], 0, Setting(work=100, deadline=90, changeover=4))
    assert outcome.late
    assert (outcome.spot_ticks, outcome.starts) == (0, 1)
    assert outcome.on_demand_ticks * TICK_H == pytest.approx(104 * TICK_H)
    assert NONE == "none"


def spells(chance: random.Random, ticks: int) -> bytes:
    found, up = bytearray(), chance.random() < 0.5
    while len(found) < ticks:
        found += bytes([up]) * chance.choice((1, 2, 5, 20, 60))
        up = not up
    return bytes(found[:ticks])
