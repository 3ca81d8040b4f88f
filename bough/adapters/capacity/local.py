"""This machine: always there, and taken away in drills only. What fits on it at once is for the placement to say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bough.adapters.capacity import Lease, Offer
from bough.adapters.capacity.records import LeaseRecords
from bough.kernel.clock import Clock
from bough.kernel.errors import Unavailable


class LocalProvider:
    def __init__(self, folder: Path, clock: Clock, offers: Sequence[Offer]) -> None:
        self._clock, self._offers = clock, list(offers)
        self._records = LeaseRecords(folder, clock)

    def catalogue(self) -> list[Offer]:
        return list(self._offers)

    def offers(self) -> list[Offer]:
        return list(self._offers)

    def acquire(self, holder: str, offer: Offer) -> Lease:
        if all(offer.key != each.key for each in self._offers):
            raise Unavailable(
                f"the pool {offer.pool} has no {offer.accelerator or offer.kind} in {offer.zone}",
                code="CAPACITY_GONE", hint="bough capacity pools",
            )  # fmt: skip
        return self._records.add(holder, offer)

    def release(self, lease: str) -> None:
        self._records.drop(lease)

    def leases(self) -> list[Lease]:
        return self._records.all()

    def interrupt(self, lease: str, notice_s: float, cause: str) -> None:
        self._records.end(lease, self._clock.now() + notice_s, cause)
