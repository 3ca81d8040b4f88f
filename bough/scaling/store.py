"""Tables of scaling: decisions, traffic by the minute, idle times, what was learnt of late requests."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from bough.kernel.rows import Rows
from bough.kernel.tables import metadata
from bough.scaling.models import Decision, Learnt, Minute, Place

KEPT_S = 7 * 86_400.0
MOST = 20_000  # decisions of one service

decision = sa.Table(
    "scaling_decision",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("environment", sa.Text, nullable=False),
    sa.Column("service", sa.Text, nullable=False),
    sa.Column("deployment", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("active", sa.Integer, nullable=False),
    sa.Column("pool", sa.Integer, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("needs", sa.Text, nullable=False),
    sa.Column("seen", sa.Text, nullable=False),
    sa.Column("late_cost", sa.Float, nullable=False, server_default="0"),
    sa.Index("ix_scaling_decision_of", "project", "environment", "service", "at"),
)
traffic = sa.Table(
    "scaling_traffic",
    metadata,
    sa.Column("project", sa.Text, primary_key=True),
    sa.Column("environment", sa.Text, primary_key=True),
    sa.Column("service", sa.Text, primary_key=True),
    sa.Column("minute", sa.Integer, primary_key=True),
    sa.Column("counts", sa.Text, nullable=False),
    sa.Column("service_s", sa.Float, nullable=False),
    sa.Column("late", sa.Integer, nullable=False),
    sa.Column("slots", sa.Integer, nullable=False),
)
habit = sa.Table(
    "scaling_habit",
    metadata,
    sa.Column("project", sa.Text, primary_key=True),
    sa.Column("environment", sa.Text, primary_key=True),
    sa.Column("service", sa.Text, primary_key=True),
    sa.Column("counts", sa.Text, nullable=False),
)
lateness = sa.Table(
    "scaling_lateness",
    metadata,
    sa.Column("project", sa.Text, primary_key=True),
    sa.Column("environment", sa.Text, primary_key=True),
    sa.Column("service", sa.Text, primary_key=True),
    sa.Column("learnt", sa.Text, nullable=False),
)
_DECISIONS = Rows(Decision, "needs", "seen")
_MINUTES = Rows(Minute, "counts")


def decided(tx: sa.Connection, place: Place, made: Decision) -> None:
    """Keeps a decision, and forgets the oldest."""
    columns = _DECISIONS.columns(**msgspec.structs.asdict(made))
    tx.execute(decision.insert(), {**_named(place), **columns})


def decisions(tx: sa.Connection, place: Place, since: float = 0.0, limit: int = MOST) -> list[Decision]:
    """Oldest first; the newest `limit` of them."""
    query = decision.select().where(*_of(decision, place), decision.c.at >= since)
    rows = tx.execute(query.order_by(decision.c.id.desc()).limit(limit)).all()
    return [_DECISIONS.struct(row) for row in reversed(rows)]


def spent_s(tx: sa.Connection, place: Place, since: float, until: float, pool_price: float) -> float:
    """Replica-seconds of what was decided in this time, what had been decided before it included."""
    columns = (decision.c.at, decision.c.active + pool_price * decision.c.pool)
    of, newest_first = _of(decision, place), decision.c.id.desc()
    before = sa.select(*columns).where(*of, decision.c.at < since).order_by(newest_first).limit(1)
    inside = sa.select(*columns).where(*of, decision.c.at >= since).order_by(decision.c.id)
    levels = [(since, float(level)) for _, level in tx.execute(before)] + [
        (float(at), float(level)) for at, level in tx.execute(inside)
    ]
    ends = [at for at, _ in levels[1:]] + [until] * bool(levels)
    return sum(level * max(0.0, end - at) for (at, level), end in zip(levels, ends, strict=True))


def passed(tx: sa.Connection, place: Place, minute: Minute) -> None:
    columns = {**_named(place), **_MINUTES.columns(**msgspec.structs.asdict(minute))}
    keys = ("project", "environment", "service", "minute")
    changes = {name: value for name, value in columns.items() if name not in keys}
    tx.execute(insert(traffic).values(columns).on_conflict_do_update(index_elements=keys, set_=changes))


def minutes(tx: sa.Connection, place: Place, since: int = 0) -> list[Minute]:
    query = traffic.select().where(*_of(traffic, place), traffic.c.minute >= since)
    return [_MINUTES.struct(row) for row in tx.execute(query.order_by(traffic.c.minute))]


def habits(tx: sa.Connection, place: Place) -> dict[int, int]:
    text = tx.execute(sa.select(habit.c.counts).where(*_of(habit, place))).scalar()
    return msgspec.json.decode(text, type=dict[int, int]) if text else {}


def keep_habits(tx: sa.Connection, place: Place, counts: dict[int, int]) -> None:
    row = {**_named(place), "counts": msgspec.json.encode(counts).decode()}
    keys = ("project", "environment", "service")
    tx.execute(insert(habit).values(row).on_conflict_do_update(index_elements=keys, set_={"counts": row["counts"]}))


def learnt(tx: sa.Connection, place: Place) -> Learnt:
    """Of late requests; nothing where nobody has learnt anything."""
    text = tx.execute(sa.select(lateness.c.learnt).where(*_of(lateness, place))).scalar()
    return msgspec.json.decode(text, type=Learnt) if text else Learnt()


def keep_learnt(tx: sa.Connection, place: Place, made: Learnt) -> None:
    row = {**_named(place), "learnt": msgspec.json.encode(made).decode()}
    keys = ("project", "environment", "service")
    tx.execute(insert(lateness).values(row).on_conflict_do_update(index_elements=keys, set_={"learnt": row["learnt"]}))


def forget(tx: sa.Connection, now: float) -> None:
    """What is older than anybody asks for."""
    tx.execute(decision.delete().where(decision.c.at < now - KEPT_S))
    tx.execute(traffic.delete().where(traffic.c.minute < int((now - KEPT_S) / 60)))


def _named(place: Place) -> dict[str, str]:
    return {"project": place[0], "environment": place[1], "service": place[2]}


def _of(table: sa.Table, place: Place) -> tuple[sa.ColumnElement[bool], ...]:
    return tuple(table.c[name] == value for name, value in _named(place).items())
