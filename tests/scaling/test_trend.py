"""The line that arrivals follow is calm where they are steady, and bends where they do."""

from __future__ import annotations

import math
import random
from statistics import mean

import pytest

from bough.scaling.trend import KNOWN_S, MEMORIES_S, Trend

STEADY = [100.0] * 5400
WAVES = [100.0 + 60.0 * math.sin(second / 200) for second in range(5400)]


def missed(rates: list[float], *memories_s: float) -> float:
    """Mean square by which what is foretold half a minute ahead misses the true rate, once lines are told apart."""
    draw, trend, squares = random.Random(5), Trend(memories_s), []
    for second, rate in enumerate(rates[:-30]):
        level, slope = trend.follow(max(0, round(draw.gauss(rate, math.sqrt(rate)))), 1.0)
        if second >= 1800:
            squares.append((level + 30 * slope - rates[second + 30]) ** 2)
    return mean(squares)


@pytest.mark.parametrize("rates", [STEADY, WAVES])
def test_several_lines_are_nearly_as_good_as_the_best_of_them_and_much_better_than_the_worst(
    rates: list[float],
) -> None:
    each = [missed(rates, memory_s) for memory_s in MEMORIES_S]
    together = missed(rates, *MEMORIES_S)
    assert together < 1.5 * min(each)
    assert together < 0.5 * max(each)


def test_there_is_no_slope_at_first_and_where_arrivals_rise_it_is_found() -> None:
    trend = Trend()
    lines = [trend.follow(second, 1.0) for second in range(1800)]
    assert all(slope == 0.0 for _, slope in lines[: KNOWN_S - 1])
    assert lines[-1] == pytest.approx((1800, 1.0), rel=0.05)


def test_a_second_that_no_line_makes_likely_leaves_numbers() -> None:
    trend = Trend()
    for arrived in (0, 10**6, 0, 0):
        level, slope = trend.follow(arrived, 1.0)
        assert math.isfinite(level) and math.isfinite(slope)


@pytest.mark.parametrize("lived_s", [30, 400, 4000])
def test_seconds_of_silence_at_once_are_as_one_after_the_other(lived_s: int) -> None:
    singly, at_once = Trend([120.0]), Trend([120.0])
    for trend in (singly, at_once):
        for second in range(lived_s):
            trend.follow(second % 3, 1.0)
    lines = [singly.follow(0, 1.0) for _ in range(50)]
    assert at_once.rest(50) == pytest.approx(lines[-1])
    assert at_once.mean == pytest.approx(singly.mean)
