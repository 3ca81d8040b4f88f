"""The reconcile loop: nothing is lost, nothing is doubled, nothing is applied by who may no longer speak.

Time stands still here; what needs a process that really dies is in test_reconcile_processes.py.
"""

from __future__ import annotations

import itertools
import logging
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from bough.adapters.database.sqlite import SqliteDatabase
from bough.kernel.clock import SystemClock, VirtualClock
from bough.kernel.errors import Unavailable
from bough.kernel.events import Events, read
from bough.kernel.processes import mark, starttime
from bough.kernel.reconcile import IDLE_S, LEASE_S, RETRY_S, LeaseLost, Loop, Turn, drop, is_awaited, renew, wake
from bough.kernel.tables import step, work

notes = sa.MetaData()
note = sa.Table("note", notes, sa.Column("text", sa.Text, primary_key=True))


class Killed(BaseException):
    """Stands in for the death of the process: the loop does not catch it, the lease stays behind."""


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture, database: SqliteDatabase) -> None:
    caplog.set_level(logging.CRITICAL, "bough.reconcile")
    with database.write() as tx:
        notes.create_all(tx)


def make(database: SqliteDatabase, clock: VirtualClock, **handlers: Callable[[Turn], float | None]) -> Loop:
    return Loop(database, clock, handlers)


def wake_now(database: SqliteDatabase, id: str, kind: str = "thing", at: float = 0.0) -> None:
    with database.write() as tx:
        wake(tx, kind, id, at=at)


def row(database: SqliteDatabase, id: str, kind: str = "thing") -> Any:
    with database.read() as tx:
        return tx.execute(work.select().where(work.c.kind == kind, work.c.id == id)).one()


def all_notes(database: SqliteDatabase) -> list[str]:
    with database.read() as tx:
        return sorted(tx.execute(sa.select(note.c.text)).scalars())


# --- a clock that is set


def test_a_clock_that_is_set_back_delays_nothing_that_waits(database: SqliteDatabase, clock: VirtualClock) -> None:
    handled: list[str] = []

    def handler(turn: Turn) -> float:
        handled.append(turn.id)
        return 10.0

    loop = make(database, clock, thing=handler)
    wake_now(database, "a")
    loop.run_until_idle()
    clock.advance(-5 * 3600.0)
    assert loop.run_until_idle() == 1, "it is looked at once"
    assert row(database, "a").due_at == clock.now() + 10.0 and loop.run_until_idle() == 0
    clock.advance(10.0)
    assert loop.run_until_idle() == 1 and handled == ["a"] * 3


def test_who_died_before_the_clock_was_set_back_is_succeeded_after_a_lease(
    database: SqliteDatabase, clock: VirtualClock
) -> None:
    done: list[str] = []

    def handler(turn: Turn) -> None:
        done.append(turn.id)
        if len(done) == 1:
            raise Killed

    loop = make(database, clock, thing=handler)
    wake_now(database, "a")
    with pytest.raises(Killed):
        loop.run_once()
    clock.advance(-5 * 3600.0)
    assert not loop.run_once()
    clock.advance(LEASE_S)
    assert loop.run_once() and done == ["a", "a"]


# --- what somebody else decides meanwhile


def test_a_turn_whose_ground_has_moved_writes_nothing_and_begins_again(
    database: SqliteDatabase, clock: VirtualClock
) -> None:
    """What it read is looked at once more in the transaction that writes."""
    read: list[int] = []

    def handler(turn: Turn) -> None:
        with turn.read() as tx:
            before = len(tx.execute(sa.select(note.c.text)).all())
        if not read:
            with database.write() as tx:
                tx.execute(note.insert().values(text="somebody else"))
        read.append(before)
        with turn.apply(lambda tx: len(tx.execute(sa.select(note.c.text)).all()) == before) as tx:
            tx.execute(note.insert().values(text=f"on {before}"))

    loop = make(database, clock, thing=handler)
    wake_now(database, "a")
    assert loop.run_until_idle() == 1 and all_notes(database) == ["somebody else"]
    clock.advance(RETRY_S[0])
    assert loop.run_until_idle() == 1 and all_notes(database) == ["on 1", "somebody else"]
    assert row(database, "a").failures == 0 and row(database, "a").error is None, "nothing has failed"


# --- being due


