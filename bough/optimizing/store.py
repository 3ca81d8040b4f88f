"""The table of optimizations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from bough.kernel.errors import NotFound
from bough.kernel.reconcile import wake
from bough.kernel.rows import Rows
from bough.kernel.tables import metadata
from bough.optimizing.models import RUNNING, Optimization

KIND = "optimization"

optimization = sa.Table(
    "optimization",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("environment", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("parent", sa.Text, nullable=False),
    sa.Column("becomes", sa.Text, nullable=False),
    sa.Column("method", sa.Text, nullable=False),
    sa.Column("calibration", sa.Text, nullable=False),
    sa.Column("judging", sa.Text, nullable=False),
    sa.Column("aliases", sa.Text, nullable=False),
    sa.Column("student", sa.Text, nullable=False),
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("started_at", sa.Float, nullable=False),
    sa.Column("contenders", sa.Text, nullable=False),
    sa.Column("chosen", sa.Text, nullable=False),
    sa.Column("said", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("finished_at", sa.Float, nullable=False),
    sa.Index("ix_optimization_place", "project", "environment", "started_at"),
)
_ROWS = Rows(Optimization, "judging", "aliases", "contenders")


def add(tx: sa.Connection, made: Optimization) -> Optimization:
    tx.execute(optimization.insert(), _ROWS.row(made))
    wake(tx, KIND, made.id)
    return made


def get(tx: sa.Connection, id: str) -> Optimization:
    """Raises `NotFound` (OPTIMIZATION_NOT_FOUND)."""
    row = tx.execute(optimization.select().where(optimization.c.id == id)).first()
    if row is None:
        raise NotFound(f"there is no optimization {id!r}", code="OPTIMIZATION_NOT_FOUND", hint="bough optimize list")
    return _ROWS.struct(row)


def recent(tx: sa.Connection, place: tuple[str, str], limit: int) -> list[Optimization]:
    """Newest first."""
    table = optimization
    query = table.select().where(table.c.project == place[0], table.c.environment == place[1])
    order = table.c.started_at.desc(), table.c.id.desc()
    return [_ROWS.struct(row) for row in tx.execute(query.order_by(*order).limit(limit))]


def students(tx: sa.Connection) -> Iterator[str]:
    """Digests of the lists of files that wait to be measured: garbage collection spares them."""
    table = optimization
    query = sa.select(table.c.student).where(table.c.student != "", table.c.state == RUNNING)
    yield from tx.execute(query).scalars()


def change(tx: sa.Connection, id: str, **values: Any) -> None:
    tx.execute(optimization.update().where(optimization.c.id == id).values(**_ROWS.columns(**values)))
