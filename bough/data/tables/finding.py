"""Which table, in which state of an environment."""

from __future__ import annotations

import sqlalchemy as sa

from bough.data.tables import rules
from bough.data.tables.models import ColumnView, TableView, Version, decode
from bough.kernel import catalog
from bough.kernel.catalog import TABLE, Point
from bough.kernel.errors import NotFound


def find(tx: sa.Connection, at: Point, name: str) -> Version:
    """Raises `NotFound` (TABLE_NOT_FOUND)."""
    entry = catalog.get(tx, at, TABLE, name)
    if entry is None:
        known = ", ".join(each.key for each in catalog.items(tx, at, TABLE)[:10])
        raise NotFound(
            f"there is no table {name!r}" + (f"; there are {known}" if known else ""),
            code="TABLE_NOT_FOUND",
            hint="bough tables list; bough tables create NAME FILE",
        )
    return decode(entry.value)


def view(place: tuple[str, str], name: str, version: Version, changed: int = 0) -> TableView:
    columns = [
        ColumnView(id=each.id, name=each.name, type=each.type, nullable=each.nullable, key=each.id in version.key)
        for each in version.fields
    ]
    deleted = sum(each.deleted.rows for each in version.files if each.deleted)
    return TableView(
        project=place[0], environment=place[1], name=name, rows=version.rows, bytes=version.bytes,
        files=len(version.files), deleted=deleted, columns=columns, changed=changed,
        compact=rules.wants_compaction(version),
    )  # fmt: skip
