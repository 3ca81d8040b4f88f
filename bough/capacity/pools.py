"""All pools of this Bough as one `Capacity`."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from bough.adapters.capacity import Lease, Offer, Provider
from bough.capacity.models import KEEP, LOST, ON_DEMAND, START, Decision, Situation
from bough.kernel.errors import Conflict, NotFound, Unavailable

LOCAL = "local"  # the pool that every machine has


class Pools:
    def __init__(self, providers: Mapping[str, Provider]) -> None:
        self._providers = dict(providers)

    def decide(self, situation: Situation) -> Decision:
        if situation.lease is not None:
            return Decision(action=KEEP, why="it goes on where it is")
        for offer in self.offers():
            if offer.kind == ON_DEMAND and offer.accelerator in ("", *situation.accelerators):
                return Decision(action=START, why="on-demand, as asked for", offer=offer)
        raise Unavailable("no pool has what this job needs", code="NO_POOL", hint="bough capacity pools")

    def offers(self) -> list[Offer]:
        return [offer for provider in self._providers.values() for offer in provider.offers()]

    def acquire(self, holder: str, offer: Offer) -> Lease:
        for lease in self.leases():
            if lease.holder == holder and lease.offer.key != offer.key:
                raise Conflict(
                    f"{holder} has {lease.offer.kind} in {lease.offer.zone} already, and has one lease at a time",
                    code="LEASE_HELD", hint=f"release {lease.id} first", lease=lease.id,
                )  # fmt: skip
        return self._of(offer.pool).acquire(holder, offer)

    def keep(self, lease: Lease) -> Lease:
        found = next((each for each in self._of(lease.offer.pool).leases() if each.id == lease.id), None)
        return found or msgspec.structs.replace(lease, state=LOST, cause=lease.cause or "the pool does not know it")

    def release(self, lease: Lease) -> None:
        self._of(lease.offer.pool).release(lease.id)

    def leases(self) -> list[Lease]:
        return [lease for provider in self._providers.values() for lease in provider.leases()]

    def interrupt(self, lease: Lease, notice_s: float, cause: str = "drill") -> None:
        self._of(lease.offer.pool).interrupt(lease.id, notice_s, cause)

    def _of(self, pool: str) -> Provider:
        if (provider := self._providers.get(pool)) is None:
            raise NotFound(f"there is no pool {pool!r}", code="POOL_NOT_FOUND", hint="bough capacity pools")
        return provider
