"""Capacity: one body over all providers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bough.adapters.capacity import HELD, LOST, NOTICED, ON_DEMAND, Offer, Provider
from bough.adapters.capacity.local import LocalProvider
from bough.kernel.clock import VirtualClock
from bough.kernel.errors import Conflict, NotFound, Unavailable

Open = Callable[[], Provider]


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture(params=["local"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path, clock: VirtualClock) -> Open:
    """Each call is the provider as a new process finds it."""
    offers = [Offer(pool="p", zone=zone, kind=ON_DEMAND, price_per_h=3.0) for zone in ("a", "b")]
    return lambda: LocalProvider(tmp_path, clock, offers)


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
