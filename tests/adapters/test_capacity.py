"""Capacity: one body over all providers."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from bough.adapters.capacity import HELD, LOST, NOTICED, ON_DEMAND, SPOT, Offer, Provider
from bough.adapters.capacity.availability import Availability, for_zones, made_up, of_spells, read
from bough.adapters.capacity.local import LocalProvider
from bough.adapters.capacity.replay import ReplayProvider
from bough.kernel.clock import VirtualClock
from bough.kernel.errors import Conflict, Invalid, NotFound, Unavailable

Open = Callable[[], Provider]


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture(params=["local", "replay"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path, clock: VirtualClock) -> Open:
    """Each call is the provider as a new process finds it."""
    offers = [Offer(pool="p", zone=zone, kind=ON_DEMAND, price_per_h=3.0) for zone in ("a", "b")]
    if request.param == "local":
        return lambda: LocalProvider(tmp_path, clock, offers)
    always = dict.fromkeys(("a", "b"), of_spells([(True, 1000.0)]))
    return lambda: ReplayProvider(tmp_path, clock, offers, always)


def test_a_lease_is_the_same_for_every_process_until_it_is_released(reopen: Open) -> None:
    lease = reopen().acquire("jr_1", reopen().offers()[0])
    assert reopen().leases() == [lease]
    assert lease.state == HELD
    assert reopen().acquire("jr_1", lease.offer) == lease
    for _ in range(2):
        reopen().release(lease.id)
    assert reopen().leases() == []
    assert reopen().acquire("jr_1", lease.offer).id != lease.id


def test_a_holder_has_one_lease_of_a_pool(reopen: Open) -> None:
    provider = reopen()
    first, second = provider.offers()[:2]
    provider.acquire("jr_1", first)
    with pytest.raises(Conflict) as refused:
        provider.acquire("jr_1", second)
    assert refused.value.own_code == "LEASE_HELD"
    provider.acquire("jr_2", second)
    assert {lease.holder for lease in provider.leases()} == {"jr_1", "jr_2"}


def test_what_is_not_offered_cannot_be_rented(reopen: Open) -> None:
    provider = reopen()
    with pytest.raises(Unavailable) as refused:
        provider.acquire("jr_1", Offer(pool="p", zone="nowhere", kind=ON_DEMAND))
    assert refused.value.own_code == "CAPACITY_GONE"
    assert provider.leases() == []


def test_an_interruption_is_announced_and_then_happens_even_if_nobody_watches(
    reopen: Open, clock: VirtualClock
) -> None:
    lease = reopen().acquire("jr_1", reopen().offers()[0])
    reopen().interrupt(lease.id, 120.0, "drill")
    (noticed,) = reopen().leases()
    assert (noticed.state, noticed.ends_at, noticed.cause) == (NOTICED, clock.now() + 120.0, "drill")
    clock.advance(119.0)
    assert reopen().leases()[0].state == NOTICED
    clock.advance(1.0)
    assert reopen().leases()[0].state == LOST


def test_a_second_notice_never_gives_more_time(reopen: Open, clock: VirtualClock) -> None:
    provider = reopen()
    lease = provider.acquire("jr_1", provider.offers()[0])
    provider.interrupt(lease.id, 120.0, "drill")
    provider.interrupt(lease.id, 600.0, "market")
    assert provider.leases()[0].ends_at == clock.now() + 120.0
    provider.interrupt(lease.id, 5.0, "market")
    assert provider.leases()[0].ends_at == clock.now() + 5.0


def test_without_notice_it_is_gone_at_once(reopen: Open) -> None:
    provider = reopen()
    lease = provider.acquire("jr_1", provider.offers()[0])
    provider.interrupt(lease.id, 0.0, "drill")
    assert provider.leases()[0].state == LOST
    with pytest.raises(NotFound):
        provider.interrupt("lea_none", 0.0, "drill")


def test_what_was_lost_costs_nothing_after_it_ended(reopen: Open, clock: VirtualClock) -> None:
    provider = reopen()
    lease = provider.acquire("jr_1", provider.offers()[0])
    provider.interrupt(lease.id, 1800.0, "drill")
    clock.advance(3600.0)
    assert provider.leases()[0].cost(clock.now()) == pytest.approx(1.5)


@pytest.fixture
def market(tmp_path: Path, clock: VirtualClock) -> Callable[[], ReplayProvider]:
    """One zone, an hour available and an hour away in turns, replayed at sixty times the speed: minutes."""
    offer = Offer(pool="m", zone="z", kind=SPOT, price_per_h=1.0, notice_s=10.0, speed=60.0)
    return lambda: ReplayProvider(tmp_path, clock, [offer], {"z": of_spells([(True, 1.0), (False, 1.0)])})


def test_a_replayed_zone_comes_and_goes_and_takes_its_machines_with_notice(
    market: Callable[[], ReplayProvider], clock: VirtualClock
) -> None:
    lease = market().acquire("jr_1", market().offers()[0])
    clock.advance(49.0)
    assert market().leases()[0].state == HELD
    clock.advance(2.0)
    (noticed,) = market().leases()
    assert noticed.state == NOTICED
    assert noticed.ends_at == pytest.approx(lease.acquired_at + 60.0)
    assert market().offers() == [], "nobody rents a machine that is about to go"
    clock.advance(10.0)
    (lost,) = market().leases()
    assert lost.state == LOST
    assert lost.cost(clock.now()) == pytest.approx(1.0), "an hour of the market"
    with pytest.raises(Unavailable):
        market().acquire("jr_2", lost.offer)
    market().release(lost.id)
    clock.advance(60.0)
    assert market().acquire("jr_2", lost.offer).state == HELD


def test_a_drill_takes_a_replayed_machine_before_the_market_does(
    market: Callable[[], ReplayProvider], clock: VirtualClock
) -> None:
    lease = market().acquire("jr_1", market().offers()[0])
    market().interrupt(lease.id, 5.0, "drill")
    assert market().leases()[0].ends_at == pytest.approx(clock.now() + 5.0)
    market().interrupt(lease.id, 0.0, "drill")
    assert market().leases()[0].state == LOST


def test_made_up_zones_are_the_same_every_time_and_young_spells_end_sooner() -> None:
    assert made_up("z", 1) == made_up("z", 1) != made_up("z", 2)
    young = old = watched_young = watched_old = 0.0
    for seed in range(40):
        changes = (0.0, *made_up("z", seed).changes)
        for begin, end in itertools.pairwise(changes):
            young, watched_young = young + (end - begin <= 0.25), watched_young + min(end - begin, 0.25)
            old, watched_old = old + (end - begin > 4.0), watched_old + max(end - begin - 4.0, 0.0)
    assert young / watched_young > 5 * old / watched_old


def test_availability_repeats_and_knows_when_a_zone_is_lost() -> None:
    zone = of_spells([(False, 1.0), (True, 2.0), (True, 1.0), (False, 0.5)])
    assert [zone.up_at(hour) for hour in (0.5, 1.5, 3.9, 4.2, 5.0, 6.0)] == [False, True, True, False, False, True]
    assert zone.lost_after(1.5) == pytest.approx(4.0)
    assert zone.lost_after(6.0) == pytest.approx(8.5)
    assert zone.lost_after(0.2) == 0.2
    assert of_spells([(True, 1.0)]).lost_after(0.5) == float("inf")


def test_a_file_of_availability_is_read_and_a_wrong_one_says_so(tmp_path: Path) -> None:
    path = tmp_path / "zones.csv"
    path.write_text("trace,gap_s,rle\naws/us-east-1a,600,1x6 0x6 2x12\naws/us-east-1b,600,0x6\n", "utf-8")
    found = read(path)
    assert found["aws/us-east-1a"] == Availability(True, (1.0, 2.0, 4.0))
    assert for_zones(["us-east-1b", "other"], found)["us-east-1b"] == found["aws/us-east-1b"]
    for wrong in ("", "trace,gap_s\na,b\n", "trace,gap_s,rle\na,600,1y3\n"):
        path.write_text(wrong, "utf-8")
        with pytest.raises(Invalid) as refused:
            read(path)
        assert refused.value.own_code == "TRACE_INVALID"
