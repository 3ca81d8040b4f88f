"""kill -9 in the middle of logging: what was answered is there, each call whole or not at all, the database well.

`BOUGH_KILLS=200` makes more rounds of it.
"""

from __future__ import annotations

import random
import sqlite3
import textwrap
import time
from pathlib import Path

from tests.depth import times
from tests.programs import OURS

ROUNDS = times("BOUGH_KILLS", quick=4, deep=10)
THREADS = 3
WRITER = textwrap.dedent("""
    import os, sys, threading
    from pathlib import Path
    from bough.app import Bough
    from bough.kernel.context import SYSTEM, WouldWait
    from bough.kernel.platform import Platform

    bough = Bough(Path(sys.argv[1]), Platform())
    round, threads = sys.argv[2], int(sys.argv[3])

    def do(verb, **fields):
        fields["project"] = "shop"
        try:  # as MLflow's clients are answered
            return bough.operations.call(verb, fields, SYSTEM, waits=False)
        except WouldWait:
            return bough.operations.call(verb, fields, SYSTEM)

    def log(thread):
        run = do("runs.create", id=f"r{round}-{thread}").id
        for number in range(10**9):
            points = [{"key": key, "value": number, "step": number, "timestamp_ms": number} for key in ("a", "b")]
            do("runs.log", id=run, metrics=points, params={f"p{number}": "x"}, tags={"last": str(number)})
            spans = [{"id": f"s{at}", "name": "n", "started_ns": 1} for at in range(3)]
            do("traces.add", traces=[{"trace": f"{run}-{number}", "spans": spans, "tags": {"a": "b"}}])
            os.write(1, f"{run} {number}\\n".encode())  # in one piece, whatever the other threads write

    for thread in range(threads):
        threading.Thread(target=log, args=(thread,)).start()
""")


def test_nothing_that_was_answered_is_lost_and_nothing_is_half(tmp_path: Path) -> None:
    chance = random.Random(11)
    acknowledged: dict[str, int] = {}
    for round_ in range(ROUNDS):
        writer = OURS.start(WRITER, tmp_path / "home", round_, THREADS)
        try:
            said = [writer.stdout.readline() for _ in range(chance.randint(1, 40))]
            time.sleep(chance.random() * 0.2)  # somewhere in its work
        finally:
            writer.kill()
        said += writer.wait()[1].splitlines()
        for line in said:
            run, number = line.split()
            acknowledged[run] = max(acknowledged.get(run, -1), int(number))
        check(tmp_path / "home" / "tracking.db", acknowledged)
    assert len(acknowledged) >= ROUNDS


def check(path: Path, acknowledged: dict[str, int]) -> None:
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    for run, last in acknowledged.items():
        [[row]] = database.execute("SELECT id FROM run WHERE run_id = ?", (run,)).fetchall()
        steps = {
            key: [each for [each] in database.execute(
                "SELECT step FROM metric WHERE owner = ? AND key = ? ORDER BY step", (row, key)
            )]
            for key in ("a", "b")
        }  # fmt: skip
        assert steps["a"] == steps["b"] == list(range(len(steps["a"]))), run  # none missing, none half
        assert last + 1 <= len(steps["a"]) <= last + 2, run  # what was answered, and at most the one under way
        [[params]] = database.execute("SELECT count(*) FROM param WHERE owner = ?", (row,))
        [[tag]] = database.execute("SELECT value FROM tag WHERE owner = ? AND key = 'last'", (row,)).fetchall()
        assert params == len(steps["a"]) == int(tag) + 1, run
        spans = database.execute(
            "SELECT t.trace_id, count(s.span_id), (SELECT count(*) FROM trace_tag g WHERE g.owner = t.id)"
            " FROM trace t LEFT JOIN span s ON s.owner = t.id WHERE t.trace_id LIKE ? GROUP BY t.id",
            (f"{run}-%",),
        ).fetchall()
        assert all(each[1:] == (3, 1) for each in spans), run
        assert last + 1 <= len(spans) <= last + 2, run
    database.close()
