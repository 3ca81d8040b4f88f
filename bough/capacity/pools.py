"""All pools of this Bough as one `Capacity`."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bough.adapters.capacity import LOST, SPOT, Lease, Offer, Provider
from bough.capacity import deciding
from bough.capacity.market import LOCAL as LOCAL
from bough.capacity.market import Usable, usable
from bough.capacity.models import Decision, Situation
from bough.capacity.rules import Market, Planner, Planning
from bough.capacity.zones import MarketSeen, look_at_all
from bough.kernel.clock import Clock
from bough.kernel.errors import Conflict, NotFound, Problem
from bough.kernel.files import write_whole

if TYPE_CHECKING:
    from bough.capacity.planning import Plan

KEPT_EVERY_S = 10.0  # what was seen is written down so often at most, and when a zone has changed
MOST_PLANNERS = 200  # of job runs; who was asked for least recently is planned for anew
log = logging.getLogger("bough.capacity")


class Pools:
    """`memory`: the file in which what was seen of zones outlives the process."""

    def __init__(self, providers: Mapping[str, Provider], memory: Path, clock: Clock, planning: Planning) -> None:
        self.planning = planning
        self._providers, self._memory, self._clock = dict(providers), memory, clock
        self._planners: dict[str, Planner] = {}
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="planning")  # what no decision waits for
        self._lock = threading.RLock()
        self._seen = _remembered(memory)
        self._written_at = clock.now()

    def decide(self, situation: Situation) -> Decision:
        with self._lock:
            found = usable(self.catalogue(), situation.accelerators)
            offered = frozenset(offer.key for offer in self.offers())
            now = deciding.Now(at=self._clock.now(), usable=found, offered=offered, seen=self._look(found, offered))
        return deciding.decide(situation, now, lambda: self._planner(situation.holder))

    def look(self) -> None:
        """Looks at every zone, for whoever asks later."""
        with self._lock:
            offers = self.catalogue()
            offered = frozenset(offer.key for offer in self.offers())
            for accelerator in dict.fromkeys(offer.accelerator for offer in offers if offer.kind == SPOT):
                self._look(usable(offers, [accelerator] if accelerator else []), offered)

    def seen(self, accelerators: list[str]) -> tuple[Usable, MarketSeen]:
        """What could do a job, and what is known of it."""
        with self._lock:
            found = usable(self.catalogue(), accelerators)
            return found, self._look(found, frozenset(offer.key for offer in self.offers()))

    def catalogue(self) -> list[Offer]:
        return [offer for provider in self._providers.values() for offer in provider.catalogue()]

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
        with contextlib.suppress(NotFound):
            for each in self._of(lease.offer.pool).leases():
                if each.id == lease.id:
                    return each
        return msgspec.structs.replace(lease, state=LOST, cause=lease.cause or "the pool does not know it")

    def release(self, lease: Lease) -> None:
        with contextlib.suppress(NotFound):  # a pool that is no longer in the settings has nothing to give back
            self._of(lease.offer.pool).release(lease.id)

    def leases(self) -> list[Lease]:
        return [lease for provider in self._providers.values() for lease in provider.leases()]

    def interrupt(self, lease: Lease, notice_s: float, cause: str = "drill") -> None:
        self._of(lease.offer.pool).interrupt(lease.id, notice_s, cause)

    def _of(self, pool: str) -> Provider:
        if (provider := self._providers.get(pool)) is None:
            raise NotFound(f"there is no pool {pool!r}", code="POOL_NOT_FOUND", hint="bough capacity pools")
        return provider

    def close(self) -> None:
        """Returns when what was seen is written down, and what is being planned is planned."""
        self._beside.shutdown()

    def _planner(self, holder: str) -> Planner:
        with self._lock:
            planner = self._planners.pop(holder, None) or Planner(self._begin)
            self._planners[holder] = planner
            while len(self._planners) > MOST_PLANNERS:
                self._planners.pop(next(iter(self._planners)))
            return planner

    def _begin(self, market: Market, time_h: float, slack_h: float) -> Future[Plan]:
        coming = self._beside.submit(self.planning, market, time_h, slack_h)
        coming.add_done_callback(_say_failure)
        return coming

    def _look(self, found: Usable, offered: frozenset[tuple[str, str, str, str]]) -> MarketSeen:
        if not found.spot:
            return MarketSeen()
        now = self._clock.now()
        before = self._seen.get(found.group, MarketSeen())
        ups = {name: offer.key in offered for name, offer in found.spot.items()}
        after = look_at_all(before, ups, now * found.speed / 3600.0)
        self._seen[found.group] = after
        if before.ups != after.ups or now - self._written_at > KEPT_EVERY_S:
            self._written_at = now
            self._beside.submit(_write_down, self._memory, msgspec.json.encode(self._seen))
        return after


def _say_failure(made: Future[Plan]) -> None:
    if not made.cancelled() and (error := made.exception()) is not None:
        log.error("no plan was made", exc_info=error)


def _write_down(memory: Path, seen: bytes) -> None:
    with contextlib.suppress(Problem, OSError):  # a full disk costs what was learnt since, and nothing else
        write_whole(memory, seen, synced=False)


def _remembered(memory: Path) -> dict[str, MarketSeen]:
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode(memory.read_bytes(), type=dict[str, MarketSeen])
    return {}
