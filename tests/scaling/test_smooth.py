"""Traffic that is nothing but noise has a rule of its own, and whatever happens ends it."""

from __future__ import annotations

import math
from statistics import mean

import msgspec
from hypothesis import given
from hypothesis import strategies as some

from bough.kernel.scale import USUAL, USUAL_WITH_POOL, Scale
from bough.scaling import rules
from bough.scaling.clairvoyant import least_cost
from bough.scaling.models import SMOOTH, Costs, Learnt, Observation, Outlook, Trial, Wish
from bough.scaling.policy import Autoscaler, decide
from bough.scaling.simulating import Outcome, Terms, Trace, simulate
from tests.scaling.test_simulating import bursts, traffic


class Watched(Autoscaler):
    """Remembers in which seconds the rule for smooth traffic decided."""

    def __init__(self, scale: Scale) -> None:
        super().__init__(scale)
        self.smoothly: list[bool] = []

    def wish(self, seen: Observation, floor: int = 0, held: float = math.inf) -> Wish:
        found = super().wish(seen, floor, held)
        self.smoothly.append(self.outlook is not None and self.outlook.smooth > 0)
        return found


def watched(trace: Trace, late_cost: float = 0.0, *, warm: int = 0) -> tuple[Watched, Outcome]:
    rule = Watched(Scale(max=1000, warm=warm, late_cost=late_cost))
    return rule, simulate(trace, rule, Terms(first=60))


def test_smooth_traffic_costs_less_and_no_more_than_one_in_a_hundred_is_late() -> None:
    trace = traffic(*(80.0 + 30.0 * math.sin(second / 900) for second in range(3600)))
    (rule, ours), (_, usual) = watched(trace), watched(trace, USUAL)
    least = least_cost(trace)
    assert sum(rule.smoothly) > 2400 and not any(rule.smoothly[:240])
    assert ours.violations < 0.01
    assert ours.cost - least < 0.8 * (usual.cost - least)


def test_bursty_traffic_is_never_left_to_it() -> None:
    rule, _ = watched(bursts())
    assert not any(rule.smoothly)
    assert not any(watched(bursts(), warm=-1)[0].smoothly)
    assert rule.smooth.trial.late > 0.1 * rule.smooth.trial.asked


def test_with_a_pool_it_decides_once_jumps_are_not_feared_any_more_and_costs_less() -> None:
    trace = traffic(*(80.0 + 30.0 * math.sin(second / 900) for second in range(3600)))
    (rule, ours), (_, usual) = watched(trace, warm=-1), watched(trace, USUAL_WITH_POOL, warm=-1)
    assert sum(rule.smoothly) > 1800 and not any(rule.smoothly[: int(rules.FEARED_S)])
    assert ours.violations < 0.01
    assert ours.cost < 0.995 * usual.cost
    curve = ours.curve[2400:]
    assert mean(pool for _, _, pool in curve) < 0.2 * mean(pool for _, _, pool in usual.curve[2400:])


def test_with_a_pool_a_burst_after_smooth_traffic_is_soon_answered_by_the_pool_again() -> None:
    rule, _ = watched(traffic(*[30.0] * 1500, *[120.0] * 120, *[30.0] * 1500), warm=-1)
    assert all(rule.smoothly[1300:1495])
    assert not any(rule.smoothly[1505:])


def test_with_a_pool_a_weight_that_was_learnt_without_one_does_not_count() -> None:
    rule = Watched(Scale(max=1000))
    rule.resume(Learnt(weight=0.5))
    simulate(traffic(*[30.0] * 1300), rule, Terms(first=20))
    assert all(rule.smoothly[-50:])


def test_a_surprise_ends_it_within_seconds_and_for_as_long_as_it_made_people_wait() -> None:
    rule, _ = watched(traffic(*[30.0] * 1200, *[120.0] * 120, *[30.0] * 1200))
    assert all(rule.smoothly[1000:1195])
    assert not any(rule.smoothly[1205:])


def test_where_the_weight_is_said_nothing_else_decides() -> None:
    rule, _ = watched(traffic(*[30.0] * 900), USUAL)
    assert not any(rule.smoothly)


def test_other_signals_and_bounds_hold_beside_it() -> None:
    outlook = Outlook(
        rate=40.0, service_s=0.5, load=20.0, ahead=30.0, kept=25.0, jump=90.0, peak=1.0, in_flight=20.0, smooth=21.4
    )
    seen = Observation(at=100.0, arrived=40, in_flight=20.0, active=22, queued=40, oldest_s=0.9)

    def decided(seen: Observation = seen, **scale: int) -> Wish:
        return decide(msgspec.structs.replace(Scale(max=100, warm=0), **scale), Costs(), seen, outlook)

    assert (decided().active, decided().why) == (22, SMOOTH), "nothing for what is kept, may come, or waits a little"
    assert decided(max=10).active == 10 and decided(min=30).active == 30
    assert decided(msgspec.structs.replace(seen, cpu=1.0)).why == "cpu"


def test_what_was_learnt_survives_and_the_trend_has_to_be_known_again() -> None:
    first, _ = watched(bursts())
    kept = msgspec.json.decode(msgspec.json.encode(first.learnt), type=Learnt)
    assert kept.smooth == first.smooth.trial and kept.smooth.late > 0
    second = Watched(Scale(max=1000, warm=0))
    second.resume(kept)
    simulate(traffic(*[20.0] * 900), second, Terms(first=12))
    assert not any(second.smoothly)
    assert msgspec.json.decode(b"{}", type=Learnt).smooth == Trial()


@given(some.floats(0.4, 1.0), some.integers(0, 500), some.floats(0, 500))
def test_the_margin_shrinks_slowly_while_nobody_is_late_and_stays_within_bounds(
    trim: float, late: int, rate: float
) -> None:
    found = rules.tried(Trial(asked=1e5, late=10.0, trim=trim), 0.9999, 500, late, rate)
    assert rules.LEAST_TRIM <= found.trim <= 1.0
    assert found.trim >= trim if late > rules.HARDLY * max(1.0, rate) else found.trim > trim - 0.001
