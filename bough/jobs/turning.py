"""What one turn of the loop sees, and what it has decided; nothing of it is true before it is committed."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import sqlalchemy as sa

from bough.adapters.engine import Attempt
from bough.capacity.changeovers import Changeover
from bough.capacity.models import LOST, Lease
from bough.jobs import store
from bough.jobs.models import CHANGED, DECIDED, ENDED_EVENT, JobRun
from bough.kernel.events import Events

_ALWAYS = ("id", "changed_at")  # not decided here


class World(msgspec.Struct):
    """`runs` are those that have not ended, as this turn has left them so far."""

    now: float
    runs: dict[str, JobRun]
    attempts: dict[str, Attempt]
    leases: dict[str, Lease]  # by holder
    lent: dict[str, float]  # accelerators that services have: how much of each
    changeovers: Mapping[tuple[str, str], Changeover]  # by project and job, of those that are planned for

    @property
    def singles(self) -> list[JobRun]:
        """All that have, or will have, processes of their own: groups have not."""
        return [run for run in self.runs.values() if not run.children]

    def wants(self, attempt: Attempt, moved: set[str]) -> bool:
        """Whether it belongs to a run that goes on, or that somebody else has changed meanwhile."""
        run = self.runs.get(attempt.unit.rpartition("-")[0])
        return run is not None and (not run.ended or run.id in moved)

    def lease(self, run: JobRun) -> Lease | None:
        """What it holds; None when that is lost, or not known any more."""
        found = self.leases.get(run.id)
        if found is None or run.lease is None or found.id != run.lease.id or found.state == LOST:
            return None
        return found


class Turnover:
    """The changes of one turn."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._before = dict(world.runs)
        self._notes: list[tuple[str, str, dict[str, object]]] = []

    def put(self, run: JobRun) -> None:
        self.world.runs[run.id] = run

    def change(self, run: JobRun, /, **values: object) -> JobRun:
        changed: JobRun = msgspec.structs.replace(run, **values)
        self.put(changed)
        return changed

    def note(self, name: str, run: JobRun, /, **data: object) -> None:
        """A line of its timeline beside its states."""
        self._notes.append((name, run.id, data))

    @property
    def changed(self) -> list[JobRun]:
        return [run for id, run in self.world.runs.items() if run is not self._before[id]]

    @property
    def begun(self) -> list[JobRun]:
        """Those that begin another attempt."""
        return [run for run in self.changed if run.attempt != self._before[run.id].attempt]

    @property
    def ended(self) -> list[JobRun]:
        return [run for run in self.changed if run.ended]

    def commit(self, tx: sa.Connection, events: Events, active: store.Active) -> set[str]:
        """Writes what was decided; the ids of those that somebody else has changed meanwhile, of which nothing is."""
        moved, told = set[str](), list[JobRun]()
        decided = {id for name, id, _ in self._notes if name == DECIDED}
        for run in self.changed:
            before = self._before[run.id]
            fields = [name for name in JobRun.__struct_fields__ if name not in _ALWAYS]
            values = {name: getattr(run, name) for name in fields if getattr(run, name) != getattr(before, name)}
            if not store.update(tx, run.id, self.world.now, known=active.changes(run.id), **values):
                moved.add(run.id)
            elif run.state != before.state or (run.said != before.said and run.id not in decided):
                told.append(run)
        for name, id, data in self._notes:  # what led to a state comes before it
            if id not in moved:
                events.emit(tx, name, id, **data)
        for run in told:
            say(tx, events, run)
        return moved


def say(tx: sa.Connection, events: Events, run: JobRun) -> None:
    """A state in the timeline, and the end for whoever waits for it."""
    where = {"project": run.project, "environment": run.environment, "job": run.job}
    events.emit(tx, CHANGED, run.id, **where, state=run.state, said=run.said, attempt=run.attempt)
    if run.ended:
        events.emit(
            tx, ENDED_EVENT, run.id, **where, state=run.state, said=run.said, run=run.run, register=run.register,
            group=run.group, by=run.by, seconds=run.seconds, cost=run.cost,
            cost_center=run.manifest.settings.cost_center, slot=run.slot,
        )  # fmt: skip
