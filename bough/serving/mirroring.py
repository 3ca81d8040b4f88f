"""Which environments get copies of which requests: rows, written by `mirrors` and read by the gateway's loop."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from bough.kernel.errors import NotFound
from bough.kernel.rows import Rows
from bough.kernel.tables import metadata

RUNNING, STOPPED = "running", "stopped"


class Mirror(msgspec.Struct, frozen=True, kw_only=True):
    """`percent` of the requests to `environment` are copied to `target`; without `service` of every model service that
    both have. `cpu` counts seconds of CPU per side and service when it began, and when it ended."""

    id: str
    project: str
    environment: str
    target: str
    service: str
    percent: float
    tolerance: float
    state: str
    by: str
    started_at: float
    until: float  # 0: until it is stopped
    stopped_at: float = 0.0
    cpu_before: dict[str, float] = {}
    cpu_after: dict[str, float] = {}


mirror = sa.Table(
    "mirror",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("environment", sa.Text, nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("service", sa.Text, nullable=False),
    sa.Column("percent", sa.Float, nullable=False),
    sa.Column("tolerance", sa.Float, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("started_at", sa.Float, nullable=False),
    sa.Column("until", sa.Float, nullable=False),
    sa.Column("stopped_at", sa.Float, nullable=False),
    sa.Column("cpu_before", sa.Text, nullable=False),  # JSON, as the one below
    sa.Column("cpu_after", sa.Text, nullable=False),
    sa.Index("ix_mirror_place", "project", "environment", "state"),
)

_ROWS = Rows(Mirror, "cpu_before", "cpu_after")


def add(tx: sa.Connection, made: Mirror) -> None:
    tx.execute(mirror.insert().values(**_ROWS.row(made)))


def get(tx: sa.Connection, id: str) -> Mirror:
    row = tx.execute(mirror.select().where(mirror.c.id == id)).first()
    if row is None:
        raise NotFound(f"there is no mirror {id!r}", code="MIRROR_NOT_FOUND", hint="bough mirrors list")
    return _ROWS.struct(row)


def listed(tx: sa.Connection, project: str, limit: int) -> list[Mirror]:
    query = mirror.select().where(mirror.c.project == project).order_by(mirror.c.started_at.desc()).limit(limit)
    return [_ROWS.struct(row) for row in tx.execute(query)]


def running(tx: sa.Connection, project: str = "", environment: str = "") -> list[Mirror]:
    """Of an environment, or all."""
    query = mirror.select().where(mirror.c.state == RUNNING).order_by(mirror.c.id)
    if project:
        query = query.where(mirror.c.project == project, mirror.c.environment == environment)
    return [_ROWS.struct(row) for row in tx.execute(query)]


def change(tx: sa.Connection, id: str, **values: Any) -> None:
    tx.execute(mirror.update().where(mirror.c.id == id).values(**_ROWS.columns(**values)))
