"""The formula: what it asks for, and what it does not."""

from __future__ import annotations

import math
import random

from hypothesis import given
from hypothesis import strategies as some

from bough.scaling import rules

LOADS = some.floats(0.01, 2000)


def sums(*counts: float) -> list[float]:
    found = [0.0]
    for count in counts:
        found.append(found[-1] + count)
    return found


@given(LOADS, some.floats(0.01, 30), some.floats(1, 8))
def test_more_load_never_needs_fewer_replicas_and_always_more_than_itself(
    load: float, service_s: float, peak: float
) -> None:
    need = load + rules.margin(load, service_s, 1.0, 10.0, peak)
    more = 2 * load + rules.margin(2 * load, service_s, 1.0, 10.0, peak)
    assert load <= need < more + 0.2 * math.sqrt(peak * load) + 0.2  # the step of the search


def test_the_margin_grows_as_a_root_and_not_as_the_load() -> None:
    """Where requests take as long as people may wait, ten times the load needs about three times the margin."""
    small, large = (rules.margin(load, 10.0, 1.0, 10.0) for load in (40, 400))
    assert 2.0 < large / small < 4.5


@given(LOADS, some.floats(0.01, 30), some.floats(1, 8))
def test_the_margin_that_is_tolerated_is_the_least_one(load: float, service_s: float, peak: float) -> None:
    def late(spare: float) -> float:
        decay = 2 / (service_s * (peak + 1.0))
        return rules.chance_of_waiting(spare / math.sqrt(peak * load)) * math.exp(-spare * decay)

    spare = rules.tolerable(load, service_s, 1.0, peak)
    assert late(spare) <= rules.TOLERATED < late(spare - 0.01 * math.sqrt(peak * load))


@given(LOADS, some.floats(0.01, 30))
def test_people_who_cost_more_when_late_get_more_replicas(load: float, service_s: float) -> None:
    step = max(0.1, math.sqrt(load) / 8)  # of the search
    assert rules.margin(load, service_s, 1.0, 100.0) >= rules.margin(load, service_s, 1.0, 2.0) - step


def test_noise_moves_nothing() -> None:
    draw = random.Random(3)
    steady = sums(*(round(draw.gauss(100, 10)) for _ in range(600)))
    found = [rules.rate(steady[: end + 1], 1.0) for end in range(200, 600)]
    assert min(found) > 95 and max(found) < 106


def test_a_jump_is_believed_within_seconds_and_what_is_over_is_forgotten_as_soon() -> None:
    up = sums(*[10.0] * 120, *[100.0] * 5)
    assert rules.rate(up, 1.0) > 60
    down = sums(*[100.0] * 120, *[10.0] * 15)
    assert rules.rate(down, 1.0) < 30


def test_a_ramp_has_a_slope_and_a_jump_that_is_over_has_none() -> None:
    ramp = sums(*(5.0 + 2.0 * second for second in range(60)))
    assert 1.5 < rules.slope(ramp, 1.0) < 2.5
    assert rules.slope(sums(*[10.0] * 60, *[80.0] * 120), 1.0) == 0.0
    assert rules.slope(sums(*[50.0] * 120), 1.0) == 0.0


def test_idle_replicas_are_kept_for_as_long_as_they_usually_come_back_and_no_longer() -> None:
    classes = len(rules.EDGES_S) + 1
    returns, exposure = [0.0] * classes, [10_000.0] * classes
    returns[3], exposure[:4] = 10.0, [50.0] * 4
    kept = rules.worth_keeping(returns, exposure, worth=300.0)
    assert kept[:5] == [True] * 4 + [False] and not any(kept[4:])


def test_what_comes_back_after_a_long_time_is_made_ready_again_for_it() -> None:
    classes = len(rules.EDGES_S) + 1
    returns, exposure = [0.0] * classes, [100.0] * classes
    returns[15] = 5.0
    exposure[:15] = [10_000.0] * 15
    kept = rules.worth_keeping(returns, exposure, worth=300.0)
    assert [place for place, each in enumerate(kept) if each] == [15]


def test_a_new_service_is_feared_for_and_a_calm_one_is_trusted() -> None:
    none = [0.0] * len(rules.RATIOS)
    assert rules.jump_to_expect(none, 0.0, worth=3000.0) >= 2.0
    assert rules.jump_to_expect(none, 86_400.0, worth=3000.0) == 0.0
    assert rules.jump_to_expect([1.0] * len(rules.RATIOS), 1200.0, worth=3000.0) == max(rules.RATIOS)


@given(some.floats(0, 1e6), LOADS)
def test_a_backlog_never_asks_for_more_than_half_of_its_own_work(waiting: float, load: float) -> None:
    assert 0 <= rules.to_work_off(waiting, load, 10.0, 30.0) <= waiting / 2


def test_a_budget_is_never_overspent_and_leaves_the_least_until_the_end_of_the_day() -> None:
    for hours, least in ((30.0, 1), (100.0, 2), (24.0, 1), (1.0, 1)):
        left_s, used = hours * 3600, []
        for second in range(0, 86_400, 10):
            count = rules.affordable(left_s, 86_400 - second, least)
            used.append(count)
            left_s -= 10 * count
        assert min(used) == least
        assert left_s >= 0 or hours < 24 * least, "the least is set aside"
        assert max(used) == used[0] == least + max(0, int(hours - 24 * least))
