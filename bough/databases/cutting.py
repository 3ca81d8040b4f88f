"""What happens to databases when environments branch, are tagged, reset, merged or discarded: listeners that run in the
transaction which does so. A cut is milliseconds of file names and locks, and belongs into that transaction: it is what
makes it one moment for rows, files and tables. What takes longer (settling, masking, closing) is left to `loop.py`.
"""

from __future__ import annotations

import contextlib
from typing import Any

import sqlalchemy as sa

from bough.adapters.sql import Cut
from bough.databases import store
from bough.databases.disk import Databases
from bough.databases.models import MAKING, READY, Declared, Instance, Place, Snapshot
from bough.kernel import catalog
from bough.kernel.catalog import LAST, Point
from bough.kernel.errors import Conflict, Invalid, NotFound
from bough.kernel.events import Event, Events
from bough.kernel.names import new_id
from bough.kernel.reconcile import wake

KIND = "database"  # id: PROJECT/ENVIRONMENT/NAME
GONE = "database-gone"  # id: ENGINE/HANDLE, of one that is to be closed
CHANGED = "databases.changed"


class Cutting:
    def __init__(self, disk: Databases) -> None:
        self._disk = disk

    def listen(self, events: Events) -> None:
        self._events = events
        events.on("environment.branched", self.on_branched)
        events.on("environment.discarded", self.on_discarded)
        events.on("environment.reset", self.on_reset)
        events.on("environment.merged", self.on_merged)
        events.on("tag.created", self.on_tagged)
        events.on("tag.deleted", self.on_tag_deleted)

    def on_branched(self, tx: sa.Connection, event: Event) -> None:
        place, start = (event.data["project"], event.data["environment"]), Point(*event.data["start"])
        mask = event.data["mask"]
        here = store.declared(tx, Point(catalog.layer_of(tx, *place)))
        if mask and not any(mask in each.policies for each in here.values()):
            raise Invalid(
                f"no database of {place[0]} has a policy {mask!r}; nothing was made",
                code="POLICY_NOT_FOUND", hint=f"bough db policy DATABASE {mask} --columns TABLE.COLUMN=hash",
            )  # fmt: skip
        for name, declared in here.items():
            cut = self.cut_of(tx, place[0], start, name)
            made = self._made(place, name, declared, cut, event.at)
            if policy := declared.policies.get(mask):
                self._disk.engine(declared.engine).check_policy(cut.handle, policy)
                made = self._made(place, name, declared, cut, event.at, mask=mask)
            self._put(tx, made)

    def on_discarded(self, tx: sa.Connection, event: Event) -> None:
        for each in store.of(tx, (event.data["project"], event.data["environment"])):
            store.remove(tx, (each.project, each.environment), each.name)
            self.let_go(tx, each)
            wake(tx, KIND, f"{each.project}/{each.environment}/{each.name}")

    def on_reset(self, tx: sa.Connection, event: Event) -> None:
        """Databases become what they were at that point, where that is known; what they were stays as snapshots."""
        place, start = (event.data["project"], event.data["environment"]), Point(*event.data["start"])
        here = store.declared(tx, Point(catalog.layer_of(tx, *place)))
        for each in store.of(tx, place):
            if each.name not in here:
                self.keep(tx, each, event.at, "", "before a reset")
                store.remove(tx, place, each.name)
                self.let_go(tx, each)
        for name, declared in here.items():
            try:
                cut = self.cut_of(tx, place[0], start, name)
            except Conflict:  # of another time, which no snapshot knows: rows stay as they are, and nothing is lost
                continue
            self.replace(tx, self._made(place, name, declared, cut, event.at), "before a reset", "")

    def on_merged(self, tx: sa.Connection, event: Event) -> None:
        """The branch goes on from the merged state, with a fresh cut of what it was merged into."""
        project, branch, into = event.data["project"], event.data["environment"], event.data["into"]
        if catalog.DATABASE not in event.data.get("rebased", ()):
            return
        here = store.declared(tx, Point(catalog.layer_of(tx, project, branch)))
        for each in store.of(tx, (project, into)):
            if each.name in here and each.state == READY:
                cut = self._disk.engine(each.engine).cut(each.handle)
                made = self._made((project, branch), each.name, here[each.name], cut, event.at)
                self.replace(tx, made, f"before the merge into {into}", event.data.get("by", ""))

    def on_tagged(self, tx: sa.Connection, event: Event) -> None:
        for each in store.of(tx, (event.data["project"], event.data["environment"])):
            if each.state == READY:
                self.snapshot(tx, each, event.at, event.data["by"], f"tag {event.data['tag']}",
                              Point(event.data["layer"], event.data["change"]), tag=event.data["tag"])  # fmt: skip

    def on_tag_deleted(self, tx: sa.Connection, event: Event) -> None:
        store.remove_snapshots(tx, event.data["project"], tag=event.data["tag"])

    def snapshot(
        self, tx: sa.Connection, of: Instance, at: float, by: str, why: str, point: Point, *, tag: str = ""
    ) -> Snapshot:
        cut = self._disk.engine(of.engine).cut(of.handle, at_rest=True)
        made = Snapshot(
            id=new_id("dbs"), project=of.project, environment=of.environment, name=of.name, engine=of.engine,
            handle=cut.handle, at=at, by=by, why=why, layer=point.layer, seq=point.seq, tag=tag, remake=cut.remake,
        )  # fmt: skip
        store.add_snapshot(tx, made)
        wake(tx, KIND, f"{of.project}/{of.environment}/{of.name}")
        return made

    def keep(self, tx: sa.Connection, of: Instance, at: float, by: str, why: str) -> Snapshot | None:
        """A snapshot of what is about to be replaced; None of one that is not there, or was lost."""
        if of.state != READY:
            return None
        layer = catalog.layer_of(tx, of.project, of.environment)
        with contextlib.suppress(NotFound):
            return self.snapshot(tx, of, at, by, why, Point(layer, catalog.newest(tx)))
        return None

    def replace(self, tx: sa.Connection, made: Instance, why: str, by: str) -> Snapshot | None:
        """Gives an environment another database; what it had stays as a snapshot, and who has it open gets errors."""
        before = [each for each in store.of(tx, (made.project, made.environment)) if each.name == made.name]
        kept = [self.keep(tx, each, made.made_at, by, why) for each in before]
        self._put(tx, made)
        for each in before:
            self.let_go(tx, each)
        self._events.emit(tx, CHANGED, f"{made.project}/{made.environment}", name=made.name, state=made.state)
        return kept[0] if kept else None

    def let_go(self, tx: sa.Connection, of: Instance) -> None:
        for handle in filter(None, (of.handle, of.source)):
            wake(tx, GONE, f"{of.engine}/{handle}")

    def _put(self, tx: sa.Connection, made: Instance) -> None:
        store.put(tx, made)
        if made.state == READY:
            self._disk.show(made)
        wake(tx, KIND, f"{made.project}/{made.environment}/{made.name}")

    def cut_of(self, tx: sa.Connection, project: str, start: Point, name: str) -> Cut:
        """A cut of what a point shows: an environment now, or what a snapshot keeps of it."""
        if start.seq != LAST:
            known = store.snapshots(tx, project, name)
            of_point = [each for each in known if (each.layer, each.seq) == (start.layer, start.seq)]
            if not of_point:
                raise Conflict(
                    f"nobody knows what the database {name} was at that time: it has no snapshot of it",
                    code="DATABASE_POINT_UNKNOWN",
                    hint=f"branch from now or from a tag; next time: bough db snapshot {name}",
                )
            return self._disk.engine(of_point[0].engine).cut(of_point[0].handle)
        parent = catalog.environment_of(tx, project, start.layer)
        found = store.find(tx, (project, parent), name)
        if found.state != READY:
            raise Conflict(
                f"the database {name} of {parent} is still being made",
                code="DATABASE_NOT_READY", hint=f"bough db show {name} -e {parent}",
            )  # fmt: skip
        wake(tx, KIND, f"{project}/{parent}/{name}")
        return self._disk.engine(found.engine).cut(found.handle)

    def _made(self, place: Place, name: str, declared: Declared, cut: Cut, at: float, *, mask: str = "") -> Instance:
        where: dict[str, Any] = {"source": cut.handle, "handle": ""} if mask else {"handle": cut.handle}
        return Instance(
            project=place[0], environment=place[1], name=name, engine=declared.engine, mask=mask, made_at=at,
            state=MAKING if mask else READY, held_s=cut.held_s, remake=cut.remake, **where,
        )  # fmt: skip
