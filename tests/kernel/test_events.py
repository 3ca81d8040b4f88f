"""Events are written where they become true, and heard there too."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from bough.adapters.database.sqlite import SqliteDatabase
from bough.kernel.clock import VirtualClock
from bough.kernel.events import Event, Events, last, read
from bough.kernel.reconcile import wake
from bough.kernel.tables import work


@pytest.fixture
def events(clock: VirtualClock) -> Events:
    return Events(clock)


def test_an_event_is_kept_with_its_time_and_data(events: Events, database: SqliteDatabase, clock: VirtualClock) -> None:
    with database.write() as tx:
        emitted = events.emit(tx, "release.live", "rel_1", number=3, names=["a", "ü"])
    with database.read() as tx:
        assert read(tx) == [emitted]
    assert emitted == Event(
        seq=1, at=clock.now(), name="release.live", subject="rel_1", data={"number": 3, "names": ["a", "ü"]}
    )


def test_listeners_run_in_the_transaction_of_the_event_in_the_order_they_came(
    events: Events, database: SqliteDatabase
) -> None:
    heard: list[tuple[str, sa.Connection]] = []
    events.on("x", lambda tx, event: heard.append(("first", tx)))
    events.on("x", lambda tx, event: heard.append(("second", tx)))
    events.on("y", lambda tx, event: heard.append(("never", tx)))
    with database.write() as tx:
        events.emit(tx, "x", "s")
        assert heard == [("first", tx), ("second", tx)]


def test_a_rollback_undoes_the_event_and_what_its_listeners_did(events: Events, database: SqliteDatabase) -> None:
    events.on("x", lambda tx, event: wake(tx, "thing", event.subject))
    with pytest.raises(ZeroDivisionError), database.write() as tx:
        events.emit(tx, "x", "s")
        assert tx.execute(work.select()).all()
        raise ZeroDivisionError
    with database.read() as tx:
        assert read(tx) == tx.execute(work.select()).all() == []


def test_a_listener_that_fails_undoes_the_event_and_its_cause(events: Events, database: SqliteDatabase) -> None:
    def fails(tx: sa.Connection, event: Event) -> None:
        raise ValueError("no")

    events.on("x", fails)
    with pytest.raises(ValueError, match="no"), database.write() as tx:
        wake(tx, "cause", "c")
        events.emit(tx, "x", "s")
    with database.read() as tx:
        assert read(tx) == tx.execute(work.select()).all() == []


def test_a_listener_may_emit_in_turn(events: Events, database: SqliteDatabase) -> None:
    def passes_on(tx: sa.Connection, event: Event) -> None:
        events.emit(tx, "y", event.subject)

    events.on("x", passes_on)
    with database.write() as tx:
        events.emit(tx, "x", "s")
    with database.read() as tx:
        assert [event.name for event in read(tx)] == ["x", "y"]


def test_reading_goes_on_after_a_place_by_subject_and_in_portions(events: Events, database: SqliteDatabase) -> None:
    with database.write() as tx:
        for number in range(10):
            events.emit(tx, "x", f"s{number % 2}", number=number)
    with database.read() as tx:
        assert [event.data["number"] for event in read(tx, after=7)] == [7, 8, 9]
        assert [event.data["number"] for event in read(tx, subject="s1")] == [1, 3, 5, 7, 9]
        assert [event.data["number"] for event in read(tx, after=2, subject="s0", limit=2)] == [2, 4]


def test_numbers_of_events_are_never_given_twice(events: Events, database: SqliteDatabase) -> None:
    """A reader that remembers the last number must not miss what came after a rollback."""
    with database.write() as tx:
        first = events.emit(tx, "x", "s")
    with pytest.raises(ZeroDivisionError), database.write() as tx:
        events.emit(tx, "x", "s")
        raise ZeroDivisionError
    with database.write() as tx:
        assert events.emit(tx, "x", "s").seq > first.seq


def test_the_last_events_of_a_subject_are_its_newest_in_order(events: Events, database: SqliteDatabase) -> None:
    with database.write() as tx:
        for number in range(5):
            events.emit(tx, "x", "mine", number=number)
            events.emit(tx, "x", "other")
        assert [each.data["number"] for each in last(tx, "mine", 3)] == [2, 3, 4]
        assert last(tx, "nobody", 3) == []
