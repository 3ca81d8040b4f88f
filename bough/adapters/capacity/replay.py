"""A market that is replayed: what zones had at some time, or what is made up, over and over, faster if wanted.

Everything follows from the moment when the replay began (a file) and from the clock, so a lease ends at the same moment
whoever looks, and nothing has to run for that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from bough.adapters.capacity import LOST, NOTICED, Lease, Offer
from bough.adapters.capacity.availability import Availability
from bough.adapters.capacity.records import LeaseRecords
from bough.kernel.clock import Clock
from bough.kernel.errors import NotFound, Unavailable
from bough.kernel.files import as_exhausted, write_whole

BEGAN = "began"


class ReplayProvider:
    """A zone has room for all who ask, or for none."""

    def __init__(self, folder: Path, clock: Clock, offers: Sequence[Offer], zones: Mapping[str, Availability]) -> None:
        self._clock, self._offers, self._zones = clock, list(offers), dict(zones)
        self._records = LeaseRecords(folder, clock)
        self._began = _began(folder / BEGAN, clock.now())

    def catalogue(self) -> list[Offer]:
        return list(self._offers)

    def offers(self) -> list[Offer]:
        """A machine that would be noticed at once is not offered."""
        now = self._clock.now()
        return [offer for offer in self._offers if self._lost_at(offer, now) > now + offer.notice_s]

    def acquire(self, holder: str, offer: Offer) -> Lease:
        held = [lease for lease in self._records.all() if lease.holder == holder]
        if not held and all(offer.key != each.key for each in self.offers()):
            raise Unavailable(
                f"the pool {offer.pool} has nothing in {offer.zone} any more",
                code="CAPACITY_GONE", hint="bough capacity pools",
            )  # fmt: skip
        return self._now(self._records.add(holder, offer))

    def release(self, lease: str) -> None:
        self._records.drop(lease)

    def leases(self) -> list[Lease]:
        return [self._now(lease) for lease in self._records.all()]

    def interrupt(self, lease: str, notice_s: float, cause: str) -> None:
        found = next((each for each in self.leases() if each.id == lease), None)
        if found is None:
            raise NotFound(f"there is no lease {lease}", code="LEASE_NOT_FOUND", lease=lease)
        self._records.end(lease, self._clock.now() + notice_s, cause)

    def _now(self, lease: Lease) -> Lease:
        """With what the market does to it."""
        now, ends_at = self._clock.now(), self._lost_at(lease.offer, lease.acquired_at)
        if lease.ends_at and lease.ends_at <= ends_at:
            return lease
        noticed_at = max(ends_at - lease.offer.notice_s, lease.acquired_at)
        if now < noticed_at or (now < ends_at and not lease.offer.notice_s):
            return lease
        return msgspec.structs.replace(
            lease, state=LOST if now >= ends_at else NOTICED, noticed_at=noticed_at, ends_at=ends_at,
            cause="the market took it back",
        )  # fmt: skip

    def _lost_at(self, offer: Offer, since: float) -> float:
        """When, from `since` on, the zone is away."""
        hour = max(since - self._began, 0.0) * offer.speed / 3600.0
        return self._began + self._zones[offer.zone].lost_after(hour) * 3600.0 / offer.speed


def _began(path: Path, now: float) -> float:
    with contextlib.suppress(OSError, ValueError):
        return float(path.read_text("utf-8"))
    with as_exhausted(path.parent):
        write_whole(path, repr(now).encode())
    return now
