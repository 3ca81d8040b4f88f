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
from bough.lineage.telling import Fields, Serves
from bough.registry import store as registry

KIND, ID = "lineage", "outbox"
MOST_WAITING = 10_000  # events, some kilobytes each
AT_ONCE = 20  # events of one turn
log = logging.getLogger("bough.lineage")

lineage_outbox = sa.Table(
    "lineage_outbox",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sqlite_autoincrement=True,
)


def listen(events: Events) -> None:
    """For a Bough that has a receiver."""
    events.on(registry.REGISTERED, on_registered)
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
    wake(tx, KIND, ID)


def waiting(tx: sa.Connection) -> int:
    return tx.execute(sa.select(sa.func.count()).select_from(lineage_outbox)).scalar() or 0


def handler(receiver: Receiver | None) -> Handler:
    """A receiver that is away makes the turn fail: the loop waits, longer each time, and calls again."""

    def turn(turn: Turn) -> float | None:
        if receiver is None:
            return None
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
