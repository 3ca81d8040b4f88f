"""Several processes, one checkpoint: all of it or none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from bough import checkpoint
from bough.runtime.checkpoints import manifest
from bough.runtime.checkpoints.checking import VARIABLE, Interruptions
from tests.runtime.checkpoints.trained import ROOT

FLEET = Path(__file__).with_name("fleet.py")
STEPS = 30


class Fleet:
    """One start of all processes."""

    started = 0

    def __init__(
        self, folder: Path, world: int, every: str, plans: dict[int, Interruptions] | None = None, steps: int = STEPS
    ) -> None:
        Fleet.started += 1
        meeting = folder.parent / f"meeting-{Fleet.started}"
        meeting.mkdir()
        known = {name: value for name, value in os.environ.items() if not name.startswith("BOUGH_")}
        given = known | {"BOUGH_CHECKPOINTS": str(folder), "PYTHONPATH": str(ROOT), "MEETING": str(meeting),
                         "WORLD_SIZE": str(world), "BOUGH_ATTEMPT": str(Fleet.started)}  # fmt: skip
        self.processes = []
        for rank in range(world):
            plan = (plans or {}).get(rank)
            own = given | {"RANK": str(rank)} | ({VARIABLE: msgspec.json.encode(plan).decode()} if plan else {})
            command = [sys.executable, str(FLEET), str(steps), every]
            self.processes.append(
                subprocess.Popen(command, env=own, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            )

    def end(self) -> list[str]:
        """What each said at its end."""
        said = [process.communicate(timeout=100) for process in self.processes]
        assert all(process.returncode == 0 for process in self.processes), said
        return [out.strip() for out, _ in said]

    def lose(self, rank: int) -> None:
        """One dies, and the others are taken away as whoever runs them would."""
        self.processes[rank].wait(timeout=60)
        for process in self.processes:
            process.kill()
            process.communicate()


def test_all_go_on_from_one_step_and_come_to_the_same(tmp_path: Path) -> None:
    expected = Fleet(tmp_path / "whole", 2, "3").end()
    folder = tmp_path / "cut"
    Fleet(folder, 2, "3", {0: Interruptions(notice_at_step=4)}).end()  # something is on the disk, however slow that is
    for seed, rank in ((12, 1), (18, 0), (24, 1)):
        Fleet(folder, 2, "3", {rank: Interruptions(kill_at_step=seed)}).lose(rank)
    assert manifest.steps(folder)[0] > 5
    assert Fleet(folder, 2, "3").end() == expected


def test_a_process_that_dies_before_its_shard_is_there_leaves_nothing_to_load(tmp_path: Path) -> None:
    """Killed at every moment of its first save, one after the other."""
    for moment in range(1, 6):
        folder = tmp_path / str(moment)
        Fleet(folder, 2, "3", {1: Interruptions(kill_at_moment=moment)}).lose(1)
        for step in manifest.steps(folder):
            assert [shard.rank for shard in manifest.read(manifest.place(folder, step)).shards] == [0, 1]
    whole = Fleet(tmp_path / "1", 2, "3").end()
    assert whole[0].startswith(f"end {STEPS}")


def test_one_that_is_told_to_end_ends_all_at_one_step(tmp_path: Path) -> None:
    expected = Fleet(tmp_path / "whole", 2, "1h").end()
    fleet = Fleet(tmp_path / "told", 2, "1h", {0: Interruptions(notice_at_step=9)})
    ends = fleet.end()
    steps = [int(said.split()[1]) for said in ends]
    assert steps[0] == steps[1] == manifest.steps(tmp_path / "told")[0] <= 9 + 3
    assert Fleet(tmp_path / "told", 2, "1h").end() == expected


def test_a_process_that_does_not_keep_step_with_the_others_says_that_nothing_is_saved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (checkpoint.open(tmp_path, every=1, rank=rank, world=2) for rank in (0, 1))
    first.save(1, {"w": 1.0})  # announces the third
    second.save(2, {"w": 1.0})
    assert capsys.readouterr().err == ""
    second.save(9, {"w": 1.0})
    assert "process 1 has done step 9 where all were to save step 3" in capsys.readouterr().err
    second.close()
    first.close()
    assert manifest.steps(tmp_path) == []


def test_more_or_fewer_processes_share_what_is_left(tmp_path: Path) -> None:
    Fleet(tmp_path / "c", 3, "1h", {0: Interruptions(notice_at_step=4)}).end()
    at = manifest.steps(tmp_path / "c")[0]
    ends = Fleet(tmp_path / "c", 2, "1h").end()
    assert all(said.startswith(f"end {STEPS}") for said in ends)
    assert len({said.split()[2] for said in ends}) == 1  # the shared weights
    whole = manifest.read(manifest.place(tmp_path / "c", STEPS))
    assert whole.world == 2 and at < STEPS
    with checkpoint.open(str(tmp_path / "c"), rank=0, world=1) as ckpt:
        assert ckpt.restore(migrate=lambda saved: saved.state).state["data"]["taken"] >= 40


def test_told_from_outside_at_any_time_nothing_is_torn(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "c", 2, "2", steps=100_000)
    while not manifest.steps(tmp_path / "c"):
        time.sleep(0.02)
    for process in fleet.processes:
        process.send_signal(signal.SIGTERM)
    ends = fleet.end()
    assert len({said.split()[1] for said in ends}) == 1
