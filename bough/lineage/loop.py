"""Events for a receiver: written down in the transaction that they tell of, sent by the loop until they arrive.

They go in order. While the receiver is away they wait, MOST_WAITING of them; beyond that the oldest go, which the log
says. Without a receiver nothing is written down.
"""

from __future__ import annotations

import logging

import msgspec
import sqlalchemy as sa

from bough.adapters.lineage import EventRefused, Receiver
from bough.data.tables.models import decode
from bough.environments import store as environments
from bough.kernel import catalog
from bough.kernel.catalog import LAST, TABLE, Point
from bough.kernel.events import Event, Events
from bough.kernel.reconcile import Handler, Turn, wake
from bough.kernel.tables import metadata
from bough.lineage import telling
from bough.lineage.runs import TrackedRuns
from bough.lineage.telling import Fields, Serves
from bough.registry import store as registry
from bough.registry import writing
from bough.tracking.models import Run

KIND, OUTBOX, RUNS = "lineage", "outbox", "runs"
MOST_WAITING = 10_000  # events, some kilobytes each
AT_ONCE = 20  # events of one turn
LOOK_S = 5.0  # between two looks at runs, which are kept elsewhere and wake nobody
RUNS_AT_ONCE = 500  # numbers of runs in one look
log = logging.getLogger("bough.lineage")

lineage_outbox = sa.Table(
    "lineage_outbox",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sqlite_autoincrement=True,
)

# Runs that begin after `number` have not been looked at; of those before, these had not ended.
lineage_seen = sa.Table(
    "lineage_seen",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
)
lineage_open_run = sa.Table(
    "lineage_open_run", metadata, sa.Column("number", sa.Integer, primary_key=True, autoincrement=False)
)
_ONLY = 1  # the one row's id


def begin(tx: sa.Connection) -> None:
    """What was left by an earlier process goes on."""
    for id in (OUTBOX, RUNS):
        wake(tx, KIND, id)


def listen(events: Events) -> None:
    """For a Bough that has a receiver."""
    events.on(writing.REGISTERED, on_registered)
    events.on("release.live", on_live)


def on_registered(tx: sa.Connection, event: Event) -> None:
    project, environment = event.data["project"], event.data["environment"]
    version = registry.by_id(tx, event.data["id"])
    tables = {each.name: each.version for each in version.facts.inputs if each.kind == "table"}
    fields = {name: _fields(tx, (project, environment), name, at) for name, at in tables.items()}
    add(tx, telling.registered(project, version, event.at, fields), event.at)


def on_live(tx: sa.Connection, event: Event) -> None:
    release, manifest = environments.find(tx, event.subject)
    services = [
        Serves(name=name, digest=each.digest, models=[(pin.name, pin.version) for pin in each.models.values()])
        for name, each in sorted(manifest.services.items())
    ]
    told = telling.live(
        (release.project, release.environment), release.id, event.at, by=release.created_by, commit=release.commit,
        number=release.number, services=services,
    )  # fmt: skip
    add(tx, told, event.at)


def add(tx: sa.Connection, event: bytes, at: float) -> None:
    """Puts an event into the queue, in the caller's transaction."""
    row = lineage_outbox
    added = tx.execute(row.insert().values(event=event.decode(), at=at)).inserted_primary_key
    assert added is not None  # noqa: S101 - an insert into a table with a key always has one
    if lost := tx.execute(row.delete().where(row.c.seq <= added[0] - MOST_WAITING)).rowcount:
        log.warning("the receiver of lineage has been away for so long that %d events were dropped", lost)
    wake(tx, KIND, OUTBOX)


def waiting(tx: sa.Connection) -> int:
    return tx.execute(sa.select(sa.func.count()).select_from(lineage_outbox)).scalar() or 0


def handler(receiver: Receiver | None, tracked: TrackedRuns) -> Handler:
    """A receiver that is away makes the turn fail: the loop waits, longer each time, and calls again."""

    def turn(turn: Turn) -> float | None:
        if receiver is None:
            return None
        if turn.id == RUNS:
            return _look_at_runs(turn, tracked)
        with turn.read() as tx:
            rows = tx.execute(lineage_outbox.select().order_by(lineage_outbox.c.seq).limit(AT_ONCE)).all()
        for row in rows:
            try:
                receiver.send(row.event.encode())
            except EventRefused as refused:
                log.warning("%s; the event is given up: %s", refused.message, row.event[:200])
            with turn.apply() as tx:
                tx.execute(lineage_outbox.delete().where(lineage_outbox.c.seq == row.seq))
        return 0.0 if len(rows) == AT_ONCE else None

    return turn


def _look_at_runs(turn: Turn, tracked: TrackedRuns) -> float:
    """Writes down the runs that have ended since the last look. What is seen and what is to be told are one
    transaction, so a run is told once whenever the process dies. Runs from before the first look are not told."""
    with turn.read() as tx:
        seen = tx.execute(sa.select(lineage_seen.c.number)).scalar()
        waiting = list(tx.execute(sa.select(lineage_open_run.c.number).order_by("number")).scalars())
    if seen is None:
        now_seen = tracked.newest()  # first: what begins meanwhile is seen by both
        fresh = tracked.open_ones()
    else:
        fresh = tracked.numbers(seen, RUNS_AT_ONCE)
        now_seen = fresh[-1] if fresh else seen
    every = [*waiting, *(each for each in fresh if each not in set(waiting))]
    done: dict[int, Run | None] = {}
    for start in range(0, len(every), RUNS_AT_ONCE):
        done |= tracked.ended(every[start : start + RUNS_AT_ONCE])
    if now_seen == seen and not done:
        return LOOK_S
    now = turn.clock.now()
    with turn.apply() as tx:
        for number, run in sorted(done.items()):
            for each in telling.run_ended(run, now) if run is not None else ():
                add(tx, each, now)
            tx.execute(lineage_open_run.delete().where(lineage_open_run.c.number == number))
        if opened := [{"number": each} for each in every if each not in done and each not in set(waiting)]:
            tx.execute(lineage_open_run.insert(), opened)
        if seen is None:
            tx.execute(lineage_seen.insert().values(id=_ONLY, number=now_seen))
        elif now_seen != seen:
            tx.execute(lineage_seen.update().values(number=now_seen))
    return 0.0 if len(fresh) >= RUNS_AT_ONCE and seen is not None else LOOK_S


def _fields(tx: sa.Connection, place: tuple[str, str], name: str, version: str) -> Fields:
    """The columns of a table as it was at `#CHANGE`, or as it is."""
    seq = version.removeprefix("#")
    at = int(seq) if seq.isascii() and seq.isdecimal() and len(seq) < 16 else LAST
    found = catalog.get(tx, Point(catalog.layer_of(tx, *place), at), TABLE, name)
    if found is None:
        return ()
    try:
        return [(each.name, each.type) for each in decode(found.value).fields]
    except msgspec.ValidationError:  # written by a newer Bough: no reason to refuse a version
        return ()
