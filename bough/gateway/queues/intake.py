"""Queues in the gateway: what comes in is on disk before it is answered for, with nobody else's help.

    POST /queues/NAME                one item; 202 with its id (application/x-ndjson: one for each line)
    GET  /queues/NAME/ID[?wait=S]    the item, at its end or after S seconds; as text/event-stream: until its end
    GET  /queues/NAME/ID/result      the handler's answer alone
    GET  /queues/NAME                how many wait, and for how long

Headers of a POST: Idempotency-Key (or Webhook-Id) is its dedup id, X-Bough-Key orders, X-Bough-Delay are seconds,
X-Bough-Priority is 0 to 9, 9 first.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from bough.adapters.queue import Place, Queues, Tended
from bough.gateway.call import Call
from bough.gateway.http.front import Front
from bough.gateway.models import Route
from bough.gateway.queues.answers import Reading
from bough.gateway.queues.asking import QueueWay
from bough.gateway.queues.handing import ServiceHand
from bough.gateway.routing.routes import Entry, Routes, Scope, spelt
from bough.gateway.telemetry.metrics import RouteStats
from bough.kernel.clock import SystemClock
from bough.kernel.errors import Conflict, NotFound, Problem
from bough.kernel.processes import is_gone, mark
from bough.kernel.project import PRODUCTION
from bough.queues.consumer import Consumer, Timer
from bough.queues.models import QueueRoute, QueueState
from bough.queues.rounds import Rounds

RECOUNT_S = 5.0  # between two counts of all that waits, when somebody else has written
HOLDS = 3  # renewals of a lease before it would end

log = logging.getLogger("bough.gateway")


class Hours:
    """The event loop's. Implements `consumer.Hours`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def now(self) -> float:
        return time.time()

    def later(self, seconds: float, function: Callable[[], None]) -> Timer:
        return self._loop.call_soon(function) if seconds <= 0 else self._loop.call_later(seconds, function)


