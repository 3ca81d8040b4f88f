"""What whoever knows all has to pay, as the benchmark proves it (bench/scale/clairvoyant.py)."""

from __future__ import annotations

import pytest

from bench.scale.clairvoyant import bound, worked
from bough.kernel.scale import Scale
from bough.scaling.policy import Autoscaler
from bough.scaling.simulating import Arrival, Terms, Trace, simulate
from tests.scaling.test_simulating import traffic


def crowd() -> Trace:
    """One request of a second in each second, and three of them for ten seconds."""
    often = [
        Arrival(second + place / 4, 1.0) for second in range(100) for place in range(3 if 50 <= second < 60 else 1)
    ]
    return Trace(name="crowd", seconds=100, arrivals=often)


def test_whoever_knows_all_pays_for_starts_and_for_whole_replicas() -> None:
    free, paid = (bound(crowd(), Terms(start_s=start_s), 20.0) for start_s in (0.0, 30.0))
    assert free.least == pytest.approx(118.5, abs=1.5) and free.found == pytest.approx(free.least, abs=0.5)
    assert paid.least == pytest.approx(free.least + 2 * 30.0, abs=2.0), "two more, each started once"


def test_work_is_done_no_sooner_than_it_comes_and_no_later_than_it_must_be_begun() -> None:
    trace = Trace(name="two", seconds=6, arrivals=[Arrival(0.5, 2.0), Arrival(1.0, 1.0)])
    assert list(worked(trace, 0.0)) == [0.5, 2.5, 3.0, 3.0, 3.0, 3.0]
    assert list(worked(trace, 1.0)) == [0.0, 0.5, 2.5, 3.0, 3.0, 3.0]


def test_no_policy_that_has_nobody_late_pays_less() -> None:
    trace = traffic(*[20.0] * 60, *[28.0] * 40)
    terms = Terms(first=20)
    found = simulate(trace, Autoscaler(Scale(min=20, max=40, warm=0)), terms)
    assert found.late == 0 and found.cost >= bound(trace, terms, 20.0).least
