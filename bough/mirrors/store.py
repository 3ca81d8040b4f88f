"""The tables of replays and baselines."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from bough.kernel.errors import NotFound
from bough.kernel.rows import Rows
from bough.kernel.tables import metadata
from bough.mirrors.models import Baseline, Replay

KIND = "replay"

replay = sa.Table(
    "replay",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("environment", sa.Text, nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("service", sa.Text, nullable=False),
    sa.Column("count", sa.Integer, nullable=False),
    sa.Column("tolerance", sa.Float, nullable=False),
    sa.Column("both", sa.Boolean, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("started_at", sa.Float, nullable=False),
    sa.Column("finished_at", sa.Float, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("cpu_before", sa.Text, nullable=False),  # JSON, as the one below
    sa.Column("cpu_after", sa.Text, nullable=False),
    sa.Index("ix_replay_project", "project", "started_at"),
)

baseline = sa.Table(
    "baseline",
    metadata,
    sa.Column("project", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("measured", sa.Text, nullable=False),  # JSON
)

_ROWS = Rows(Replay, "cpu_before", "cpu_after")
_BASELINES = Rows(Baseline, "measured")


def add(tx: sa.Connection, made: Replay) -> None:
    tx.execute(replay.insert().values(**_ROWS.row(made)))


def get(tx: sa.Connection, id: str) -> Replay:
    row = tx.execute(replay.select().where(replay.c.id == id)).first()
    if row is None:
        raise NotFound(f"there is no replay {id!r}", code="REPLAY_NOT_FOUND", hint="bough replays list")
    return _ROWS.struct(row)


def listed(tx: sa.Connection, project: str, limit: int) -> list[Replay]:
    query = replay.select().where(replay.c.project == project).order_by(replay.c.started_at.desc()).limit(limit)
    return [_ROWS.struct(row) for row in tx.execute(query)]


def change(tx: sa.Connection, id: str, **values: Any) -> None:
    tx.execute(replay.update().where(replay.c.id == id).values(**_ROWS.columns(**values)))


def add_baseline(tx: sa.Connection, made: Baseline) -> None:
    tx.execute(baseline.insert().values(**_BASELINES.row(made)))


def baselines(tx: sa.Connection, project: str) -> list[Baseline]:
    query = baseline.select().where(baseline.c.project == project).order_by(baseline.c.at.desc())
    return [_BASELINES.struct(row) for row in tx.execute(query)]


def baseline_named(tx: sa.Connection, project: str, name: str) -> Baseline:
    found = [each for each in baselines(tx, project) if each.name == name]
    if not found:
        raise NotFound(f"{project} has no baseline {name!r}", code="BASELINE_NOT_FOUND", hint="bough baselines list")
    return found[0]


def remove_baseline(tx: sa.Connection, project: str, name: str) -> None:
    tx.execute(baseline.delete().where(baseline.c.project == project, baseline.c.name == name))
