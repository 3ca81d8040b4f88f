"""Which offers can do a job, and what they cost in the time of the market that is replayed or real. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from bough.adapters.capacity import ON_DEMAND, SPOT, Offer
from bough.kernel.jobs import accelerator as accelerator_of
from bough.kernel.platform import PoolSettings

LOCAL = "local"  # the pool that every machine has


class Usable(NamedTuple):
    """For one job. `spot` by zone; a zone of a pool is called POOL/ZONE. All of them go at one speed: how long zones
    stay is learnt in the hours of one market."""

    on_demand: tuple[Offer, ...]  # in the order of what is wanted, where its work costs least first
    spot: dict[str, Offer]
    left_out: tuple[str, ...] = ()  # zones that go at another speed

    @property
    def speed(self) -> float:
        return next((offer.speed for offer in self.spot.values()), 1.0)

    @property
    def group(self) -> str:
        return " ".join(sorted(self.spot))


def offers_of(name: str, pool: PoolSettings, pools: Mapping[str, PoolSettings]) -> list[Offer]:
    """Everything that a pool ever offers."""
    return [
        Offer(
            pool=name, zone=zone, kind=pool.kind, price_per_h=price, accelerator=accelerator,
            on_demand_per_h=price if pool.kind == ON_DEMAND else on_demand_price(pools, accelerator, pool.speed),
            work_rate=pool.work_rate, speed=pool.speed,
            notice_s=pool.notice_s / pool.speed if pool.provider == "replay" else 0.0,
        )
        for zone, price in pool.zones.items()
        for accelerator in pool.accelerators or ("",)
    ]  # fmt: skip


def on_demand_price(pools: Mapping[str, PoolSettings], accelerator: str, speed: float) -> float:
    """What the same costs on-demand, for an hour of a market that goes at `speed`; 0: no pool says."""
    return min(
        (
            price * pool.speed / speed
            for pool in pools.values()
            if pool.kind == ON_DEMAND and _same(accelerator) in map(_same, pool.accelerators or ("",))
            for price in pool.zones.values()
        ),
        default=0.0,
    )


def usable(catalogue: Iterable[Offer], accelerators: list[str]) -> Usable:
    """What can do a job. This machine comes last among equals: it is what is there when pools have nothing."""
    wanted = {_same(name): place for place, name in enumerate(accelerators)}
    fits = [offer for offer in catalogue if does(offer, wanted)]
    on_demand = sorted(
        (offer for offer in fits if offer.kind == ON_DEMAND),
        key=lambda offer: (offer.pool == LOCAL, wanted.get(_same(offer.accelerator), 0), price_of_work(offer, 1.0)),
    )
    least = on_demand[0].work_rate if on_demand else 0.0  # a slower one would use up the time that is left for it
    spot: dict[str, Offer] = {}
    for offer in sorted(
        (offer for offer in fits if offer.kind == SPOT and offer.work_rate >= least),
        key=lambda offer: price_of_work(offer, 1.0),
    ):
        spot.setdefault(name_of(offer), offer)
    first = next(iter(spot.values()), None)
    same = {name: offer for name, offer in spot.items() if first is not None and offer.speed == first.speed}
    return Usable(tuple(on_demand), same, tuple(sorted(spot.keys() - same.keys())))


def does(offer: Offer, wanted: Mapping[str, int]) -> bool:
    """Whether a job could run on it; `wanted` are names as `_same` writes them. This machine's own accelerators are
    looked at by whoever places the job."""
    if offer.pool == LOCAL or not wanted:
        return not offer.accelerator
    return _same(offer.accelerator) in wanted


def _same(name: str) -> str:
    """`v100`, `V100` and `v100:1` are one."""
    try:
        found = accelerator_of(name)
    except ValueError:  # none, or a name that is only compared
        return name
    return f"{found.kind}:{found.count}"


def name_of(offer: Offer) -> str:
    return f"{offer.pool}/{offer.zone}"


def price_of_work(offer: Offer, speed: float) -> float:
    """Of an hour of work, in hours of a market that goes at `speed`."""
    return offer.price_per_h * offer.speed / speed / offer.work_rate
