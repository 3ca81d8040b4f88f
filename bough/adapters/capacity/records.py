"""Leases as files, one each: what is rented outlives whoever rented it."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import msgspec

from bough.adapters.capacity import HELD, LOST, NOTICED, Lease, Offer
from bough.kernel.clock import Clock
from bough.kernel.errors import Conflict, NotFound
from bough.kernel.files import as_exhausted, write_whole
from bough.kernel.names import new_id


class LeaseRecords:
    """What a provider on this machine has rented out. States follow from times: nothing has to run for a lease to end.

    Not synced: after a power cut nothing runs on a lease anyway, and one that is not known counts as lost."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder, self._clock = folder, clock
        self._lock = threading.Lock()
        self._leases: dict[str, Lease] = {}
        for path in folder.glob("*.json"):
            with contextlib.suppress(msgspec.MsgspecError):  # not ours: every file of ours is whole
                lease = msgspec.json.decode(path.read_bytes(), type=Lease)
                self._leases[lease.id] = lease

    def add(self, holder: str, offer: Offer) -> Lease:
        with self._lock:
            for lease in self._leases.values():
                if lease.holder != holder:
                    continue
                if lease.offer.key != offer.key:
                    said = f"{holder} has {lease.offer.kind} in {lease.offer.zone} already, and has one lease at a time"
                    raise Conflict(said, code="LEASE_HELD", hint=f"release {lease.id} first", lease=lease.id)
                return self._now(lease)
            fresh = Lease(
                id=new_id("lea"), holder=holder, offer=offer, state=HELD, acquired_at=self._clock.now()
            )  # fmt: skip
            return self._write(fresh)

    def end(self, id: str, at: float, cause: str, *, noticed_at: float = 0.0) -> None:
        """It ends at `at`, or at the time that was said before if that is earlier."""
        with self._lock:
            lease = self._leases.get(id)
            if lease is None:
                raise NotFound(f"there is no lease {id}", code="LEASE_NOT_FOUND", lease=id)
            if lease.ends_at and lease.ends_at <= at:
                return
            self._write(
                msgspec.structs.replace(
                    lease, ends_at=at, noticed_at=lease.noticed_at or noticed_at or self._clock.now(), cause=cause
                )
            )

    def drop(self, id: str) -> None:
        with self._lock:
            if self._leases.pop(id, None) is not None:
                (self._folder / f"{id}.json").unlink(missing_ok=True)

    def all(self) -> list[Lease]:
        with self._lock:
            return [self._now(lease) for lease in self._leases.values()]

    def _write(self, lease: Lease) -> Lease:
        with as_exhausted(self._folder):
            write_whole(self._folder / f"{lease.id}.json", msgspec.json.encode(lease), synced=False)
        self._leases[lease.id] = lease
        return self._now(lease)

    def _now(self, lease: Lease) -> Lease:
        now = self._clock.now()
        if lease.ends_at and now >= lease.ends_at:
            return msgspec.structs.replace(lease, state=LOST)
        if lease.ends_at and now >= lease.noticed_at:
            return msgspec.structs.replace(lease, state=NOTICED)
        return lease
