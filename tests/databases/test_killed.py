"""kill -9 of a server that keeps snapshots, brings them back and resets: every database is whole, in a state that
somebody asked for, and every snapshot that is listed can be had again.

`BOUGH_KILLS=200` kills it two hundred times; the default keeps the suite short.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
from pathlib import Path

import pytest

from bough.kernel.reconcile import LEASE_S
from tests.databases.conftest import PROJECT, Rows
from tests.depth import times
from tests.dying import Doom, in_a_process
from tests.plane import Plane

KILLS = times("BOUGH_KILLS", quick=2, deep=4)
COMMITS, TAKES_S = 24, 0.4  # of all that `work` does
ALL = "SELECT customer FROM orders ORDER BY id"
AT_FIRST, MORE, LESS = ["Ada", "Bob"], ["Ada", "Bob", "Eve"], ["Ada"]
STATES = [AT_FIRST, AT_FIRST, MORE, MORE, LESS, AT_FIRST, MORE, AT_FIRST]  # of the branch, after each step of `work`


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory, compiled: None) -> Path:
    """A home with a database in production and in a branch."""
    folder = tmp_path_factory.mktemp("ready")
    plane = Plane(folder)
    plane.call("environments.create", project=PROJECT, branch="main")
    plane.call("databases.add", project=PROJECT, name="orders")
    rows = Rows(plane)
    rows.run("CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT)")
    rows.run("INSERT INTO orders VALUES (1, 'Ada'), (2, 'Bob')")
    plane.call("environments.create", project=PROJECT, branch="test")
    plane.let_pass(0.3)
    plane.bough.stop()
    return folder / "home"


@pytest.mark.parametrize("seed", range(KILLS))
def test_a_server_killed_around_snapshots_and_restores_leaves_whole_databases(
    ready: Path, tmp_path: Path, seed: int
) -> None:
    shutil.copytree(ready, tmp_path / "home", symlinks=True)
    draw = random.Random(f"snapshots {seed}")
    killed = in_a_process(lambda: work(tmp_path, draw, by_commit=seed % 2 == 0))
    assert killed in (0, signal.SIGKILL)

    plane = Plane(tmp_path)
    plane.clock.advance(LEASE_S)
    plane.let_pass(1.0)
    rows = Rows(plane)
    done = len((tmp_path / "done").read_text())
    found = [each[0] for each in rows.run(ALL, "test")]
    assert found in STATES[done : done + 2], f"after {done} steps"
    assert [each[0] for each in rows.run(ALL)] == AT_FIRST, "production is as it was"
    for snapshot in plane.call("databases.snapshots", project=PROJECT, name="orders"):
        plane.call("databases.restore", project=PROJECT, name="orders", environment="test", snapshot=snapshot.id)
        plane.let_pass(0.3)
        assert [each[0] for each in rows.run(ALL, "test")] in (AT_FIRST, MORE, LESS)
        assert rows.run("PRAGMA integrity_check", "test") == [("ok",)]
    plane.bough.stop()


def work(folder: Path, draw: random.Random, *, by_commit: bool) -> None:
    """Each step leaves a dot when it has been done."""
    done, here = folder / "done", {"project": PROJECT, "name": "orders", "environment": "test"}
    done.touch()
    doom = Doom(draw.randrange(COMMITS))
    plane = Plane(folder)
    rows = Rows(plane)

    def restore(id: str) -> None:
        plane.call("databases.restore", **here, snapshot=id)
        plane.let_pass(0.2)

    if by_commit:
        doom.begin()
    else:
        timer = threading.Timer(draw.uniform(0, TAKES_S), os.kill, (os.getpid(), signal.SIGKILL))
        timer.daemon = True
        timer.start()
    kept: list[str] = []
    for step in (
        lambda: kept.append(plane.call("databases.snapshot", **here).id),
        lambda: rows.run("INSERT INTO orders VALUES (3, 'Eve')", "test"),
        lambda: kept.append(plane.call("databases.snapshot", **here).id),
        lambda: rows.run("DELETE FROM orders WHERE id > 1", "test"),
        lambda: restore(kept[0]),
        lambda: restore(kept[1]),
        lambda: plane.call("databases.reset", **here),
    ):
        step()
        with done.open("a") as file:
            file.write(".")
