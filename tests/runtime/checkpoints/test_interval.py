"""How often to save: the arithmetic, and what it is told."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as some

from bough.runtime.checkpoints import interval
from bough.runtime.checkpoints.failures import CheckpointError
from bough.runtime.checkpoints.interval import Every, Losses
from bough.runtime.checkpoints.pace import Pace
from bough.runtime.checkpoints.retention import Keep, may_give_way, superfluous

cost = some.floats(0.001, 30.0)
between = some.floats(300.0, 1e6)


def wasted(every_s: float, cost_s: float, between_s: float) -> float:
    """Of a second of work, with ends that come at random: saves, and what is done again (Daly, equation 20)."""
    return between_s * math.expm1((every_s + cost_s) / between_s) / every_s - 1


@given(cost, between)
def test_no_other_interval_wastes_noticeably_less(cost_s: float, between_s: float) -> None:
    chosen = interval.best_s(cost_s, between_s)
    best = min(
        wasted(interval.daly(cost_s, between_s) * factor, cost_s, between_s)
        for factor in (0.25, 0.5, 0.8, 1, 1.25, 2, 4)
    )
    if cost_s / chosen < interval.MOST_STALL * 0.99 and chosen > interval.LEAST_S:
        assert wasted(chosen, cost_s, between_s) <= best + 0.001


@given(cost, between, some.floats(0, 100))
def test_saves_never_take_more_than_their_share_nor_come_faster_than_the_disk(
    c: float, b: float, persist_s: float
) -> None:
    chosen = interval.best_s(c, b, persist_s)
    assert c / chosen <= interval.MOST_STALL + 1e-9 and chosen >= persist_s


def test_losses_make_saves_more_frequent_and_quiet_time_less() -> None:
    quiet = interval.between_losses(Losses(lived_s=100_000), 0.0, interval.PRIOR_S)
    rough = interval.between_losses(Losses(lived_s=10_000, losses=10), 0.0, interval.PRIOR_S)
    assert rough < interval.PRIOR_S < quiet


def test_a_start_that_ended_without_a_word_is_a_loss() -> None:
    first = interval.begun(Losses(), 0.0, 1000.0)
    assert (first.losses, first.began_at) == (0, 1000.0)
    second = interval.begun(first, 1600.0, 2000.0)
    assert (second.losses, second.lived_s) == (1, 600.0)


@pytest.mark.parametrize(
    ("text", "meant"),
    [("auto", Every()), (100, Every(steps=100)), ("100 steps", Every(steps=100)), ("30s", Every(seconds=30)),
     ("5m", Every(seconds=300)), ("1.5h", Every(seconds=5400)), ("7", Every(steps=7))],
)  # fmt: skip
def test_intervals_as_people_write_them(text: str | int, meant: Every) -> None:
    assert interval.parse(text) == meant


@pytest.mark.parametrize("text", ["", "often", "-5m", "0", "1.5", "5 parsecs", 0])
def test_what_is_no_interval_is_refused(text: str | int) -> None:
    with pytest.raises(CheckpointError, match="is no interval"):
        interval.parse(text)


def test_the_cost_counts_slower_steps_too() -> None:
    pace, now = Pace(Every(), Losses(), 3600.0, 0.0), 0.0
    for _ in range(5):
        for busy in (False, True):
            for _ in range(10):
                now += 1.25 if busy else 1.0
                pace.stepped(now, busy)
            pace.resumed(now)
        pace.began_to_save(int(now), now - 0.1, now)
        pace.persisted(10.0)
    assert pace.cost_s == pytest.approx(0.1 + 0.2 * 10.0)
    assert pace.interval_s(now) == pytest.approx(interval.best_s(2.1, 3600.0 + now, 10.0))


def test_what_the_first_step_took_beyond_the_others_is_told_apart() -> None:
    pace, now = Pace(Every(), Losses(), 3600.0, 0.0), 100.0
    pace.resumed(now)
    for seconds in (7.5, 1.0, 1.0, 1.0):
        now += seconds
        pace.stepped(now, busy=False)
    assert pace.warm_s == pytest.approx(6.5)
    assert pace.step_s == 1.0


@given(some.lists(some.integers(0, 200), unique=True), some.integers(1, 5), some.integers(0, 20))
def test_the_newest_always_stays(steps: list[int], newest: int, every: int) -> None:
    keep = Keep(newest=newest, every=every)
    gone = {*superfluous(steps, keep)}
    assert {*sorted(steps, reverse=True)[:newest]}.isdisjoint(gone)
    assert not any(every and step % every == 0 for step in gone)
    assert not steps or max(steps) not in may_give_way(steps, keep)
