"""The reconcile loop in processes that are killed, stopped and replaced: real SQLite files, real `kill -9`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from bough.adapters.database.sqlite import SqliteDatabase
from bough.kernel.clock import VirtualClock
from bough.kernel.events import Events
from bough.kernel.reconcile import LEASE_S, LeaseLost, Loop, Turn, wake
from bough.kernel.tables import step, work

PROCESS = Path(__file__).with_name("reconciling_process.py")
PATIENCE_S = 30.0


class Processes:
    """Starts processes that run the loop, and leaves none behind."""

    def __init__(self, folder: Path, database: SqliteDatabase) -> None:
        self._folder, self._database = folder, database
        self.running: list[subprocess.Popen[str]] = []

    def start(self, code: str, *arguments: str, how: str = "until-idle") -> subprocess.Popen[str]:
        handler_file = self._folder / "handlers.py"
        handler_file.write_text(textwrap.dedent(code), "utf-8")
        process = subprocess.Popen(
            [sys.executable, str(PROCESS), str(self._database.path), str(handler_file), how, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.running.append(process)
        return process

    def run(self, code: str, *arguments: str) -> int:
        return self.start(code, *arguments).wait(PATIENCE_S)

    def close(self) -> None:
        for process in self.running:
            process.kill()
            process.wait(PATIENCE_S)
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    pipe.close()


@pytest.fixture
def processes(tmp_path: Path, database: SqliteDatabase) -> Iterator[Processes]:
    made = Processes(tmp_path, database)
    yield made
    made.close()


def wake_now(database: SqliteDatabase, kind: str, id: str) -> None:
    with database.write() as tx:
        wake(tx, kind, id)


def after_the_lease() -> VirtualClock:
    """A clock for a process that comes when the lease of a dead one has ended."""
    return VirtualClock(time.time() + LEASE_S + 1)


FIVE_STEPS = """
import os, signal

def handlers(database, arguments):
    effects, die_at = arguments

    def reach(point):
        if point == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def effect(number):
        with open(effects, "a") as file:
            file.write(f"step {number}\\n")
        reach(f"happened {number}")
        return number * 10

    def five_steps(turn):
        for number in range(5):
            reach(f"before {number}")
            assert turn.step(f"step {number}", lambda: effect(number)) == number * 10
        reach("after all")

    return {"object": five_steps}
"""


@pytest.mark.parametrize(
    ("die_at", "repeated"),
    [(f"before {number}", None) for number in range(5)]
    + [(f"happened {number}", f"step {number}") for number in range(5)]
    + [("after all", None)],
)
def test_kill_9_at_every_boundary_of_five_steps_repeats_no_recorded_step(
    database: SqliteDatabase, processes: Processes, tmp_path: Path, die_at: str, repeated: str | None
) -> None:
    """Only an effect that died between happening and being recorded may happen twice."""
    effects = tmp_path / "effects"
    wake_now(database, "object", "o")
    assert processes.run(FIVE_STEPS, str(effects), die_at) == -signal.SIGKILL
    namespace: dict[str, object] = {}
    exec(FIVE_STEPS, namespace)  # the same handler, in this process, on a clock past the lease
    handlers = namespace["handlers"](database, (str(effects), "never"))  # type: ignore[operator]
    assert Loop(database, after_the_lease(), handlers).run_until_idle() == 1
    counts = Counter(effects.read_text().splitlines())
    assert counts == {f"step {number}": 2 if f"step {number}" == repeated else 1 for number in range(5)}
    with database.read() as tx:
        assert tx.execute(sa.select(sa.func.count()).select_from(step)).scalar() == 5
        assert tx.execute(sa.select(work.c.token)).scalar() is None


APPROVAL_1 = """
def handlers(database, arguments):
    from bough.kernel.events import read
    effects, = arguments

    def effect(name):
        with open(effects, "a") as file:
            file.write(name + "\\n")
        return name

    def promote(turn):
        turn.step("build", lambda: effect("build 1"))
        with turn.read() as tx:
            if not any(event.name == "approved" for event in read(tx, subject=turn.id)):
                return None
        turn.step("switch", lambda: effect("switch 1"))

    return {"promotion": promote}
"""
# The next release of the code: steps before and after the wait are new, reordered and renamed.
APPROVAL_2 = """
def handlers(database, arguments):
    from bough.kernel.events import read
    effects, = arguments

    def effect(name):
        with open(effects, "a") as file:
            file.write(name + "\\n")
        return name

    def promote(turn):
        turn.step("check", lambda: effect("check 2"))
        assert turn.step("build", lambda: effect("build 2")) == "build 1"
        with turn.read() as tx:
            if not any(event.name == "approved" for event in read(tx, subject=turn.id)):
                return 3600.0
        turn.step("announce", lambda: effect("announce 2"))
        turn.step("move traffic", lambda: effect("move traffic 2"))

    return {"promotion": promote}
"""


@pytest.mark.parametrize("code_after", [APPROVAL_1, APPROVAL_2], ids=["same code", "changed code"])
def test_an_approval_given_while_nothing_runs_is_heeded_after_the_restart(
    database: SqliteDatabase, processes: Processes, tmp_path: Path, code_after: str
) -> None:
    effects = tmp_path / "effects"
    events = Events(VirtualClock())
    events.on("approved", lambda tx, event: wake(tx, "promotion", event.subject))
    wake_now(database, "promotion", "p")
    assert processes.run(APPROVAL_1, str(effects)) == 0
    assert effects.read_text().splitlines() == ["build 1"], "it must wait for the approval"
    with database.write() as tx:
        events.emit(tx, "approved", "p", by="ann")
    assert processes.run(code_after, str(effects)) == 0
    after = ["switch 1"] if code_after is APPROVAL_1 else ["check 2", "announce 2", "move traffic 2"]
    assert effects.read_text().splitlines() == ["build 1", *after]


def test_an_object_that_waits_in_old_code_goes_on_waiting_in_new_code(
    database: SqliteDatabase, processes: Processes, tmp_path: Path
) -> None:
    effects = tmp_path / "effects"
    wake_now(database, "promotion", "p")
    assert processes.run(APPROVAL_1, str(effects)) == 0
    wake_now(database, "promotion", "p")
    assert processes.run(APPROVAL_2, str(effects)) == 0
    assert effects.read_text().splitlines() == ["build 1", "check 2"]


STUCK = """
import sys, sqlalchemy as sa

