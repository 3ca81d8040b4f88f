"""When a service sleeps: what it has shown decides."""

from __future__ import annotations

from bough.scaling.keeping import Habits, until_change_s


def minutes(habits: Habits) -> list[int]:
    return [minute for minute, awake in enumerate(habits.awake()) if awake]


def test_a_service_that_has_shown_nothing_is_kept_for_longer_than_an_hourly_call_takes_and_then_let_go() -> None:
    plan = minutes(Habits())
    assert plan == list(range(len(plan))) and 65 <= len(plan) <= 75


def test_a_timer_is_slept_through_and_met_awake() -> None:
    habits = Habits()
    for _ in range(50):
        habits.ended(59.0)
    plan = minutes(habits)
    assert {58, 59, 60} <= set(plan) and not set(range(5, 58)) & set(plan)


def test_what_comes_in_bursts_is_let_go_soon_after_each() -> None:
    habits = Habits()
    for idle in [0.2] * 300 + [200.0] * 40:
        habits.ended(idle)
    assert {0} <= set(minutes(habits)) <= {0, 1, 2, 3, 199, 200, 201}


def test_counts_are_all_that_must_be_kept() -> None:
    habits = Habits()
    for idle in (1.0, 5.5, 5.9, 1e9):
        habits.ended(idle)
    assert habits.as_counts() == {1: 1, 5: 2, 480: 1}
    assert Habits(habits.as_counts()).awake() == habits.awake()


def test_the_next_change_is_known() -> None:
    plan = [True, True, False, False, True, False]
    assert until_change_s(plan, 30.0) == (True, 90.0)
    assert until_change_s(plan, 130.0) == (False, 110.0)
    assert until_change_s(plan, 290.0) == (True, 10.0)
    assert until_change_s(plan, 301.0) == (False, float("inf"))
