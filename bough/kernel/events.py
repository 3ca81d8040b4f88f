"""Events: what happened, as rows, and how capabilities hear of each other without knowing each other.

An event is written in the transaction that made it true, and its listeners run in that same transaction: either all of
it happened or none of it. A listener therefore only writes rows and wakes objects; anything slow belongs to a loop.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import msgspec
import sqlalchemy as sa

from bough.kernel.clock import Clock
from bough.kernel.prepared import Prepared
from bough.kernel.tables import event as event_table


class Event(msgspec.Struct, frozen=True, kw_only=True):
    seq: int
    at: float
    name: str
    subject: str
    data: dict[str, Any]


Listener = Callable[[sa.Connection, Event], None]


class Events:
    """Who listens to what; filled once, in `composition/listeners.py`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._listeners: dict[str, list[Listener]] = defaultdict(list)
        self._of_all: list[Listener] = []

    def on(self, name: str, listener: Listener) -> None:
        self._listeners[name].append(listener)

    def on_all(self, listener: Listener) -> None:
        """For whoever wants to hear of every event, after those that listen to it by name."""
        self._of_all.append(listener)

    def emit(self, tx: sa.Connection, name: str, subject: str, /, **data: Any) -> Event:
        at = self._clock.now()
        text = msgspec.json.encode(data).decode()
        row = _ADD.first(tx, seq=None, at=at, name=name, subject=subject, data=text)
        happened = Event(seq=row.seq, at=at, name=name, subject=subject, data=data)
        for listener in (*self._listeners[name], *self._of_all):
            listener(tx, happened)
        return happened


def read(tx: sa.Connection, *, after: int = 0, subject: str | None = None, limit: int = 200) -> list[Event]:
    """Events with `seq` above `after`, oldest first."""
    query = event_table.select().where(event_table.c.seq > after).order_by(event_table.c.seq).limit(limit)
    if subject is not None:
        query = query.where(event_table.c.subject == subject)
    return [_event(row) for row in tx.execute(query)]


def last(tx: sa.Connection, subject: str, limit: int) -> list[Event]:
    """The newest events of a subject, oldest first."""
    query = event_table.select().where(event_table.c.subject == subject).order_by(event_table.c.seq.desc())
    return [_event(row) for row in reversed(tx.execute(query.limit(limit)).all())]


def newest(tx: sa.Connection) -> int:
    """The number of the last event; 0 before the first."""
    return tx.execute(sa.select(sa.func.max(event_table.c.seq))).scalar() or 0


def happened(tx: sa.Connection, name: str, subject: str) -> bool:
    """Whether there is such an event."""
    found = sa.select(event_table.c.seq).where(event_table.c.subject == subject, event_table.c.name == name).limit(1)
    return tx.execute(found).first() is not None


def happened_of(tx: sa.Connection, name: str, subjects: list[str]) -> set[str]:
    """Those of `subjects` of which there is such an event."""
    found = sa.select(event_table.c.subject).where(event_table.c.name == name, event_table.c.subject.in_(subjects))
    return set(tx.execute(found).scalars())


def _event(row: sa.Row[Any]) -> Event:
    return Event(seq=row.seq, at=row.at, name=row.name, subject=row.subject, data=msgspec.json.decode(row.data))


_ADD = Prepared(event_table.insert().returning(event_table.c.seq))  # the database gives it its number
