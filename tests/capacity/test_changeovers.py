"""What a job's attempts teach of the time that a start takes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bough.capacity.changeovers import KEPT, MARGIN, PRIOR_S, RESTORE_PRIOR_S, Measured, learnt

SECONDS = st.floats(0.0, 7200.0)


def of(*seconds: float) -> list[Measured]:
    return [Measured(start_s=each, restore_s=0.0) for each in seconds]


def test_before_any_attempt_it_is_the_prior() -> None:
    assert (learnt([]).usual_s, learnt([]).most_s, learnt([]).measured) == (PRIOR_S, PRIOR_S, 0)


def test_a_single_measurement_moves_no_plan_but_the_deadline_is_kept_with_it() -> None:
    assert (learnt(of(5.0)).usual_s, learnt(of(5.0)).most_s) == (PRIOR_S, PRIOR_S)
    assert (learnt(of(900.0)).usual_s, learnt(of(900.0)).most_s) == (PRIOR_S, 900.0)


def test_two_that_agree_are_believed() -> None:
    assert (learnt(of(5.0, 6.0)).usual_s, learnt(of(5.0, 6.0)).most_s) == (6.0, MARGIN * 6.0)
    assert learnt(of(400.0, 410.0)).usual_s == 400.0


@given(st.lists(st.floats(1.0, 20.0), min_size=3, max_size=KEPT - 1), SECONDS, st.integers(0, KEPT))
def test_one_outlier_among_many_changes_neither_figure_beyond_what_the_others_and_the_prior_say(
    usual: list[float], outlier: float, place: int
) -> None:
    found = learnt(of(*usual[:place], outlier, *usual[place:]))
    assert min(*usual, PRIOR_S) <= found.usual_s <= max(*usual, PRIOR_S)
    assert found.most_s <= MARGIN * PRIOR_S
    assert learnt(of(*usual, *usual, outlier)).usual_s <= max(usual)


@given(st.lists(SECONDS, max_size=KEPT))
def test_the_deadline_is_never_kept_with_less_than_plans_count(seconds: list[float]) -> None:
    assert learnt(of(*seconds)).most_s >= learnt(of(*seconds)).usual_s


def test_an_attempt_without_anything_to_go_back_to_is_counted_with_what_others_took_for_it() -> None:
    fresh = [Measured(start_s=10.0)] * 3
    assert learnt(fresh).usual_s == 10.0 + RESTORE_PRIOR_S, "nobody knows yet"
    assert learnt([*fresh, Measured(start_s=10.0, restore_s=4.0)]).usual_s == 14.0
