"""Learning how soon spells end."""

from __future__ import annotations

import pytest

from bough.capacity.rates import EDGES_H, PRIOR_PER_H, Seen, looked_on, rates, step_of
from bough.capacity.zones import BLIND_H, MarketSeen, expected_life, look, look_at_all


def test_nothing_seen_means_the_prior() -> None:
    assert rates(Seen()) == pytest.approx(PRIOR_PER_H)
    assert list(PRIOR_PER_H) == sorted(PRIOR_PER_H, reverse=True)


def test_time_is_booked_at_the_age_at_which_it_was_seen() -> None:
    seen = looked_on(Seen(), 0.2, 1.5, ended=True)
    assert sum(seen.hours) == pytest.approx(1.3)
    assert seen.hours[step_of(0.2)] == pytest.approx(EDGES_H[step_of(0.2)] - 0.2)
    assert seen.ends[step_of(1.5)] == sum(seen.ends) == 1.0


def test_much_evidence_wins_over_the_prior() -> None:
    seen = Seen(hours=(100.0,) * len(PRIOR_PER_H), ends=tuple(300.0 * rate for rate in PRIOR_PER_H))
    assert rates(seen) == pytest.approx(tuple(3.0 * rate for rate in PRIOR_PER_H), rel=0.1)


def test_what_is_seen_of_young_spells_says_little_about_old_ones() -> None:
    seen = Seen(hours=(1.0,) + (0.0,) * (len(PRIOR_PER_H) - 1), ends=(40.0,) + (0.0,) * (len(PRIOR_PER_H) - 1))
    learnt = rates(seen)
    assert learnt[0] > 5 * PRIOR_PER_H[0]
    assert learnt[-1] == pytest.approx(PRIOR_PER_H[-1], rel=0.05)


def test_a_zone_teaches_only_what_somebody_watched() -> None:
    zone = look(None, True, 10.0)
    for now in (10.1, 10.3):
        zone = look(zone, True, now)
    zone = look(zone, False, 10.5)
    assert sum(zone.available.hours) == pytest.approx(0.5)
    assert zone.age_h == 0.0
    after = look(zone, True, 10.5 + BLIND_H + 1.0)
    assert after.away == zone.away, "nobody saw how long it was away"
    assert after.available == zone.available


def test_how_often_another_zone_is_there_is_learnt() -> None:
    seen = MarketSeen()
    for number in range(40):
        seen = look_at_all(seen, {"a": number % 2 == 0, "b": True}, number * 0.1)
    assert seen.chance_elsewhere > 0.9
    assert seen.any is not None and seen.any.up
    assert look_at_all(MarketSeen(), {"a": True}, 0.0).chance_elsewhere == 0.0


def test_an_old_spell_is_expected_to_last_longer() -> None:
    young, old = (expected_life(PRIOR_PER_H, age, 24.0) for age in (0.1, 10.0))
    assert old > 2 * young
    assert expected_life(PRIOR_PER_H, 100.0, 5.0) < 5.0
