"""What others have reported: edges that no record of Bough's own holds, and what is known of their ends.

lineage_edge    one row for each pair of things, however often it is reported
lineage_thing   datasets and jobs that only others know, with the newest that was said of each
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from bough.kernel.tables import metadata
from bough.lineage import models as kinds
from bough.lineage import rules
from bough.lineage.models import Edge, Thing

MOST_EDGES = 1000  # of one thing in an answer

lineage_thing = sa.Table(
    "lineage_thing",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),  # of the event that said so last, by its own time
    sa.Column("details", sa.Text, nullable=False),  # JSON
)
lineage_edge = sa.Table(
    "lineage_edge",
    metadata,
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("target", sa.Text, primary_key=True),
    sa.Column("how", sa.Text, nullable=False),
    sa.Column("first_at", sa.Float, nullable=False),
    sa.Column("by", sa.Text, nullable=False),  # the principal that reported it first
    sa.Index("ix_lineage_edge_target", "target"),
    sqlite_with_rowid=False,
)


def named(name: str, version: str = "") -> Thing:
    """A dataset of others, by NAMESPACE/NAME."""
    id = f"{kinds.OUTSIDE}:{name}" + (f"@{version}" if version else "")
    return Thing(id=id, kind=kinds.OUTSIDE, name=name, version=version)


def job(name: str) -> Thing:
    """A job of others, by NAMESPACE/NAME."""
    return Thing(id=f"{kinds.JOB}:{name}", kind=kinds.JOB, name=name)


def edges(tx: sa.Connection, ids: Sequence[str]) -> dict[str, list[Edge]]:
    """Those that were reported at things, by their ids."""
    rows = [
        row
        for start in range(0, len(ids), rules.AT_ONCE)
        for row in tx.execute(_EDGES, {"ids": ids[start : start + rules.AT_ONCE]}).all()
    ]
    known = _things(tx, {end for each in rows for end in (each.source, each.target)})
    found: dict[str, list[Edge]] = {id: [] for id in ids}
    for each in rows:
        found[each.at].append(Edge(source=known[each.source], target=known[each.target], how=each.how))
    return found


def find(tx: sa.Connection, id: str) -> Thing | None:
    return _things(tx, {id}).get(id)


def keep(tx: sa.Connection, things: Iterable[Thing], found: Iterable[Edge], *, at: float, now: float, by: str) -> int:
    """Writes what an event says; returns how many edges are new. An event that is older than what is known of a thing
    adds what was not known and changes nothing."""
    for each in things:
        _keep_thing(tx, each, at)
    new = 0
    for edge in found:
        values = {"source": edge.source.id, "target": edge.target.id, "how": edge.how, "first_at": now, "by": by}
        same = lineage_edge.c.source == edge.source.id, lineage_edge.c.target == edge.target.id
        if tx.execute(sa.select(lineage_edge.c.how).where(*same)).first() is None:
            tx.execute(lineage_edge.insert(), values)
            new += 1
    return new


def _keep_thing(tx: sa.Connection, thing: Thing, at: float) -> None:
    row = tx.execute(lineage_thing.select().where(lineage_thing.c.id == thing.id)).first()
    if row is None:
        values = {"id": thing.id, "kind": thing.kind, "project": thing.project, "name": thing.name, "at": at}
        tx.execute(lineage_thing.insert(), values | {"details": _encoded(thing.details)})
        return
    known: dict[str, str] = msgspec.json.decode(row.details)
    details = known | thing.details if at >= row.at else thing.details | known
    if details != known or at > row.at:
        changed = {"details": _encoded(details), "at": max(at, row.at)}
        tx.execute(lineage_thing.update().where(lineage_thing.c.id == thing.id).values(changed))


def _things(tx: sa.Connection, ids: set[str]) -> dict[str, Thing]:
    found: dict[str, Thing] = {}
    listed = sorted(ids)
    for start in range(0, len(listed), rules.AT_ONCE):
        part = listed[start : start + rules.AT_ONCE]
        for row in tx.execute(lineage_thing.select().where(lineage_thing.c.id.in_(part))):
            details = msgspec.json.decode(row.details)
            found[row.id] = Thing(id=row.id, kind=row.kind, project=row.project, name=row.name, details=details)
    return found


def _edges() -> sa.Select[Any]:
    """Of every thing, at most MOST_EDGES."""
    row, ids = lineage_edge.c, sa.bindparam("ids", expanding=True, type_=sa.Text)
    columns = row.source, row.target, row.how
    ends = sa.union_all(
        sa.select(*columns, row.source.label("at")).where(row.source.in_(ids)),
        sa.select(*columns, row.target.label("at")).where(row.target.in_(ids)),
    ).subquery()
    place = sa.func.row_number().over(partition_by=ends.c.at, order_by=(ends.c.source, ends.c.target))
    placed = sa.select(ends, place.label("place")).subquery()
    return sa.select(placed).where(placed.c.place <= MOST_EDGES)


_EDGES = _edges()


def _encoded(details: dict[str, str]) -> str:
    return msgspec.json.encode(details).decode()