def test_an_object_sleeps_until_woken_and_then_again(database: SqliteDatabase, clock: VirtualClock) -> None:
    turns: list[str] = []
    loop = make(database, clock, thing=lambda turn: turns.append(turn.id))
    assert not loop.run_once()
    wake_now(database, "a")
    assert loop.run_until_idle() == 1
    assert (turns, row(database, "a").due_at) == (["a"], None)
    clock.advance(1e9)
    assert not loop.run_once()
    wake_now(database, "a")
    assert loop.run_until_idle() == 1


def test_an_object_comes_back_when_it_asked_to(database: SqliteDatabase, clock: VirtualClock) -> None:
    turns: list[float] = []
    loop = make(database, clock, thing=lambda turn: turns.append(clock.now()) or 10.0)
    start = clock.now()
    wake_now(database, "a")
    for _ in range(25):
        loop.run_until_idle()
        clock.advance(1.0)
    assert [at - start for at in turns] == [0.0, 10.0, 20.0]


def test_a_wake_for_later_waits_and_the_soonest_wins(database: SqliteDatabase, clock: VirtualClock) -> None:
    turns: list[float] = []
    loop = make(database, clock, thing=lambda turn: turns.append(clock.now()))
    start = clock.now()
    for later in (50.0, 20.0, 80.0):
        wake_now(database, "a", at=start + later)
    for _ in range(100):
        loop.run_until_idle()
        clock.advance(1.0)
    assert [at - start for at in turns] == [20.0]


def test_a_loop_leaves_kinds_it_does_not_know_to_others(database: SqliteDatabase, clock: VirtualClock) -> None:
    wake_now(database, "a", kind="other")
    assert not make(database, clock, thing=lambda turn: None).run_once()
    assert make(database, clock, other=lambda turn: None).run_once()


def test_run_until_idle_stops_at_its_limit(database: SqliteDatabase, clock: VirtualClock) -> None:
    wake_now(database, "a")
    assert make(database, clock, thing=lambda turn: 0.0).run_until_idle(limit=7) == 7


def test_an_object_that_always_wakes_itself_does_not_starve_the_others(
    database: SqliteDatabase, clock: VirtualClock
) -> None:
    turns: list[str] = []

    def busy(turn: Turn) -> None:
        turns.append(turn.id)
        clock.advance(0.001)
        if turn.id == "greedy":
            with turn.apply() as tx:
                wake(tx, turn.kind, turn.id)

    loop = make(database, clock, thing=busy)
    wake_now(database, "greedy")
    wake_now(database, "scheduled", at=clock.now() + 0.003)
    loop.run_until_idle(limit=10)
    wake_now(database, "modest")
    loop.run_until_idle(limit=10)
    assert "scheduled" in turns and "modest" in turns and turns.count("greedy") > 10


# --- wakes that land while a handler runs


def test_two_hundred_wakes_landing_during_one_turn_are_all_heeded(
    database: SqliteDatabase, clock: VirtualClock
) -> None:
    """The handler has already looked when they land, and ends by asking for nothing more."""
    turns: list[list[str]] = []

    def wakes_arrive(number: int) -> None:
        for each in range(25):
            with database.write() as tx:
                tx.execute(note.insert().values(text=f"{number}-{each}"))
                wake(tx, "thing", "a")

    def handler(turn: Turn) -> None:
        turns.append(all_notes(database))
        if len(turns) == 1:
            senders = [threading.Thread(target=wakes_arrive, args=(number,)) for number in range(8)]
            for sender in senders:
                sender.start()
            for sender in senders:
                sender.join(30)

    wake_now(database, "a")
    loop = make(database, clock, thing=handler)
    assert loop.run_until_idle() == 2
    assert (len(turns[0]), len(turns[1])) == (0, 200)
    assert row(database, "a").wakes == 201


