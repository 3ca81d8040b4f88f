"""The table of webhooks."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from bough.kernel.errors import NotFound
from bough.kernel.prepared import Prepared
from bough.kernel.reconcile import Still
from bough.kernel.rows import Rows
from bough.kernel.tables import metadata
from bough.webhooks.models import Webhook

webhook = sa.Table(
    "webhook",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("events", sa.Text, nullable=False),  # JSON
    sa.Column("secret", sa.Text, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("cursor", sa.Integer, nullable=False),
    sa.Column("told", sa.Integer, nullable=False),
    sa.Column("told_at", sa.Float, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("lost", sa.Integer, nullable=False),
    sa.Column("said", sa.Text, nullable=False),
    sa.Index("ix_webhook_project", "project"),
)
_ROWS = Rows(Webhook, "events")
_EVERY = Prepared(webhook.select().order_by(webhook.c.at))


def add(tx: sa.Connection, made: Webhook) -> None:
    tx.execute(webhook.insert().values(**_ROWS.row(made)))


def find(tx: sa.Connection, id: str) -> Webhook | None:
    row = tx.execute(webhook.select().where(webhook.c.id == id)).first()
    return _ROWS.struct(row) if row is not None else None


def stands(read: Webhook) -> Still:
    """Whether it is as it was read: nobody has taken it away meanwhile."""
    return lambda tx: find(tx, read.id) == read


def of_project(tx: sa.Connection, project: str, id: str) -> Webhook:
    """Raises `NotFound` (WEBHOOK_NOT_FOUND)."""
    found = find(tx, id)
    if found is None or found.project != project:
        raise NotFound(f"{project} has no webhook {id!r}", code="WEBHOOK_NOT_FOUND", hint="bough webhooks list")
    return found


def every(tx: sa.Connection, project: str = "") -> list[Webhook]:
    """Asked at each event: mostly there are none."""
    return [_ROWS.same(row) for row in _EVERY.all(tx) if project in ("", row.project)]


def change(tx: sa.Connection, id: str, **values: Any) -> None:
    tx.execute(webhook.update().where(webhook.c.id == id).values(**_ROWS.columns(**values)))


def remove(tx: sa.Connection, id: str) -> None:
    tx.execute(webhook.delete().where(webhook.c.id == id))
