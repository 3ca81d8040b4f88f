"""Decisions of the data plane, for all inputs."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from bough.gateway import rules
from bough.gateway.lanes.calltimes import CallTimes

seconds = st.floats(0, 100, allow_nan=False)


@given(st.integers(1, 5000), st.integers(1, 64), st.integers(1, 1024))
def test_a_share_is_never_empty_never_too_large_and_shares_cover_the_queue(
    queued: int, links: int, largest: int
) -> None:
    share = rules.take(queued, links, largest)
    assert 1 <= share <= min(queued, largest)
    assert share == largest or share * links >= queued


@given(st.integers(1, 5000), st.integers(1, 64), st.integers(1, 1024), st.floats(1e-7, 10))
def test_a_queue_is_not_spread_into_crumbs(queued: int, links: int, largest: int, item_s: float) -> None:
    share = rules.take(queued, links, largest, item_s)
    assert rules.take(queued, links, largest) <= share <= min(queued, largest)
    assert share in (queued, largest) or share * item_s >= 0.99 * rules.WORTH_SENDING_S


@given(seconds, seconds)
def test_an_item_never_counts_as_less_than_a_fifth_of_its_share(item_s: float, mean_s: float) -> None:
    assert rules.own_s(item_s, mean_s) >= max(item_s, 0.2 * mean_s)


@given(seconds, seconds)
def test_only_light_calls_that_are_mostly_their_own_cost_alike(fixed_s: float, frame_s: float) -> None:
    alike = rules.costs_alike(fixed_s, frame_s)
    assert alike == (fixed_s >= 0.0002 and fixed_s >= frame_s / 2 and frame_s < rules.HEAVY_S)


@given(seconds, st.sampled_from([1, 2]))
def test_depth_is_one_or_two_and_does_not_flap(frame_s: float, current: int) -> None:
    chosen = rules.depth(frame_s, current)
    assert chosen in (1, 2)
    if rules.LIGHT_S < frame_s < rules.HEAVY_S:
        assert chosen == current
    assert rules.depth(frame_s, chosen) == chosen


@given(st.lists(st.integers(0, 2000), min_size=1, max_size=80), st.integers(1, 40))
def test_similar_items_go_with_the_oldest_and_overtake_only_the_oldest_third(sizes: list[int], count: int) -> None:
    chosen = rules.similar(sizes, count)
    assert chosen[0] == 0 and chosen == sorted(set(chosen))
    assert len(chosen) <= count
    assert chosen[-1] < max(rules.SIMILAR_AMONG, math.ceil(len(sizes) / 3))
    picked = [sizes[index] for index in chosen]
    assert len(picked) <= 2 or max(picked) <= rules.SIMILAR * min(picked)
    assert len(picked) == min(count, len(sizes), 2) or len(picked) > 2


def test_similar_items_are_those_nearest_to_the_oldest_in_size() -> None:
    assert rules.similar([100, 10, 95, 400, 110, 12], 8) == [0, 2, 4]
    assert rules.similar([100, 10, 95, 400, 110, 12], 2) == [0, 2]
    assert rules.similar([10, 400, 200], 8) == [0, 2]


@given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 500))
def test_a_second_frame_is_no_crumb(share: int, under_way: int, largest: int) -> None:
    if rules.worth_queueing(share, under_way, largest):
        assert share >= largest or share >= under_way / 2
    assert rules.worth_queueing(under_way, under_way, largest)


@given(st.floats(1e-7, 10))
def test_an_item_frame_is_about_its_target_of_work(item_s: float) -> None:
    size = rules.item_frame(item_s)
    assert 1 <= size <= rules.MAX_ITEM_FRAME
    assert size == 1 or size * item_s <= rules.ITEM_FRAME_S


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_the_smaller_limit_of_a_batch_counts_and_zero_is_no_limit(route_max: int, hello_max: int) -> None:
    chosen = rules.cap(route_max, hello_max)
    limits = [limit for limit in (route_max, hello_max) if limit]
    assert chosen == min([*limits, rules.NO_CAP])


@given(st.integers(1, 1000), st.integers(1, 1000), seconds, seconds)
def test_without_a_wait_every_batch_goes_at_once(queued: int, largest: int, waited: float, hold: float) -> None:
    assert rules.may_release(queued, largest, waited, 0.0)
    assert rules.may_release(queued, largest, waited, hold) == (queued >= largest or waited >= hold)


@given(st.integers(0, 100_000), st.floats(0, 1e6))
def test_retry_after_is_a_sensible_number_of_seconds(queued: int, rate: float) -> None:
    assert 1 <= rules.retry_after_s(queued, rate) <= 60


@given(st.integers(0, 10_000), st.booleans())
def test_pauses_grow_to_a_limit(failures: int, wanted: bool) -> None:
    assert 0.005 <= rules.reconnect_after_s(failures, wanted) <= (0.02 if wanted else 0.2)
    assert rules.reconnect_after_s(failures, wanted) <= rules.reconnect_after_s(failures + 1, wanted)
    assert 0.1 <= rules.wake_after_s(failures) <= 5.0


def test_only_what_is_idempotent_and_unanswered_is_sent_a_second_time() -> None:
    assert rules.may_retry(1, True, False)
    assert not rules.may_retry(2, True, False)
    assert not rules.may_retry(1, False, False)
    assert not rules.may_retry(1, True, True)


def test_why_a_batch_left() -> None:
    assert rules.reason(8, 8, 0.0) == rules.FULL
    assert rules.reason(3, 8, 0.0) == rules.IDLE
    assert rules.reason(3, 8, 5.0) == rules.DEADLINE
    assert rules.reason(1, 1, 0.0) == rules.IDLE


@given(st.lists(st.floats(0.001, 100), min_size=1, max_size=50))
def test_a_running_mean_stays_within_what_was_measured(values: list[float]) -> None:
    mean = 0.0
    for value in values:
        mean = rules.smooth(mean, value)
    assert min(values) * 0.999 <= mean <= max(values) * 1.001


@given(st.integers(1, 1024), seconds, seconds, seconds)
def test_a_batch_that_would_be_late_is_not_made(
    largest: int, fixed_s: float, item_s: float, objective_s: float
) -> None:
    size = rules.in_time(largest, fixed_s, item_s, objective_s)
    assert 1 <= size <= largest
    if objective_s and item_s and fixed_s + item_s <= 0.999 * objective_s:
        assert fixed_s + size * item_s <= objective_s * 1.001
        assert size == largest or fixed_s + (size + 1) * item_s > 0.999 * objective_s


def test_batching_is_off_where_two_would_be_late_and_where_nothing_is_in_time_unless_calls_are_fixed_cost() -> None:
    assert rules.in_time(64, 0.001, 0.02, 0.03) == 1
    assert rules.in_time(64, 0.0, 0.05, 0.03) == 1
    assert rules.in_time(64, 0.04, 0.0001, 0.03) == 64
    assert rules.in_time(64, 0.01, 0.0, 0.03) == rules.in_time(64, 0.01, 0.5, 0.0) == 64


@given(seconds, seconds, seconds)
def test_a_batch_is_not_held_open_into_the_time_of_its_call(
    max_wait_s: float, call_s: float, objective_s: float
) -> None:
    hold = rules.hold_s(max_wait_s, call_s, objective_s)
    assert 0.0 <= hold <= max_wait_s
    assert not objective_s or hold == 0.0 or hold + call_s <= objective_s + 1e-9


@given(st.floats(0.0001, 1), st.floats(0.00001, 0.1), st.lists(st.integers(1, 64), min_size=30, max_size=100))
def test_what_a_call_and_an_item_take_is_learnt_from_calls_of_several_sizes(
    fixed_s: float, item_s: float, sizes: list[int]
) -> None:
    calls = CallTimes()
    assert calls.parts() == (0.0, 0.0)
    for size in [*sizes, 1, 8]:
        calls.add(size, fixed_s + size * item_s)
    fixed, item = calls.parts()
    assert abs(fixed - fixed_s) <= 1e-3 * fixed_s + 1e-6
    assert abs(item - item_s) <= 1e-3 * item_s + 1e-6


def test_calls_of_one_size_tell_nothing_of_what_is_fixed_and_flat_ones_that_all_is() -> None:
    alike, flat = CallTimes(), CallTimes()
    for size in range(1, 20):
        alike.add(4, 0.02)
        flat.add(size, 0.03)
    assert alike.parts() == (0.0, 0.005)
    assert flat.parts()[0] > 0.029 and rules.in_time(64, *flat.parts(), 0.1) == 64


def test_a_replica_is_stuck_after_twice_the_time_of_a_request_and_never_within_a_moment() -> None:
    assert not rules.is_stuck(59.0, timeout_s=30.0)
    assert rules.is_stuck(61.0, timeout_s=30.0)
    assert not rules.is_stuck(4.0, timeout_s=0.05)
