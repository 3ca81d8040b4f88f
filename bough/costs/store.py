"""Tables of costs: usage by day, and meters, which say how much of it has been counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from bough.costs.models import DAY_S, CostLine, Reading, Usage
from bough.costs.rules import Dated
from bough.kernel.events import Event
from bough.kernel.paying import JOB, Payer
from bough.kernel.prepared import Prepared
from bough.kernel.rows import Rows
from bough.kernel.tables import metadata

usage = sa.Table(
    "cost_usage",
    metadata,
    sa.Column("project", sa.Text, primary_key=True),
    sa.Column("day", sa.Integer, primary_key=True),  # since the epoch, UTC
    sa.Column("environment", sa.Text, primary_key=True),
    sa.Column("cost_center", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("workload", sa.Text, primary_key=True),
    sa.Column("tags", sa.Text, primary_key=True),  # JSON, sorted
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("cpu_s", sa.Float, nullable=False),
    sa.Column("gpu_s", sa.Float, nullable=False),
    sa.Column("cost", sa.Float, nullable=False),
)
meter = sa.Table(
    "cost_meter",
    metadata,
    sa.Column("attempt", sa.Text, primary_key=True),  # the meter's key: unit/attempt, or of a server of databases
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("cpu_s", sa.Float, nullable=False),
    sa.Column("gpu_s", sa.Float, nullable=False),
)
_PAYER = ("project", "environment", "cost_center", "kind", "workload")
_SUMS = ("seconds", "cpu_s", "gpu_s", "cost")
_METERS = Rows(Reading)
_NEW = insert(usage)
_ADD = Prepared(
    _NEW.on_conflict_do_update(
        index_elements=list(usage.primary_key), set_={name: usage.c[name] + _NEW.excluded[name] for name in _SUMS}
    )
)


def add(tx: sa.Connection, payer: Payer, used: Usage, now: float) -> None:
    """To what the workload has used today."""
    named = {name: getattr(payer, name) for name in _PAYER} | {"day": int(now // DAY_S), "tags": _text(payer.tags)}
    _ADD.run(tx, **named, **{name: getattr(used, name) for name in _SUMS})


def lines(tx: sa.Connection, first_day: int, project: str = "", environment: str = "") -> list[Dated]:
    """From a day on; of all projects, or of one."""
    query = usage.select().where(usage.c.day >= first_day)
    if project:
        query = query.where(usage.c.project == project)
    if environment:
        query = query.where(usage.c.environment == environment)
    return [(row.day, _line(row)) for row in tx.execute(query)]


def meters(tx: sa.Connection) -> dict[str, Reading]:
    return {row.attempt: _METERS.struct(row) for row in tx.execute(meter.select())}


def keep_meters(tx: sa.Connection, readings: Mapping[str, Reading], gone: Iterable[str]) -> None:
    for attempt, reading in readings.items():
        values = _METERS.columns(seconds=reading.seconds, cpu_s=reading.cpu_s, gpu_s=reading.gpu_s)
        new = insert(meter).values(attempt=attempt, **values)
        tx.execute(new.on_conflict_do_update(index_elements=["attempt"], set_=values))
    for attempt in gone:
        tx.execute(meter.delete().where(meter.c.attempt == attempt))


def on_gave_back(tx: sa.Connection, event: Event) -> None:
    """A job run has given back what it had leased."""
    used = Usage(seconds=float(event.data["seconds"]), cost=float(event.data["cost"]))
    add(tx, _job(event), used, event.at)


def on_used(tx: sa.Connection, event: Event) -> None:
    """An attempt of a job run has ended; its seconds are those of its lease."""
    add(tx, _job(event), Usage(cpu_s=float(event.data["cpu_s"]), gpu_s=float(event.data["gpu_s"])), event.at)


def _job(event: Event) -> Payer:
    said = event.data
    return Payer(
        project=str(said["project"]), environment=str(said["environment"]), cost_center=str(said["cost_center"]),
        kind=JOB, workload=str(said["job"]), tags=dict(said["tags"]),
    )  # fmt: skip


def _line(row: sa.Row[Any]) -> CostLine:
    known = {name: row._mapping[name] for name in (*_PAYER, *_SUMS)}
    return CostLine(tags=msgspec.json.decode(row.tags), **known)


def _text(tags: Mapping[str, str]) -> str:
    return msgspec.json.encode(tags, order="sorted").decode()
