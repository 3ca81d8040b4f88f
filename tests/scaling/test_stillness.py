"""After minutes of silence nothing is decided for half a minute at a time, and hardly anything comes of that."""

from __future__ import annotations

import msgspec
import pytest

from bough.kernel.scale import Scale
from bough.scaling import stillness
from bough.scaling.beside import Beside
from bough.scaling.models import Observation, Wish
from bough.scaling.policy import Autoscaler
from bough.scaling.simulating import Outcome, Terms, simulate
from bough.scaling.stillness import SETTLED_S, STEP_S
from tests.scaling.test_simulating import Always, traffic

SCALES = [Scale(max=30, warm=0), Scale(max=30), Scale(max=30, warm=0, late_cost=30.0), Scale(min=3, max=30, budget=400)]


def nothing(at: float) -> Observation:
    return Observation(at=at, arrived=0, active=3, pool=1)


def busy(at: float) -> Observation:
    return Observation(at=at, arrived=20, begun=20, late=1, service_s=0.1, in_flight=2.0, active=3, pool=1)


def settled(scale: Scale) -> tuple[Autoscaler, float]:
    """After five minutes of traffic and as much silence as it takes, just decided; and when that was."""
    rule, at = Autoscaler(scale), 1.0
    while at < 300 or rule.still_s != STEP_S - 1:
        rule.wish(busy(at) if at < 300 else nothing(at))
        at += 1.0
        assert at < 3000, "it settles within three quarters of an hour"
    return rule, at - 1.0


def by_second(outcome: Outcome, seconds: int) -> list[tuple[int, int]]:
    """Replicas that were asked for, and those of the pool."""
    found, changes = [(0, 0)] * seconds, outcome.changes
    for place, each in enumerate(changes):
        until = round(changes[place + 1].at) if place + 1 < len(changes) else seconds
        at = round(each.at)
        found[at:until] = [(each.active, each.pool)] * (until - at)
    return found


@pytest.mark.parametrize("scale", SCALES)
def test_seconds_that_are_added_at_once_leave_the_past_as_one_after_the_other_do(
    scale: Scale, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lived() -> tuple[Autoscaler, Wish]:
        rule, wish = Autoscaler(scale), Wish(active=0)
        for second in range(1, 4001):
            wish = rule.wish(busy(float(second)) if second <= 400 or second >= 3900 else nothing(float(second)))
        return rule, wish

    at_once, decided = lived()
    monkeypatch.setattr(stillness, "SETTLED_S", 1_000_000)
    singly, meant = lived()
    assert at_once.outlook and singly.outlook
    for field in ("rate", "service_s", "load", "ahead", "kept", "jump", "peak", "in_flight", "trim", "smooth"):
        assert getattr(at_once.outlook, field) == pytest.approx(getattr(singly.outlook, field)), field
    assert (at_once.outlook.idle_s, at_once.outlook.lately) == (singly.outlook.idle_s, singly.outlook.lately)
    assert at_once.spent_s == pytest.approx(singly.spent_s)
    one, other = at_once.learnt, singly.learnt
    assert one.weight == pytest.approx(other.weight, rel=1e-3) and one.seconds == other.seconds
    for account in ("ours", "usual", "smooth"):
        found, expected = (msgspec.structs.asdict(getattr(each, account)) for each in (one, other))
        assert found == pytest.approx(expected, rel=2e-3), account
    assert (decided.active, decided.pool) == (meant.active, meant.pool)


@pytest.mark.parametrize("scale", SCALES)
def test_a_mind_changes_within_half_a_minute_of_when_it_would_have_and_nobody_more_is_late(
    scale: Scale, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bursts that come each twenty minutes, and are made ready for."""
    trace = traffic(*([20.0] * 60 + [0.0] * 1140) * 4, service_s=0.1)

    def lived() -> Outcome:
        return simulate(trace, Autoscaler(scale), Terms(first=2))

    found = lived()
    monkeypatch.setattr(stillness, "SETTLED_S", 1_000_000)
    meant = lived()
    assert found.late == meant.late
    numbers, expected = by_second(found, trace.seconds), by_second(meant, trace.seconds)
    assert numbers != expected
    assert all(each in expected[max(0, at + 1 - STEP_S) : at + 1] for at, each in enumerate(numbers))


@pytest.mark.parametrize("scale", SCALES)
def test_whoever_comes_is_decided_on_in_that_second(scale: Scale) -> None:
    rule, at = settled(scale)
    for second in range(1, 12):
        rule.wish(nothing(at + second))
    assert rule.still_s == STEP_S - 12
    rule.wish(busy(at + 12))
    assert rule.still_s == 0 and rule.outlook is not None and rule.outlook.rate > 0


def test_other_bounds_are_decided_on_in_that_second() -> None:
    rule, at = settled(SCALES[0])
    assert rule.wish(nothing(at + 1)).active < 7
    assert rule.wish(nothing(at + 2), floor=7).active == 7
    rule, at = settled(SCALES[0])
    rule.scale = Scale(min=5, max=30, warm=0)
    assert rule.wish(nothing(at + 1)).active == 5


@pytest.mark.parametrize("scale", SCALES)
def test_as_many_as_pass_may_be_passed_at_once(scale: Scale) -> None:
    (one, at), (other, _) = settled(scale), settled(scale)
    for second in range(1, STEP_S):
        one.wish(nothing(at + second))
    assert other.pass_by(1000) == STEP_S - 1 and other.pass_by(1) == 0
    later = busy(at + STEP_S)
    assert one.wish(later) == other.wish(later)
    assert (one.outlook, one.learnt, one.spent_s) == (other.outlook, other.learnt, other.spent_s)


def test_what_is_simulated_beside_is_waited_for() -> None:
    """Its one replica, that takes a minute for each, is still busy for most of half an hour."""
    beside, terms = Beside(nothing(0.0), Terms()), Terms()
    one = Always(1)
    beside.second(one, msgspec.structs.replace(busy(1.0), arrived=30), 60.0, terms)
    for second in range(2, 1500):
        assert not beside.is_still
        beside.second(one, nothing(float(second)), 60.0, terms)
    for second in range(2000, 2000 + SETTLED_S):
        beside.second(one, nothing(float(second)), 60.0, terms)
    assert beside.is_still
