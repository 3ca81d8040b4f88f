"""Price book, plans, drills, savings: through operations."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from bough.adapters.engine.fake import FakeEngine
from bough.app import Bough
from bough.capacity.changeovers import PRIOR_S
from bough.capacity.pools import Pools
from bough.capacity.savings import GivenBack, savings
from bough.entrypoints.cli import plan_train
from bough.kernel.clock import VirtualClock
from bough.kernel.errors import Invalid, NotFound, Unavailable
from bough.kernel.platform import Platform, PoolSettings, load, save
from tests.plane import ADMIN, laid

SPEED = 60.0
POOLS = {
    "market": PoolSettings(kind="spot", provider="replay", zones={"a": 0.97, "b": 1.1}, speed=SPEED),
    "sure": PoolSettings(kind="on-demand", zones={"a": 3.06}, speed=SPEED),
}


@pytest.fixture
def bough(tmp_path: Path) -> Bough:
    return with_pools(tmp_path / "home", POOLS)


def with_pools(home: Path, pools: dict[str, PoolSettings]) -> Bough:
    clock = VirtualClock()
    return Bough(laid(home), Platform(pools=pools), durable=False, engine=FakeEngine(clock), clock=clock)


def test_settings_with_pools_are_what_they_were_after_they_were_written(tmp_path: Path) -> None:
    platform = Platform(gateway_port=1234, pools=POOLS)
    save(tmp_path, platform)
    assert load(tmp_path) == platform


def test_the_price_book_names_every_zone_and_what_the_same_costs_on_demand(bough: Bough) -> None:
    book = bough.operations.call("capacity.pools", {}, ADMIN)
    assert {(line.pool, line.zone) for line in book} == {
        ("market", "a"),
        ("market", "b"),
        ("sure", "a"),
        ("local", "here"),
    }
    assert {line.on_demand_per_h for line in book if line.kind == "spot"} == {3.06}
    assert all(
        line.saving == pytest.approx(1 - line.price_per_h / 3.06, abs=1e-3) for line in book if line.kind == "spot"
    )
    assert [line.saving for line in book if line.pool == "sure"] == [0.0]


def test_the_price_book_says_what_is_there_now(tmp_path: Path) -> None:
    trace = tmp_path / "zones.csv"
    trace.write_text("trace,gap_s,rle\na,3600,1x100\nb,3600,0x100\n")
    market = PoolSettings(kind="spot", provider="replay", zones={"a": 0.97, "b": 1.1}, trace=str(trace))
    bough = with_pools(tmp_path / "home", {"market": market})
    book = bough.operations.call("capacity.pools", {}, ADMIN)
    assert {(line.zone, line.available) for line in book} == {("a", True), ("b", False), ("here", True)}


def test_without_numpy_a_plan_says_what_to_install(bough: Bough, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)  # an import of it fails, as if it were not there
    monkeypatch.delitem(sys.modules, "bough.capacity.planning", raising=False)
    with pytest.raises(Unavailable, match="needs numpy") as said:
        bough.operations.call("capacity.plan", {"work_h": 10.0 / SPEED, "deadline_h": 20.0 / SPEED}, ADMIN)
    assert (said.value.own_code, said.value.hint[:26]) == ("PLANNER_MISSING", "pip install 'bough[spot]',")


def test_a_plan_says_cost_range_chances_and_shows_itself(bough: Bough) -> None:
    plan = bough.operations.call("capacity.plan", {"work_h": 10.0 / SPEED, "deadline_h": 20.0 / SPEED}, ADMIN)
    assert 9.7 < plan.low <= plan.cost <= plan.high < 40.0
    assert plan.only_spot + plan.some_on_demand + plan.only_on_demand == pytest.approx(1.0, abs=0.01)
    assert plan.on_demand_cost == pytest.approx(10.0 * 3.06, rel=0.15)
    assert plan.missed == 0.0
    assert set("".join(plan.away)) <= set("so. ") and "o" in "".join(plan.away)
    tight = bough.operations.call("capacity.plan", {"work_h": 10.0 / SPEED, "deadline_h": 11.5 / SPEED}, ADMIN)
    assert tight.cost > plan.cost


def test_more_time_than_it_takes_to_wait_makes_a_plan_neither_dearer_nor_emptier(bough: Bough) -> None:
    """In a grid of so many steps, a step would be longer than the work, and all of it bought at the end."""
    asked = {"work_h": 1.0 / SPEED, "changeover_s": 3600.0 * 0.05 / SPEED}
    plans = [
        bough.operations.call("capacity.plan", asked | {"deadline_h": hours / SPEED}, ADMIN)
        for hours in (24, 240, 9000)
    ]
    assert plans[1].cost <= plans[0].cost * 1.02 and plans[2].cost == plans[1].cost < 0.5 * plans[1].on_demand_cost
    assert plans[2].only_on_demand < 0.05 and plans[2].across_h < 100.0 / SPEED
    assert "it costs no more" in plan_train._drawn(plans[2], 9000 / SPEED)[0]
    assert plan_train._drawn(plans[0], 24 / SPEED) == []


def test_a_plan_counts_a_start_as_the_job_has_shown_it(bough: Bough) -> None:
    asked = {"work_h": 10.0 / SPEED, "deadline_h": 12.0 / SPEED, "project": "lab", "job": "fit"}
    prior = bough.operations.call("capacity.plan", asked, ADMIN)
    assert (prior.changeover.usual_s, prior.changeover.measured) == (PRIOR_S, 0)
    with bough.database.write() as tx:
        for _ in range(3):
            measured = {"start_s": 3.0, "restore_s": 1.0}
            bough.events.emit(tx, "job.under_way", "jr_1", project="lab", job="fit", changeover=measured)
    found = bough.operations.call("capacity.plan", asked, ADMIN)
    assert (found.changeover.usual_s, found.changeover.measured) == (4.0, 3)
    assert found.cost < prior.cost, "a minute is an hour of this market"
    told = bough.operations.call("capacity.plan", asked | {"changeover_s": 30.0}, ADMIN)
    assert told.changeover.usual_s == told.changeover.most_s == 30.0


def test_pools_are_compared_by_what_an_hour_of_work_costs_and_a_plan_names_those_of_another_speed(
    tmp_path: Path,
) -> None:
    """A zone at 0.90 for each of its own hours costs 1.80 for an hour of work where it goes twice as fast."""
    hasty = PoolSettings(kind="spot", provider="replay", zones={"c": 0.9}, speed=2 * SPEED)
    bough = with_pools(tmp_path / "home", POOLS | {"hasty": hasty})
    asked = {"work_h": 10.0 / SPEED, "deadline_h": 20.0 / SPEED}
    plan = bough.operations.call("capacity.plan", asked, ADMIN)
    assert (plan.zones, plan.left_out) == (["market/a", "market/b"], ["hasty/c"])
    book = {line.pool: line for line in bough.operations.call("capacity.pools", {}, ADMIN)}
    assert (book["hasty"].on_demand_per_h, book["hasty"].saving) == (1.53, pytest.approx(1 - 0.9 / 1.53, abs=1e-3))
    bough = with_pools(tmp_path / "other", {"hasty": hasty, "sure": POOLS["sure"]})
    plan = bough.operations.call("capacity.plan", asked, ADMIN)
    assert (plan.zones, plan.left_out) == (["hasty/c"], [])
    assert plan.on_demand_cost == pytest.approx(10.0 * 3.06, rel=0.15), "however fast the market goes"


def test_what_cannot_be_in_time_is_said_before(bough: Bough) -> None:
    with pytest.raises(Invalid) as refused:
        bough.operations.call("capacity.plan", {"work_h": 10.0, "deadline_h": 9.0}, ADMIN)
    assert refused.value.own_code == "DEADLINE_IMPOSSIBLE"


def test_a_drill_takes_away_what_a_job_run_holds(bough: Bough) -> None:
    offer = next(offer for offer in Pools.catalogue(bough.capacity) if offer.pool == "sure")  # type: ignore[arg-type]
    lease = bough.capacity.acquire("jr_1", offer)
    done = bough.operations.call("chaos.preempt", {"run": "jr_1", "notice_s": 30.0}, ADMIN)
    assert done.ends_at == bough.clock.now() + 30.0
    assert bough.capacity.keep(lease).state == "noticed"
    with pytest.raises(NotFound):
        bough.operations.call("chaos.preempt", {"run": "jr_2"}, ADMIN)


def test_savings_count_what_was_wasted() -> None:
    """Two leases of spot for three hours of work, one of which was lost: 4 h at 1 instead of 3 h at 3."""
    shared = {"project": "p", "environment": "main", "job": "fit", "run": "jr_1", "on_demand_per_h": 3.0}
    (saving,) = savings(
        [
            GivenBack(**shared, kind="spot", seconds=7200.0, cost=2.0, work_s=3600.0),  # type: ignore[arg-type]
            GivenBack(**shared, kind="spot", seconds=7200.0, cost=2.0, work_s=10800.0),  # type: ignore[arg-type]
        ]
    )
    assert (saving.cost, saving.on_demand_cost, saving.wasted_h) == (4.0, 9.0, 1.0)
    assert saving.saving == pytest.approx(5 / 9, abs=1e-3)


def test_savings_of_pools_that_go_at_different_speeds_are_of_the_same_work() -> None:
    """A minute at 60 times the speed and a minute at once: two minutes of work, at 3 for an hour of ours on-demand."""
    shared: dict[str, Any] = {"project": "p", "environment": "main", "job": "fit", "run": "jr_1", "seconds": 60.0}
    (saving,) = savings(
        [
            GivenBack(**shared, pool="market", kind="spot", cost=1.0, work_s=60.0, on_demand_per_h=3.0 / 60, speed=60),
            GivenBack(**shared, pool="sure", kind="on-demand", cost=0.05, work_s=120.0, on_demand_per_h=3.0),
        ]
    )
    assert (saving.spot_h, saving.on_demand_h, saving.wasted_h) == (1.0, 0.0167, 0.0)
    assert (saving.cost, saving.on_demand_cost) == (1.05, 0.1)
    assert [each.on_demand_cost for each in saving.pools] == [0.05, 0.05]


def test_what_was_lost_counts_in_the_pool_that_was_paid_for_it_and_pools_add_up_to_the_job() -> None:
    """Spot saves one hour of two, on-demand does the other two hours of work; a second run does one hour on spot."""
    shared: dict[str, Any] = {"project": "p", "environment": "main", "job": "fit", "on_demand_per_h": 3.0}
    market: dict[str, Any] = {"pool": "market", "kind": "spot"}
    sure: dict[str, Any] = {"pool": "sure", "kind": "on-demand"}
    (saving,) = savings(
        [
            GivenBack(**shared, **market, run="jr_1", seconds=7200.0, cost=2.0, work_s=3600.0),
            GivenBack(**shared, **sure, run="jr_1", seconds=7200.0, cost=6.0, work_s=10800.0),
            GivenBack(**shared, **market, run="jr_2", seconds=3600.0, cost=1.0, work_s=3600.0),
        ]
    )
    spot, bought = saving.pools
    assert (spot.pool, spot.leases, spot.hours, spot.cost, spot.on_demand_cost) == ("market", 2, 3.0, 3.0, 6.0)
    assert (spot.saving, bought.saving) == (0.5, 0.0)
    assert (
        spot.cost + bought.cost == saving.cost and spot.on_demand_cost + bought.on_demand_cost == saving.on_demand_cost
    )
