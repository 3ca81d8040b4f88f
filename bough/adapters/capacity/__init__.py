"""Capacity: machines for jobs, rented by the second from pools.

Promises, the same for every technology (tests/adapters/test_capacity.py runs one body over all of them): `leases` is
the complete truth of what is rented, and survives the process that rented it; acquiring and releasing are idempotent.
A provider starts nothing: the engine does, on what was leased. Any method may be called from any thread.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

SPOT, ON_DEMAND = "spot", "on-demand"
HELD, NOTICED, LOST = "held", "noticed", "lost"


class Offer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What can be rented now. `accelerator` is type and count, as in h100:2; empty: none."""

    pool: str
    zone: str
    kind: str  # spot, on-demand
    price_per_h: float = 0.0
    on_demand_per_h: float = 0.0  # what the same costs when nobody may take it away
    accelerator: str = ""
    work_rate: float = 1.0  # seconds of work done in a second; 1: on what the job's estimate was made for
    notice_s: float = 0.0  # between the word that it will be taken away and the moment when it is
    speed: float = 1.0  # of the pool's time: 60 replays an hour of its market in a minute

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Which one it is, whatever it costs now."""
        return self.pool, self.zone, self.kind, self.accelerator


class Lease(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Rented for a holder (a job run). Times are seconds since the epoch; 0: not yet."""

    id: str
    holder: str
    offer: Offer
    state: str  # held; noticed: it will be taken away at `ends_at`; lost: it was
    acquired_at: float
    noticed_at: float = 0.0
    ends_at: float = 0.0
    cause: str = ""  # of notice or loss, in words

    def cost(self, now: float) -> float:
        """What it has cost by `now`, in the currency of its price."""
        return self.held_s(now) * self.offer.speed / 3600.0 * self.offer.price_per_h

    def held_s(self, now: float) -> float:
        return max(min(now, self.ends_at or now) - self.acquired_at, 0.0)


class Provider(Protocol):
    def catalogue(self) -> list[Offer]:
        """Everything that it ever offers."""

    def offers(self) -> list[Offer]:
        """What can be rented at this moment; a zone that has nothing is absent."""

    def acquire(self, holder: str, offer: Offer) -> Lease:
        """Rents. A holder that has a lease of this pool gets that one again if it is of the same offer, whatever state
        it is in, and `Conflict` (code LEASE_HELD) if not. `Unavailable` (code CAPACITY_GONE) when there is none any
        more: ask for offers again."""

    def release(self, lease: str) -> None:
        """Gives back, and drops the record. Unknown or given back already: does nothing."""

    def leases(self) -> list[Lease]:
        """Everything that is rented, as it is now, and what was lost and has not been released yet."""

    def interrupt(self, lease: str, notice_s: float, cause: str) -> None:
        """Takes a lease away after `notice_s`, as the market would. Raises `NotFound` for one that it does not have;
        one that is noticed already ends at the earlier of both times."""