def test_wakes_that_race_with_running_workers_are_all_heeded(database: SqliteDatabase) -> None:
    """Eight threads wake five objects 200 times while four workers reconcile: each object's last look comes after its
    last wake, so every message has been seen."""
    seen: dict[str, set[str]] = {f"object-{number}": set() for number in range(5)}
    sent: dict[str, set[str]] = {id: set() for id in seen}

    def handler(turn: Turn) -> None:
        with turn.read() as tx:
            mine = set(tx.execute(sa.select(note.c.text).where(note.c.text.startswith(f"{turn.id}/"))).scalars())
        seen[turn.id] = mine

    def send(number: int) -> None:
        for each in range(25):
            id = f"object-{(number + each) % 5}"
            with database.write() as tx:
                tx.execute(note.insert().values(text=f"{id}/{number}-{each}"))
                wake(tx, "thing", id)

    for number in range(8):
        for each in range(25):
            id = f"object-{(number + each) % 5}"
            sent[id].add(f"{id}/{number}-{each}")
    loop = Loop(database, SystemClock(), {"thing": handler})
    database.on_commit(loop.poke)
    loop.start(workers=4)
    try:
        senders = [threading.Thread(target=send, args=(number,)) for number in range(8)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join(30)
        deadline = time.monotonic() + 60
        while seen != sent and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        loop.stop()
    assert seen == sent


def test_a_wake_during_a_turn_comes_before_the_time_the_handler_asked_for(
    database: SqliteDatabase, clock: VirtualClock
) -> None:
    turns: list[int] = []

    def handler(turn: Turn) -> float:
        turns.append(1)
        if len(turns) == 1:
            wake_now(database, turn.id)
        return 3600.0

    wake_now(database, "a")
    assert make(database, clock, thing=handler).run_until_idle() == 2
    assert row(database, "a").due_at == clock.now() + 3600


def test_a_wake_for_later_during_a_turn_is_kept(database: SqliteDatabase, clock: VirtualClock) -> None:
    later = clock.now() + 300
    wake_now(database, "a")
    make(database, clock, thing=lambda turn: wake_now(database, turn.id, at=later)).run_until_idle()
    assert row(database, "a").due_at <= later
    turns: list[float] = []
    loop = make(database, clock, thing=lambda turn: turns.append(clock.now()))
    for _ in range(400):
        loop.run_until_idle()
        clock.advance(1.0)
    assert turns[-1] >= later


# --- leases


def test_who_lost_the_lease_applies_nothing(database: SqliteDatabase, clock: VirtualClock) -> None:
    """A handler that was asleep for longer than its lease: another one has done the work meanwhile."""

    def slow(turn: Turn) -> float:
        clock.advance(LEASE_S + 1)
        assert make(database, clock, thing=fast).run_once()
        with pytest.raises(LeaseLost), turn.apply() as tx:
            tx.execute(note.insert().values(text="slow"))
        with pytest.raises(LeaseLost):
            turn.step("charge", lambda: "slow")
        return 5.0

    def fast(turn: Turn) -> float:
        with turn.apply() as tx:
            tx.execute(note.insert().values(text="fast"))
        return 77.0

    wake_now(database, "a")
    assert make(database, clock, thing=slow).run_once()
    assert all_notes(database) == ["fast"]
    assert row(database, "a").due_at == clock.now() + 77, "the plan of the one who lost the lease must not count"
    with database.read() as tx:
        assert tx.execute(step.select()).all() == []


def test_what_a_handler_records_renews_its_lease(database: SqliteDatabase, clock: VirtualClock) -> None:
    """Three times two thirds of a lease, with a word between them, and nobody else gets in."""

    def long(turn: Turn) -> None:
        for number in range(3):
            clock.advance(LEASE_S * 2 / 3)
            assert not other.run_once()
            turn.step(f"part {number}", lambda: True)

    turns: list[str] = []
    other = make(database, clock, thing=lambda turn: turns.append(turn.id))
    wake_now(database, "a")
    assert make(database, clock, thing=long).run_once()
    assert turns == []
    assert row(database, "a").token is None


def test_what_is_away_is_told_in_a_line_and_a_fault_with_its_place(
    database: SqliteDatabase, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    def away(turn: Turn) -> None:
        raise Unavailable("the node does not answer")

    def faulty(turn: Turn) -> None:
        raise KeyError("node")

    caplog.set_level(logging.WARNING, "bough.reconcile")
    for handler, said, place in ((away, "again in 0.2 s: the node does not answer", False), (faulty, "failed", True)):
        caplog.clear()
        wake_now(database, "a")
        clock.advance(60)
        make(database, clock, thing=handler).run_once()
        assert said in caplog.text and ("Traceback" in caplog.text) is place


def test_a_turn_that_outlived_its_lease_is_told_in_the_log(
    database: SqliteDatabase, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    def slow(turn: Turn) -> None:
        clock.advance(LEASE_S + 1)
        make(database, clock, thing=lambda turn: None).run_once()

    caplog.set_level(logging.WARNING, "bough.reconcile")
    wake_now(database, "a")
    make(database, clock, thing=slow).run_once()
    assert "thing a lost its lease, after 31.0 s without a word" in caplog.text


def test_a_lease_is_respected_until_it_ends_and_taken_over_after(database: SqliteDatabase, clock: VirtualClock) -> None:
    def dies(turn: Turn) -> None:
        raise Killed

    turns: list[str] = []
    other = make(database, clock, thing=lambda turn: turns.append(turn.id))
    wake_now(database, "a")
    with pytest.raises(Killed):
        make(database, clock, thing=dies).run_once()
    assert not other.run_once()
    clock.advance(LEASE_S - 0.1)
    wake_now(database, "a")  # being called does not break a lease
    assert not other.run_once()
    clock.advance(0.2)
    assert other.run_until_idle() == 1
    assert turns == ["a"]


def test_a_loop_that_starts_does_not_wait_for_the_lease_of_a_process_that_was_killed(database: SqliteDatabase) -> None:
    """Nor does it touch one whose holder lives, or is somewhere else."""
    dying = subprocess.Popen(["sleep", "60"])
    place, _, _ = mark().partition(":")
    holders = {
        "dead": f"{place}:{dying.pid}:{starttime(dying.pid)}/1", "alive": f"{mark()}/2",
        "elsewhere": f"another-machine:{dying.pid}:1/3", "unknown": "4",
    }  # fmt: skip
    dying.kill()
    dying.wait()
    with database.write() as tx:
        for id, token in holders.items():
            values = {"due_at": time.time() + LEASE_S, "generation": 1, "failures": 0, "wakes": 1}
            tx.execute(work.insert().values(kind="thing", id=id, token=token, **values))
    turns: list[str] = []
    taken = threading.Event()

    def handler(turn: Turn) -> None:
        turns.append(turn.id)
        taken.set()

    loop = Loop(database, SystemClock(), {"thing": handler})
    loop.start(workers=1)
    assert taken.wait(60)
    loop.stop()
    assert turns == ["dead"]


def test_a_lease_that_ended_still_counts_while_nobody_took_it(database: SqliteDatabase, clock: VirtualClock) -> None:
    def slow(turn: Turn) -> None:
        clock.advance(LEASE_S * 10)
        with turn.apply() as tx:
            tx.execute(note.insert().values(text="late but alone"))

    wake_now(database, "a")
    make(database, clock, thing=slow).run_once()
    assert all_notes(database) == ["late but alone"]


def test_a_dropped_object_is_gone_even_under_a_running_handler(database: SqliteDatabase, clock: VirtualClock) -> None:
    def handler(turn: Turn) -> float:
        turn.step("one", lambda: 1)
        with database.write() as tx:
            drop(tx, turn.kind, turn.id)
        with pytest.raises(LeaseLost), turn.apply():
            pass
        return 0.0

    wake_now(database, "a")
    assert make(database, clock, thing=handler).run_until_idle() == 1
    with database.read() as tx:
        assert tx.execute(work.select()).all() == tx.execute(step.select()).all() == []


# --- steps and generations


def test_a_step_runs_once_however_often_the_handler_does(database: SqliteDatabase, clock: VirtualClock) -> None:
    effects: list[str] = []
    results: list[Any] = []

    def effect(name: str, result: Any) -> Any:
        effects.append(name)
        return result

    def handler(turn: Turn) -> None:
        answers = {"none": None, "list": [1, "two", {"three": 3.5}], "false": False, "empty": ""}
        results.append({name: turn.step(name, lambda name=name: effect(name, answers[name])) for name in answers})

    loop = make(database, clock, thing=handler)
    for _ in range(3):
        wake_now(database, "a")
        loop.run_until_idle()
    assert effects == ["none", "list", "false", "empty"]
    assert (
        results[0]
        == results[1]
        == results[2]
        == {"none": None, "list": [1, "two", {"three": 3.5}], "false": False, "empty": ""}
    )


def test_steps_belong_to_one_object(database: SqliteDatabase, clock: VirtualClock) -> None:
    effects: list[str] = []
    loop = make(
        database,
        clock,
        thing=lambda turn: turn.step("x", lambda: effects.append(turn.id)),
        other=lambda turn: turn.step("x", lambda: effects.append("other " + turn.id)),
    )
    for id in ("a", "b"):
        wake_now(database, id)
    wake_now(database, "a", kind="other")
    loop.run_until_idle()
    assert sorted(effects) == ["a", "b", "other a"]


def test_a_failed_effect_is_not_recorded(database: SqliteDatabase, clock: VirtualClock) -> None:
    tries: list[int] = []

    def effect() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError("not yet")
        return "made"

    loop = make(database, clock, thing=lambda turn: turn.step("make", effect) and None)
    wake_now(database, "a")
    for _ in range(20):
        loop.run_until_idle()
        clock.advance(1.0)
    assert len(tries) == 3


def test_a_new_generation_takes_its_steps_again(database: SqliteDatabase, clock: VirtualClock) -> None:
    effects: list[int] = []
    loop = make(database, clock, thing=lambda turn: turn.step("x", lambda: effects.append(turn.generation)))
    for expected in ([1], [1, 2], [1, 2, 3]):
        wake_now(database, "a")
        loop.run_until_idle()
        wake_now(database, "a")
        loop.run_until_idle()
        assert effects == expected
        with database.write() as tx:
            renew(tx, "thing", "a")


def test_a_generation_that_begins_during_a_turn_starts_clean(database: SqliteDatabase, clock: VirtualClock) -> None:
    """The steps of the turn that was already running are recorded for the old generation only."""
    effects: list[int] = []

    def handler(turn: Turn) -> None:
        if turn.generation == 1:
            with database.write() as tx:
                renew(tx, "thing", "a")
                wake(tx, "thing", "a")
        turn.step("x", lambda: effects.append(turn.generation))

    wake_now(database, "a")
    assert make(database, clock, thing=handler).run_until_idle() == 2
    assert effects == [1, 2]


# --- failures


def test_failures_back_off_and_success_forgets_them(database: SqliteDatabase, clock: VirtualClock) -> None:
    broken = True
    tries: list[float] = []

    def handler(turn: Turn) -> None:
        tries.append(clock.now())
        if broken:
            raise ValueError("no disk")

    loop = make(database, clock, thing=handler)
    wake_now(database, "a")
    for _ in range(14):
        assert loop.run_until_idle() == 1
        clock.advance(row(database, "a").due_at - clock.now())
    pauses = [after - before for before, after in itertools.pairwise(tries)]
    assert pauses[:4] == pytest.approx([0.2, 0.4, 0.8, 1.6])
    assert pauses[-3:] == pytest.approx([RETRY_S[1]] * 3)
    assert (row(database, "a").failures, row(database, "a").error) == (14, "ValueError: no disk")
    broken = False
    clock.advance(RETRY_S[1])
    loop.run_until_idle()
    assert (row(database, "a").failures, row(database, "a").error, row(database, "a").due_at) == (0, None, None)


def test_a_failing_object_does_not_hold_up_others(database: SqliteDatabase, clock: VirtualClock) -> None:
    good: list[str] = []

    def handler(turn: Turn) -> None:
        if turn.id == "bad":
            raise RuntimeError
        good.append(turn.id)

    for id in ("bad", "good-1", "good-2"):
        wake_now(database, id)
    make(database, clock, thing=handler).run_until_idle()
    assert sorted(good) == ["good-1", "good-2"]


def test_a_very_long_row_of_failures_still_waits_the_longest_pause(
    database: SqliteDatabase, clock: VirtualClock
) -> None:
    """Doubling without end would overflow after a day of failing."""
    wake_now(database, "a")
    with database.write() as tx:
        tx.execute(work.update().values(failures=50_000))

    def fails(turn: Turn) -> None:
        raise RuntimeError("still")

    assert make(database, clock, thing=fails).run_once()
    assert (row(database, "a").failures, row(database, "a").due_at) == (50_001, clock.now() + RETRY_S[1])


def test_an_object_that_wakes_itself_and_fails_does_not_spin(database: SqliteDatabase, clock: VirtualClock) -> None:
    def handler(turn: Turn) -> None:
        with turn.apply() as tx:
            wake(tx, turn.kind, turn.id)
        raise RuntimeError("after waking itself")

    wake_now(database, "a")
    assert make(database, clock, thing=handler).run_until_idle(limit=50) == 1
    assert row(database, "a").due_at >= clock.now() + RETRY_S[0]


def test_a_wake_cuts_the_pause_of_a_failing_object_short(database: SqliteDatabase, clock: VirtualClock) -> None:
    """Somebody has mended the cause and says so."""
    broken = [True]

    def handler(turn: Turn) -> None:
        if broken[0]:
            raise RuntimeError

    loop = make(database, clock, thing=handler)
    wake_now(database, "a")
    for _ in range(100):
        loop.run_until_idle()
        clock.advance(1.0)
    broken[0] = False
    wake_now(database, "a")
    assert loop.run_until_idle() == 1
    assert row(database, "a").error is None


# --- schedules


def test_a_schedule_catches_up_after_an_outage_without_doubling_a_slot(
    database: SqliteDatabase, clock: VirtualClock
) -> None:
    """Hourly slots; the process is away for five hours and dies twice while catching up."""
    hour, first = 3600.0, clock.now()
    ran: list[int] = []
    deaths = [2, 4]

    def schedule(turn: Turn) -> float:
        slots = int((clock.now() - first) // hour)
        for slot in range(slots + 1):
            turn.step(f"slot-{slot}", lambda slot=slot: ran.append(slot))
            if slot in deaths:
                deaths.remove(slot)
                raise Killed
        return first + (slots + 1) * hour - clock.now()

    def boot() -> Iterator[None]:
        loop = make(database, clock, schedule=schedule)
        while True:
            yield None
            loop.run_until_idle()

    wake_now(database, "hourly", kind="schedule")
    process = boot()
    next(process), next(process)
    assert ran == [0]
    clock.advance(5 * hour + 1)
    for _ in range(3):
        process = boot()
        next(process)
        try:
            next(process)
        except Killed:
            clock.advance(LEASE_S + 1)
    assert ran == [0, 1, 2, 3, 4, 5]
    clock.advance(hour)
    rival = make(database, clock, schedule=schedule)
    next(process), rival.run_until_idle()
    assert ran == [0, 1, 2, 3, 4, 5, 6]


# --- events


def test_an_approval_lands_together_with_its_wake_or_not_at_all(database: SqliteDatabase, clock: VirtualClock) -> None:
    events = Events(clock)
    events.on("release.approved", lambda tx, event: wake(tx, "release", event.subject))
    done: list[str] = []

    def handler(turn: Turn) -> None:
        with turn.read() as tx:
            if any(event.name == "release.approved" for event in read(tx, subject=turn.id)):
                done.append(turn.id)

    loop = make(database, clock, release=handler)
    wake_now(database, "r1", kind="release")
    loop.run_until_idle()
    with pytest.raises(ZeroDivisionError), database.write() as tx:
        events.emit(tx, "release.approved", "r1", by="ann")
        raise ZeroDivisionError
    assert loop.run_until_idle() == 0
    with database.write() as tx:
        events.emit(tx, "release.approved", "r1", by="ann")
    assert loop.run_until_idle() == 1
    assert done == ["r1"]


# --- threads


def test_a_started_loop_hears_a_wake_of_its_own_process_at_once(database: SqliteDatabase) -> None:
    """Far sooner than it would by looking at the table every IDLE_S."""
    heard = threading.Event()
    loop = Loop(database, SystemClock(), {"thing": lambda turn: heard.set()})
    database.on_commit(loop.poke)
    loop.start(workers=2)
    try:
        assert not heard.wait(0.05)
        delays = []
        for _ in range(5):
            heard.clear()
            began = time.monotonic()
            wake_now(database, "a")
            assert heard.wait(60)
            delays.append(time.monotonic() - began)
        assert min(delays) < IDLE_S / 5, delays
    finally:
        loop.stop()


def test_a_started_loop_finds_a_wake_of_another_process(database: SqliteDatabase) -> None:
    heard = threading.Event()
    loop = Loop(database, SystemClock(), {"thing": lambda turn: heard.set()})
    loop.start(workers=1)
    other = SqliteDatabase(database.path)
    try:
        wake_now(other, "a")
        assert heard.wait(60)
    finally:
        loop.stop()
        other.close()


class CountingClock(SystemClock):
    def __init__(self) -> None:
        self.waits: list[float] = []

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        self.waits.append(timeout_s)
        return event.wait(timeout_s)


def test_idle_workers_do_not_spin_while_a_woken_object_is_in_work(database: SqliteDatabase) -> None:
    clock, inside, go_on = CountingClock(), threading.Event(), threading.Event()

    def handler(turn: Turn) -> None:
        wake_now(database, turn.id)
        inside.set()
        go_on.wait(60)

    loop = Loop(database, clock, {"thing": handler})
    wake_now(database, "a")
    loop.start(workers=2)
    try:
        assert inside.wait(60)
        clock.waits.clear()
        threading.Event().wait(0.3)
        assert len(clock.waits) <= 3, f"{len(clock.waits)} looks at the table in 0.3 s"
    finally:
        go_on.set()
        loop.stop()


def test_a_loop_outlives_a_database_that_fails_for_a_while(database: SqliteDatabase) -> None:
    class Flaky:
        broken = True

        def write(self, *, lasting: bool = True) -> Any:
            return database.write(lasting=lasting)

        def read(self) -> Any:
            if self.broken:
                raise OSError("no database")
            return database.read()

        def glance(self) -> Any:
            if self.broken:
                raise OSError("no database")
            return database.glance()

        def version(self) -> int:
            return database.version()

    store, heard = Flaky(), threading.Event()
    loop = Loop(store, SystemClock(), {"thing": lambda turn: heard.set()})
    loop.start(workers=1)
    try:
        wake_now(database, "a")
        assert not heard.wait(0.05)
        store.broken = False
        loop.poke()
        assert heard.wait(60)
    finally:
        loop.stop()


def test_a_stopped_loop_finishes_the_turn_in_hand(database: SqliteDatabase) -> None:
    inside, finished = threading.Event(), []

    def handler(turn: Turn) -> None:
        inside.set()
        time.sleep(0.05)
        finished.append(turn.id)

    loop = Loop(database, SystemClock(), {"thing": handler})
    wake_now(database, "a")
    loop.start(workers=1)
    assert inside.wait(60)
    loop.stop()
    assert finished == ["a"]
    assert row(database, "a").token is None


def test_what_is_looked_at_soon_anyway_is_awaited(database: SqliteDatabase, clock: VirtualClock) -> None:
    seen: list[list[bool]] = []

    def awaited() -> list[bool]:
        with database.read() as tx:
            return [is_awaited(tx, "thing", "a", clock.now() + by) for by in (0.0, 5.0)]

    def handler(turn: Turn) -> float | None:
        seen.append(awaited())  # this look has begun: what happens now is seen by the next one
        with database.write() as tx:
            wake(tx, "thing", "a", at=clock.now() + 1.0)
        seen.append(awaited())
        return 3600.0

    loop = Loop(database, clock, {"thing": handler})
    assert awaited() == [False, False]
    with database.write() as tx:
        wake(tx, "thing", "a", at=clock.now())
    assert awaited() == [True, True]
    assert loop.run_once()
    assert seen == [[False, False], [False, True]]
    assert awaited() == [False, True]
    clock.advance(2.0)
    assert loop.run_once() and not loop.run_once()


def test_an_idle_loop_does_not_read_a_table_that_nobody_has_written(database: SqliteDatabase) -> None:
    """It asks whether anybody has, another process included: here one that has its own connections."""
    reads, asked, heard, many = list[int](), list[int](), threading.Event(), threading.Event()

    class Counted:
        def write(self, *, lasting: bool = True) -> Any:
            return database.write(lasting=lasting)

        def read(self) -> Any:
            reads.append(len(asked))
            return database.read()

        def glance(self) -> Any:
            reads.append(len(asked))
            return database.glance()

        def version(self) -> int:
            asked.append(1)
            if len(asked) >= 1000:
                many.set()
            return database.version()

    loop = Loop(Counted(), VirtualClock(), {"thing": lambda turn: heard.set()})
    loop.start(workers=2)
    try:
        assert many.wait(60)
        assert len(reads) == 2, "leases of the dead, and what is due"
        other = SqliteDatabase(database.path, durable=False)
        with other.write() as tx:
            wake(tx, "thing", "a")
        other.close()
        assert heard.wait(60)
    finally:
        loop.stop()