def handlers(database, arguments):
    note = sa.Table("note", sa.MetaData(), sa.Column("text", sa.Text))

    def stuck(turn):
        print("claimed", flush=True)
        sys.stdin.readline()
        try:
            with turn.apply() as tx:
                tx.execute(note.insert().values(text="the one that was stopped"))
        except Exception as error:
            print(type(error).__name__, flush=True)
            raise
        return 999.0

    return {"object": stuck}
"""


def test_a_second_process_takes_over_after_the_lease_and_the_first_applies_nothing(
    database: SqliteDatabase, processes: Processes
) -> None:
    """The first is not dead but frozen (SIGSTOP), and wakes up believing that the object is still its own."""
    note = sa.Table("note", sa.MetaData(), sa.Column("text", sa.Text))
    with database.write() as tx:
        note.create(tx)
    wake_now(database, "object", "o")
    frozen = processes.start(STUCK)
    assert frozen.stdin and frozen.stdout
    assert frozen.stdout.readline() == "claimed\n"
    os.kill(frozen.pid, signal.SIGSTOP)

    def successor(turn: Turn) -> float:
        with turn.apply() as tx:
            tx.execute(note.insert().values(text="the successor"))
        return 111.0

    assert not Loop(database, VirtualClock(time.time() + LEASE_S / 2), {"object": successor}).run_once()
    clock = after_the_lease()
    assert Loop(database, clock, {"object": successor}).run_once()
    os.kill(frozen.pid, signal.SIGCONT)
    output, _ = frozen.communicate("go on\n", timeout=PATIENCE_S)
    assert output == f"{LeaseLost.__name__}\n"
    with database.read() as tx:
        assert tx.execute(sa.select(note.c.text)).scalars().all() == ["the successor"]
        assert tx.execute(sa.select(work.c.due_at)).scalar() == clock.now() + 111


CROWD = """
import os, threading, time

def handlers(database, arguments):
    folder, turns = arguments[0], int(arguments[1])

    def handler(turn):
        busy = os.path.join(folder, turn.id + ".busy")
        try:
            os.close(os.open(busy, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            open(os.path.join(folder, "two at once"), "w").close()
            raise
        time.sleep(0.001)
        with open(os.path.join(folder, turn.id), "a") as file:
            file.write(f"{os.getpid()} {threading.get_ident()}\\n")
        done = len(open(os.path.join(folder, turn.id)).readlines())
        os.unlink(busy)
        return 0.0 if done < turns else None

    return {"object": handler}
"""


def test_many_workers_in_many_processes_never_run_one_object_at_once(
    database: SqliteDatabase, processes: Processes, tmp_path: Path
) -> None:
    """Three processes of four workers each, and this one waking the objects all the while."""
    objects, turns = [f"o{number}" for number in range(6)], 40
    seen: set[str] = set()
    folder = tmp_path / "crowd"
    folder.mkdir()
    for _ in range(3):
        processes.start(CROWD, str(folder), str(turns), how="workers=4")
    for process in processes.running:
        assert process.stdout and process.stdout.readline() == "ready\n"
    for id in objects:
        wake_now(database, "object", id)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for id in objects:
            wake_now(database, "object", id)
        written = {id: (folder / id).read_text().splitlines() if (folder / id).exists() else [] for id in objects}
        seen = {line.split()[0] for lines in written.values() for line in lines}
        if all(len(lines) >= turns for lines in written.values()) and len(seen) == 3:
            break
        time.sleep(0.005)
    assert not (folder / "two at once").exists()
    assert all(len(lines) >= turns for lines in written.values()), {id: len(lines) for id, lines in written.items()}
    assert len(seen) == 3, "every process must have had its share"


def test_a_process_killed_in_the_middle_of_many_objects_leaves_none_behind(
    database: SqliteDatabase, processes: Processes, tmp_path: Path
) -> None:
    folder = tmp_path / "crowd"
    folder.mkdir()
    objects = [f"o{number}" for number in range(30)]
    with database.write() as tx:
        for id in objects:
            wake(tx, "object", id)
    process = processes.start(CROWD, str(folder), "3", how="workers=4")
    deadline = time.monotonic() + PATIENCE_S
    while len(list(folder.glob("o*"))) < 10 and time.monotonic() < deadline:
        time.sleep(0.001)
    process.kill()
    process.wait(PATIENCE_S)
    for busy in folder.glob("*.busy"):
        busy.unlink()  # died inside: the object itself is what must come back
    finished: list[str] = []
    Loop(database, after_the_lease(), {"object": lambda turn: finished.append(turn.id)}).run_until_idle()
    unfinished = {id for id in objects if not (folder / id).exists() or len((folder / id).read_text().splitlines()) < 3}
    assert unfinished <= set(finished)
    with database.read() as tx:
        assert tx.execute(sa.select(work.c.id).where(work.c.token.is_not(None))).all() == []
        assert tx.execute(sa.select(work.c.id).where(work.c.due_at.is_not(None))).all() == []
