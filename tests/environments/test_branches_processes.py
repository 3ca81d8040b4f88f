"""What is left when a process that branches and merges dies, and when two of them do it at once."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from bough.adapters.engine.fake import FakeEngine
from bough.app import Bough
from bough.kernel import catalog
from bough.kernel.catalog import FILE, TABLE, Point
from bough.kernel.clock import SystemClock
from bough.kernel.context import SYSTEM
from bough.kernel.platform import Platform
from tests.depth import times
from tests.programs import OURS

PROCESS = Path(__file__).with_name("branching_process.py").read_text("utf-8")
KILLS = times("BOUGH_KILLS", quick=8, deep=20)  # BOUGH_KILLS=200 takes about three minutes
SEED = 20


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = opened(tmp_path)
    made.operations.call("environments.create", {"project": "shop", "branch": "main"}, SYSTEM)
    made.stop()
    return tmp_path


def opened(home: Path) -> Bough:
    clock = SystemClock()
    return Bough(home, Platform(), engine=FakeEngine(clock), clock=clock)


def values(bough: Bough, name: str) -> dict[str, tuple[Any, Any]]:
    """What each environment has under `name`, of both kinds."""
    found = {}
    with bough.database.read() as tx:
        for row in tx.execute(catalog.head.select()):
            both = [catalog.get(tx, Point(row.layer), kind, name) for kind in (FILE, TABLE)]
            found[row.environment] = (both[0] and both[0].value, both[1] and both[1].value)
    return found


def test_a_kill_leaves_both_sides_of_every_branch_and_merge_whole(home: Path) -> None:
    """Seeded kills: what was said to be merged is there, and never one kind without the other."""
    chance, merged = random.Random(SEED), 0
    process = OURS.start(PROCESS, home, "w0", 10_000)
    for kill in range(KILLS):
        lines = [process.stdout.readline() for _ in range(chance.randint(1, 3))]
        process.ended(chance.random() * 0.03)
        process.kill()
        _, rest = process.wait()
        said = [int(line) for line in [*lines, *rest.splitlines()] if line.strip()]
        bough = opened(home)
        found = values(bough, f"w{kill}")
        bough.stop()
        assert found["main"][0] >= said[-1], "a merge that was reported is lost"
        assert all(one == other for one, other in found.values()), "a change is half there"
        assert said, "the process never got anywhere"
        merged += found["main"][0]
        process = OURS.start(PROCESS, home, f"w{kill + 1}", 10_000)
    process.kill()
    process.wait()
    assert merged >= KILLS


def test_two_processes_that_merge_at_once_lose_nothing(home: Path) -> None:
    processes = [OURS.start(PROCESS, home, name, 15) for name in ("ada", "bob")]
    assert [process.wait()[0] for process in processes] == [0, 0]
    bough = opened(home)
    assert [values(bough, name)["main"] for name in ("ada", "bob")] == [(15, 15), (15, 15)]
    bough.stop()
