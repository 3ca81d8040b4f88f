"""Pushes are kept as events."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from bough.kernel.events import Events
from bough.kernel.tables import event
from bough.pushes.models import PUSHED, Push


def record(tx: sa.Connection, events: Events, push: Push) -> None:
    events.emit(tx, PUSHED, f"{push.project}/{push.environment}", **msgspec.to_builtins(push))


def newest(tx: sa.Connection, project: str, environment: str, limit: int) -> list[Push]:
    """Of one environment, or of all without `environment`; newest first."""
    subject = event.c.subject == f"{project}/{environment}"
    if not environment:
        subject = sa.and_(event.c.subject >= f"{project}/", event.c.subject < f"{project}0")  # "0" follows "/"
    query = event.select().where(subject, event.c.name == PUSHED).order_by(event.c.seq.desc()).limit(limit)
    found = []
    for row in tx.execute(query):
        found.append(msgspec.structs.replace(msgspec.json.decode(row.data, type=Push), at=row.at))
    return found
