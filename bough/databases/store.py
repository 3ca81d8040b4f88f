"""The tables of databases: which one each environment has, and snapshots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from bough.databases.models import READY, Declared, Instance, Place, Snapshot
from bough.kernel import catalog
from bough.kernel.catalog import DATABASE, Point
from bough.kernel.errors import NotFound
from bough.kernel.prepared import Prepared
from bough.kernel.reconcile import Still
from bough.kernel.tables import metadata

instance = sa.Table(
    "database_instance",
    metadata,
    sa.Column("project", sa.Text, primary_key=True),
    sa.Column("environment", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("engine", sa.Text, nullable=False),
    sa.Column("handle", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("made_at", sa.Float, nullable=False),
    sa.Column("held_s", sa.Float, nullable=False),
    sa.Column("mask", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("remake", sa.Text, nullable=False),  # JSON
    sa.Column("failure", sa.Text, nullable=False),  # JSON
)

snapshot = sa.Table(
    "database_snapshot",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("project", sa.Text, nullable=False, index=True),
    sa.Column("environment", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("engine", sa.Text, nullable=False),
    sa.Column("handle", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("layer", sa.Integer, nullable=False),
    sa.Column("seq", sa.Integer, nullable=False),
    sa.Column("tag", sa.Text, nullable=False),
    sa.Column("remake", sa.Text, nullable=False),  # JSON
)
_JSON = {"remake", "failure"}


def declared(tx: sa.Connection, at: Point) -> dict[str, Declared]:
    """The databases that a point shows, by name."""
    return {each.key: msgspec.convert(each.value, Declared) for each in catalog.items(tx, at, DATABASE)}


def find_declared(tx: sa.Connection, place: Place, name: str) -> Declared:
    """Raises `NotFound` (DATABASE_NOT_FOUND)."""
    entry = catalog.get(tx, Point(catalog.layer_of(tx, *place)), DATABASE, name)
    if entry is None:
        raise missing(place, name)
    return msgspec.convert(entry.value, Declared)


def find(tx: sa.Connection, place: Place, name: str) -> Instance:
    """Raises `NotFound` (DATABASE_NOT_FOUND)."""
    found = known(tx, place, name)
    if found is None:
        raise missing(place, name)
    return found


def known(tx: sa.Connection, place: Place, name: str) -> Instance | None:
    row = _ONE.first(tx, of_project=place[0], of_environment=place[1], of_name=name)
    return None if row is None else msgspec.convert(_plain(row._asdict()), Instance)


def of(tx: sa.Connection, place: Place) -> list[Instance]:
    return [_instance(row) for row in tx.execute(instance.select().where(*_is(place)).order_by(instance.c.name))]


def stands(read: Instance) -> Still:
    """Whether it is as it was read."""
    return lambda tx: read in of(tx, (read.project, read.environment))


def every(tx: sa.Connection) -> list[Instance]:
    return [_instance(row) for row in tx.execute(instance.select())]


def put(tx: sa.Connection, made: Instance) -> None:
    remove(tx, (made.project, made.environment), made.name)
    tx.execute(instance.insert().values(_row(made)))


def remove(tx: sa.Connection, place: Place, name: str) -> None:
    tx.execute(instance.delete().where(*_is(place), instance.c.name == name))


def add_snapshot(tx: sa.Connection, made: Snapshot) -> None:
    tx.execute(snapshot.insert().values(_row(made)))


def snapshots(tx: sa.Connection, project: str, name: str = "") -> list[Snapshot]:
    """Newest first."""
    query = snapshot.select().where(snapshot.c.project == project).order_by(snapshot.c.at.desc())
    if name:
        query = query.where(snapshot.c.name == name)
    return [_snapshot(row) for row in tx.execute(query)]


def kept(tx: sa.Connection, place: Place, name: str) -> list[Snapshot]:
    """The snapshots of one database."""
    rows = _KEPT.all(tx, of_project=place[0], of_environment=place[1], of_name=name)
    return [msgspec.convert(_plain(row._asdict()), Snapshot) for row in rows]


def find_snapshot(tx: sa.Connection, project: str, id: str) -> Snapshot:
    """Raises `NotFound` (SNAPSHOT_NOT_FOUND)."""
    found = [each for each in snapshots(tx, project) if each.id == id]
    if not found:
        raise NotFound(
            f"{project} has no snapshot {id}", code="SNAPSHOT_NOT_FOUND", hint="bough db snapshots --project " + project
        )
    return found[0]


def remove_snapshots(tx: sa.Connection, project: str, *, id: str = "", tag: str = "") -> int:
    which = snapshot.c.id == id if id else snapshot.c.tag == tag
    return tx.execute(snapshot.delete().where(snapshot.c.project == project, which)).rowcount


def live_handles(tx: sa.Connection) -> set[str]:
    """Every handle that a row names."""
    found = {each for row in tx.execute(sa.select(instance.c.handle, instance.c.source)) for each in row}
    return (found | set(tx.execute(sa.select(snapshot.c.handle)).scalars())) - {""}


def is_ready(tx: sa.Connection, place: Place) -> bool:
    return all(each.state == READY for each in of(tx, place))


def missing(place: Place, name: str) -> NotFound:
    return NotFound(
        f"{'/'.join(place)} has no database {name!r}",
        code="DATABASE_NOT_FOUND", hint=f"bough db list -e {place[1]}, or bough db add {name}",
    )  # fmt: skip


def _is(place: Place) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return instance.c.project == place[0], instance.c.environment == place[1]


def _row(made: Instance | Snapshot) -> dict[str, Any]:
    values = msgspec.to_builtins(made)
    return {key: msgspec.json.encode(value).decode() if key in _JSON else value for key, value in values.items()}


def _plain(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(key): msgspec.json.decode(value) if key in _JSON else value for key, value in row.items()}


def _instance(row: Any) -> Instance:
    return msgspec.convert(_plain(row._mapping), Instance)


def _snapshot(row: Any) -> Snapshot:
    return msgspec.convert(_plain(row._mapping), Snapshot)


def _of_one(table: sa.Table) -> Prepared:
    """Asked every few seconds for each database, whether anybody uses it or not."""
    columns = table.c.project, table.c.environment, table.c.name
    return Prepared(table.select().where(*(column == sa.bindparam(f"of_{column.name}") for column in columns)))


_ONE, _KEPT = _of_one(instance), _of_one(snapshot)
