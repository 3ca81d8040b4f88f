"""What a late request weighs where nobody has said it: no more is paid, nor are more late, than with the usual rule."""

from __future__ import annotations

import math
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from bough.kernel.scale import USUAL, Scale
from bough.scaling import peers, rules
from bough.scaling.lateness import Lateness
from bough.scaling.models import Account, Learnt, Observation
from bough.scaling.policy import Autoscaler
from bough.scaling.simulating import Outcome, Policy, Terms, Trace, simulate
from tests.scaling.test_simulating import traffic

WEIGHTS = some.floats(rules.LIGHTEST, rules.HEAVIEST)
SUMS = some.floats(0, 1e6)


def told(late_cost: float = 0.0) -> Autoscaler:
    return Autoscaler(Scale(max=1000, warm=0, late_cost=late_cost))


def run(trace: Trace, policy: Policy) -> Outcome:
    return simulate(trace, policy, Terms(first=8))


def drifting() -> Trace:
    """Two hours of a rate that nobody can foresee."""
    draw, rate, rates = random.Random(3), 8.0, list[float]()
    for _ in range(7200):
        rate = min(20.0, max(2.0, rate * math.exp(draw.gauss(0.0, 0.04))))
        rates.append(rate)
    return traffic(*rates, seed=3)


@given(WEIGHTS, SUMS, SUMS, SUMS, SUMS, SUMS)
def test_the_weight_is_bounded_and_moves_slowly(
    weight: float, cost: float, late: float, usual_cost: float, usual_late: float, asked: float
) -> None:
    ours, usual = Account(cost=cost, late=late), Account(cost=usual_cost, late=usual_late)
    found = rules.weighed_anew(weight, ours, usual, asked)
    assert rules.LIGHTEST <= found <= rules.HEAVIEST and 0.99 < found / weight < 1.01


def test_it_rises_while_more_are_late_falls_while_more_is_paid_and_else_returns() -> None:
    usual = Account(cost=1000.0, late=100.0)

    def after(weight: float, cost: float, late: float, asked: float = 1000.0) -> float:
        return rules.weighed_anew(weight, Account(cost=cost, late=late), usual, asked)

    assert after(1.0, 500.0, 120.0) > 1.0
    assert after(1.0, 1100.0, 20.0) < 1.0
    for cost, late, asked in ((500.0, 20.0, 1000.0), (1100.0, 120.0, 1000.0), (500.0, 120.0, 20_000.0)):
        assert after(1.0, cost, late, asked) == 1.0, "nothing to gain, nothing to spend, or no more than is tolerated"
        assert after(0.5, cost, late, asked) > 0.5 and after(5.0, cost, late, asked) < 5.0


def test_what_is_tolerated_is_used_up_only_where_the_usual_rule_has_next_to_nobody_late() -> None:
    ours = Account(cost=500.0, late=30.0)  # of 1,000, in the first tenth of a time that is trusted
    assert rules.weighed_anew(1.0, ours, Account(cost=1000.0, late=9.0), 1000.0, trusted=10.0) == 1.0
    assert rules.weighed_anew(1.0, ours, Account(cost=1000.0, late=11.0), 1000.0, trusted=10.0) > 1.0
    assert rules.weighed_anew(1.0, ours, Account(cost=1000.0, late=40.0), 1000.0, trusted=10.0) == 1.0


def test_where_the_load_drifts_more_is_paid_for_fewer_late_ones_and_less_than_with_the_usual_rule() -> None:
    trace, learning = drifting(), told()
    learnt, fixed, usual = run(trace, learning), run(trace, told(USUAL)), run(trace, peers.KnativeKpa())
    assert learning.lateness.learnt.weight > 1.0
    assert learnt.late < 0.6 * fixed.late
    assert learnt.cost < 0.97 * usual.cost


def test_where_the_usual_rule_is_cheaper_so_is_ours_and_still_fewer_are_late() -> None:
    """Eight requests of 6 s at a time, for which the usual rule keeps hardly anything."""
    trace, learning = traffic(*[1.3] * 5400, service_s=6.0), told()
    learnt, fixed, usual = run(trace, learning), run(trace, told(USUAL)), run(trace, peers.KnativeKpa())
    assert learning.lateness.learnt.weight < 1.0
    assert learnt.cost < 0.95 * fixed.cost and learnt.cost < usual.cost < fixed.cost
    assert learnt.late < usual.late


def test_where_nothing_happens_nothing_is_learnt_and_what_was_said_stays() -> None:
    calm, set_to = told(), told(USUAL)
    trace = traffic(*[20.0] * 230)  # longer ones are left to the rule for smooth traffic
    assert run(trace, calm).curve == run(trace, set_to).curve
    assert calm.lateness.learnt.weight == 1.0
    run(traffic(*[1.3] * 1800, service_s=6.0), set_to)
    assert set_to.lateness.learnt.weight == 1.0


def test_what_a_late_request_weighed_stands_in_every_change_of_the_number() -> None:
    trace, learning = drifting(), told()
    weighed = [each.late_cost for each in run(trace, learning).changes]
    assert weighed[0] == USUAL and max(weighed) > 1.5 * USUAL
    assert {each.late_cost for each in run(trace, told(20.0)).changes} == {20.0}


def test_who_begins_with_what_another_had_learnt_goes_on_from_there() -> None:
    seconds = [Observation(at=float(at), arrived=9, active=30, begun=9, service_s=1.0) for at in range(3000)]
    whole, first = Lateness(), Lateness()
    for each in seconds:
        whole.observe(each, 1.0, Terms(), 1, 100)
    for each in seconds[:1500]:
        first.observe(each, 1.0, Terms(), 1, 100)
    kept = msgspec.json.decode(msgspec.json.encode(first.learnt), type=Learnt)
    assert len(msgspec.json.encode(kept)) < 300
    second = Lateness(kept)
    for each in seconds[1500:]:
        second.observe(each, 1.0, Terms(), 1, 100)
    assert first.learnt.weight < 1.0, "thirty replicas are more than the usual rule has, and nobody is late"
    assert second.learnt.seconds == whole.learnt.seconds == 3000
    assert second.learnt.weight == pytest.approx(whole.learnt.weight, rel=0.05)
