"""Compacts tables in the background, one group of files a turn, once they have been left alone for a while.

Only a version that the environment wrote itself is compacted: rewriting what a branch inherits would cost it bytes for
nothing. Earlier versions stay as they are; whoever changes the table meanwhile wins, and the work is thrown away.
"""

from __future__ import annotations

import sqlalchemy as sa

from bough.adapters.tables import Tables
from bough.data.tables import rules
from bough.data.tables.models import decode, encode
from bough.data.tables.store import TableFiles
from bough.data.tables.writing import Workshop
from bough.kernel import catalog
from bough.kernel.catalog import TABLE, Entry, Point, Write
from bough.kernel.clock import left_s
from bough.kernel.events import Event, Events
from bough.kernel.reconcile import Handler, Turn, wake

KIND = "table"
CHANGED = "table.changed"  # event; its subject is PROJECT/ENVIRONMENT/NAME, and the id of the object
QUIET_S = 30.0  # without a change: a table that is just being filled would be compacted again and again


def on_changed(tx: sa.Connection, event: Event) -> None:
    """Looks at the table later, when it wants it."""
    found = _entry(tx, event.subject)
    if found is not None and rules.wants_compaction(decode(found.value)):
        wake(tx, KIND, event.subject, at=event.at + QUIET_S)


def handler(files: TableFiles, tables: Tables, events: Events) -> Handler:
    """The handler for tables."""
    workshop = Workshop(files, tables)

    def turn(turn: Turn) -> float | None:
        with turn.read() as tx:
            before = _entry(tx, turn.id)
            changed_at = catalog.at_of(tx, before.seq) if before else 0.0
        if before is None or not rules.wants_compaction(decode(before.value)):
            return None
        if left := left_s(changed_at, QUIET_S, turn.clock.now()):
            return left
        changed = workshop.compact(decode(before.value), most=1)
        with turn.apply() as tx:
            if _entry(tx, turn.id) != before or files.blobs.missing(changed.version.blobs):
                return QUIET_S
            write = Write(TABLE, before.key, encode(changed.version))
            catalog.commit(tx, before.layer, [write], at=turn.clock.now(), by="system", why="compact")
            events.emit(tx, "table.compacted", turn.id, rows=changed.rows)
        return QUIET_S

    return turn


def _entry(tx: sa.Connection, subject: str) -> Entry | None:
    """The table as its environment wrote it; None when there is none, or it is inherited."""
    project, environment, name = subject.split("/", 2)
    row = tx.execute(
        sa.select(catalog.head.c.layer).where(
            catalog.head.c.project == project, catalog.head.c.environment == environment
        )
    ).first()
    found = catalog.get(tx, Point(row.layer), TABLE, name) if row else None
    return found if found and row and found.layer == row.layer else None
