"""What cuts leave for later: settling, masked databases, closing those that were replaced."""

from __future__ import annotations

from pathlib import Path

import msgspec
import sqlalchemy as sa

from bough.data.making import Making
from bough.databases import store
from bough.databases.cutting import CHANGED, GONE, KIND
from bough.databases.disk import Databases
from bough.databases.models import FAILED, MAKING, READY, Instance, Place, Snapshot
from bough.kernel import catalog
from bough.kernel.catalog import Point
from bough.kernel.errors import Problem
from bough.kernel.events import Events
from bough.kernel.reconcile import Handler, Turn, wake

AGAIN_S = 0.2  # while a masked database is made
LOOK_S = 5.0  # how soon a server that has died is started again


class Keeper:
    def __init__(self, disk: Databases, events: Events) -> None:
        self._disk, self._events = disk, events
        self._making, self._made = Making("masked database"), dict[str, str]()

    def handle(self, turn: Turn) -> float | None:
        project, environment, name = turn.id.split("/")
        place = project, environment
        with turn.read() as tx:
            found = store.known(tx, place, name)
            kept: list[Instance | Snapshot] = [*store.kept(tx, place, name)]
        if found is None:
            self._hide(turn, place, name)
        elif found.state == MAKING:
            return self._mask(turn, found)
        elif found.state == READY:
            kept.append(found)
        for each in kept:
            engine = self._disk.engine(each.engine)
            engine.remake(each.handle, each.remake)
            engine.settle(each.handle)
            engine.keep(each.handle)
        return LOOK_S if found else None

    def _hide(self, turn: Turn, place: Place, name: str) -> None:
        """In a transaction, so that nobody makes and shows another one of the name meanwhile."""
        with turn.apply(lambda tx: store.known(tx, place, name) is None):
            self._disk.hide(place, name)

    def handle_gone(self, turn: Turn) -> float | None:
        engine, _, handle = turn.id.partition("/")
        with turn.read() as tx:
            used = handle in store.live_handles(tx)
        if not used:
            self._disk.engine(engine).close(handle)
        return None

    def _mask(self, turn: Turn, found: Instance) -> float | None:
        """Made in a thread of its own from what was cut with the branch; asks again until it is there."""
        if found.source not in self._made:
            with turn.read() as tx:
                point = Point(catalog.layer_of(tx, found.project, found.environment))
                policy = store.declared(tx, point)[found.name].policies[found.mask]
            try:
                self._making.start(Path(found.source), lambda: self._make_masked(found, policy))
            except Problem as problem:
                failed = msgspec.structs.replace(found, state=FAILED, failure=msgspec.to_builtins(problem.detail()))
                return self._done(turn, found, failed)
            if found.source not in self._made:
                return AGAIN_S
        ready = msgspec.structs.replace(found, state=READY, handle=self._made[found.source], source="", remake={})
        then = self._done(turn, found, ready)
        del self._made[found.source]
        return then

    def _make_masked(self, found: Instance, policy: dict[str, str]) -> None:
        self._made[found.source] = self._disk.engine(found.engine).mask(found.source, policy)

    def _done(self, turn: Turn, before: Instance, made: Instance) -> float | None:
        """Unless its environment was discarded meanwhile, or it is another one by now."""
        with turn.apply(store.stands(before)) as tx:
            if made.state == READY:
                self._disk.show(made)
                wake(tx, GONE, f"{before.engine}/{before.source}")
            store.put(tx, made)
            subject = f"{made.project}/{made.environment}"
            self._events.emit(tx, CHANGED, subject, name=made.name, state=made.state)
        return 0.0 if made.state == READY else None


def begin(tx: sa.Connection) -> None:
    """At the server's start: each database is looked at once, as a power cut may have come before it was settled."""
    for each in store.every(tx):
        wake(tx, KIND, f"{each.project}/{each.environment}/{each.name}")


def handlers(disk: Databases, events: Events) -> dict[str, Handler]:
    keeper = Keeper(disk, events)
    return {KIND: keeper.handle, GONE: keeper.handle_gone}