class GatewayQueues:
    """All queues of the table. Their store is opened with the first of them."""

    def __init__(self, open_: Callable[[], Queues] | None, routes: Routes, front: Front) -> None:
        self._open_store, self._routes, self._front = open_, routes, front
        self._entries: dict[Place, Entry] = {}
        self._consumers: dict[Place, Consumer] = {}
        self._store: Queues | None = None
        self._rounds: Rounds | None = None
        self._chores: list[asyncio.Task[None]] = []
        self._recount = True
        self.reading = Reading(self._found)

    def apply(self, wanted: list[QueueRoute]) -> None:
        """Takes the table's queues. What waits in one that has left it stays, for when it comes back."""
        if self._open_store is None or (wanted and self._rounds is None and not self._open(self._open_store)):
            return
        by_place = {each.place: each for each in wanted}
        for place in self._consumers.keys() - by_place.keys():
            self._consumers.pop(place).stop()
            del self._entries[place]
        for place, route in by_place.items():
            if place in self._consumers:
                self._consumers[place].update(route)
                self._entries[place].route = _as_route(route)
                self._way(place).update(route)
            else:
                self._begin(route)
        self._recount = True

    def find(self, scope: Scope, name: str) -> Entry:
        """What the planner sends an item to. Raises `NotFound` (QUEUE_NOT_FOUND) or `Conflict` (ROUTE_AMBIGUOUS)."""
        scope, name = spelt(scope, name)
        environment = scope.environment or PRODUCTION
        found = [
            entry for place, entry in self._entries.items()
            if place[1:] == (environment, name) and scope.project in ("", place[0])
        ]  # fmt: skip
        if not found:
            raise _no_queue(environment, name)
        found = [entry for entry in found if entry.route.bare] or found
        if len(found) > 1:
            projects = sorted(entry.route.project for entry in found)
            raise Conflict(
                f"the queue {name} exists in the projects {', '.join(projects)}", code="ROUTE_AMBIGUOUS",
                hint=f"write {name}.{projects[0]} in its place, or send the header 'X-Bough-Project: {projects[0]}'",
                projects=projects, header="X-Bough-Project",
            )  # fmt: skip
        return found[0]

    def serve(self, call: Call) -> None:
        """Answers a call whose plan is LOCAL and whose path begins with `queues`."""
        entry = call.plan.entry
        assert entry is not None  # noqa: S101 - the planner has found it
        route = entry.route
        place = (route.project, route.environment, route.service)
        try:
            self.reading.answer(call, place)
        except Problem as problem:
            call.client.refuse(call, problem, time.monotonic())

    def states(self) -> list[QueueState]:
        return [consumer.state() for consumer in self._consumers.values()]

    def stop_taking(self) -> None:
        for consumer in self._consumers.values():
            consumer.stop()
        self.reading.stop()

    @property
    def busy(self) -> bool:
        return any(consumer.in_flight for consumer in self._consumers.values())

    async def close(self) -> None:
        """What is still at its handler goes back; all that was asked for is written."""
        for chore in self._chores:
            chore.cancel()
        for consumer in self._consumers.values():
            consumer.give_back()
        if self._rounds is not None and self._store is not None:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, self._rounds.stop)
            await asyncio.sleep(0)  # who was given items by the last round gives them back
            await loop.run_in_executor(None, self._rounds.finish)
            self._store.close()

    # --- private

    def _open(self, open_: Callable[[], Queues]) -> bool:
        try:
            self._store = open_()
            freed = self._store.free(is_gone)
        except Problem as problem:  # a disk that is full: the services must go on, and the next reload tries again
            log.error("queues cannot be opened: %s", problem.message)
            return False
        if freed:
            log.info("%d items go back to their queues: who had them is gone", freed)
        loop = asyncio.get_running_loop()
        self._rounds = Rounds(self._store, SystemClock(), mark(), loop.call_soon, loop.call_soon_threadsafe)
        self._rounds.tended = self._tended
        self._rounds.start()
        self.reading.store = self._store
        self._chores = [loop.create_task(chore()) for chore in (self._hold, self._count)]
        return True

    def _begin(self, route: QueueRoute) -> None:
        assert self._rounds is not None  # noqa: S101 - opened before
        hand = ServiceHand(self._routes, self._front, route)
        consumer = Consumer(route, self._rounds, hand, Hours())
        consumer.changed = self.reading.changed
        self._consumers[route.place] = consumer
        stats = RouteStats(route.project, route.environment, route.queue, "queues", "0")
        self._entries[route.place] = Entry(_as_route(route), QueueWay(route, self._rounds, consumer), stats)
        consumer.poke()

    def _way(self, place: Place) -> QueueWay:
        way = self._entries[place].lane
        assert isinstance(way, QueueWay)  # noqa: S101 - `_begin` made it
        return way

    def _found(self, place: Place) -> QueueState:
        consumer = self._consumers.get(place)
        if consumer is None:  # it has left the table while the request waited for its turn
            raise _no_queue(*place[1:])
        return consumer.state()

    def _tended(self, tended: Tended, changed: bool) -> None:
        """Something has come due, or somebody else has written."""
        self._recount = self._recount or changed or tended.ready > 0
        for consumer in self._consumers.values():
            consumer.poke()
        if changed:
            try:
                self.reading.removed()
            except Problem as problem:  # who waits looks by itself at the end of its time
                log.error("items that are waited for could not be looked up: %s", problem.message)

    async def _hold(self) -> None:
        """Renews leases, so that an item is its handler's for as long as that works."""
        while True:
            shortest = min((each.settings.visibility_s for each in self._consumers.values()), default=1.0)
            await asyncio.sleep(shortest / HOLDS)
            for consumer in self._consumers.values():
                consumer.hold()

    async def _count(self) -> None:
        """What waits, for those who decide on replicas: counted when somebody else has written, else known."""
        loop = asyncio.get_running_loop()
        counted_at = 0.0
        while True:
            store, consumers = self._store, list(self._consumers.values())
            if store is not None:
                try:
                    unsure = self._recount or any(each.unsure for each in consumers)
                    if unsure and time.monotonic() - counted_at > RECOUNT_S:
                        self._recount, counted_at = False, time.monotonic()
                        tallies = await loop.run_in_executor(None, store.tally)
                        for each in consumers:
                            if (tally := tallies.get(each.route.place)) is not None:
                                each.counted(tally)
                    for each in consumers:
                        each.oldest_at = store.oldest(each.route.place) if each.depth else 0.0
                except Problem as problem:  # counts are for people and policies: the next look will do
                    log.error("queues could not be counted: %s", problem.message)
            await asyncio.sleep(1.0)


def _no_queue(environment: str, name: str) -> NotFound:
    return NotFound(
        f"there is no queue {name} in environment {environment}", code="QUEUE_NOT_FOUND",
        hint="bough queues list; queues are declared as [queues.NAME] in bough.toml",
    )  # fmt: skip


def _as_route(route: QueueRoute) -> Route:
    """As the planner and the keys see it."""
    return Route(
        project=route.project, environment=route.environment, service=route.queue, deployment="", release=0,
        kind="model", api="queues", access=route.access, allow=route.allow, tls_required=route.tls_required,
        scopes=route.scopes, issuers=route.issuers, max_body_bytes=route.max_body_bytes, bare=route.bare,
    )  # fmt: skip
