"""Weights of which every process has a piece: saved by all, found again by as many as there are then."""

from __future__ import annotations

import importlib
import json
import shutil
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import msgspec
import pytest

from bough.runtime.checkpoints import manifest
from bough.runtime.checkpoints.checking import VARIABLE, Interruptions
from tests.examples.forking import Forks

PROGRAM, STEPS = Path(__file__).with_name("pieces.py"), 12
pytestmark = pytest.mark.skipif(
    find_spec("torch") is None or find_spec("safetensors") is None,
    reason="no torch here: pip install torch==2.13.0 safetensors",
)


class Processes:
    """Starts of them, each a fork of a process that has torch in memory."""

    def __init__(self, forks: Forks, folder: Path) -> None:
        self._forks, self._folder, self._starts = forks, folder, 0

    def lose(self, checkpoints: Path, world: int, *, kill_at_step: int) -> None:
        """The last one dies, and the others are taken away."""
        statuses, _ = self._run(checkpoints, world, Interruptions(kill_at_step=kill_at_step))
        assert statuses == [-signal.SIGKILL] * world

    def end(self, checkpoints: Path, world: int) -> tuple[list[list[float]], list[int]]:
        """All weights, as the first one has them; and how many rows each process holds itself."""
        statuses, said = self._run(checkpoints, world, None)
        assert statuses == [0] * world, said
        lines = [text.splitlines()[-1].split(" ", 4) for text in said]
        assert all(line[:3] == ["end", str(STEPS), str(world)] for line in lines), said
        return json.loads(lines[0][4]), [int(line[3]) for line in lines]

    def _run(self, checkpoints: Path, world: int, plan: Interruptions | None) -> tuple[list[int], list[str]]:
        """Statuses, and what they said. `plan`: where the last one is interrupted."""
        self._starts += 1
        start = self._folder / f"start-{self._starts}"
        start.mkdir()
        given = {"BOUGH_CHECKPOINTS": str(checkpoints), "WORLD_SIZE": str(world), "MEETING": str(start / "meeting"),
                 "STEPS": str(STEPS), "EVERY": "2"}  # fmt: skip
        planned = {} if plan is None else {VARIABLE: msgspec.json.encode(plan).decode()}
        logs = [start / str(rank) for rank in range(world)]
        statuses = self._forks.run([
            {"program": str(PROGRAM), "folder": str(start), "log": str(log),
             "variables": given | {"RANK": str(rank)} | (planned if rank == world - 1 else {})}
            for rank, log in enumerate(logs)
        ])  # fmt: skip
        return statuses, [log.read_text() for log in logs]


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    forks = Forks("torch.distributed.tensor", "torch.distributed.device_mesh", "bough.checkpoint")
    yield Processes(forks, tmp_path)
    forks.end()


def uninterrupted() -> list[list[float]]:
    """The same without pieces, processes and checkpoints."""
    torch = importlib.import_module("torch")
    torch.manual_seed(1)
    weight = torch.nn.Linear(3, 7, bias=False).weight
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    for step in range(STEPS):
        weight.grad = weight.detach() * 0.5 + step
        optimizer.step()
    found: list[list[float]] = weight.tolist()
    return found


def test_what_two_processes_saved_in_pieces_two_find_again_and_one_does(tmp_path: Path, processes: Processes) -> None:
    """Weights and momentum: in the end both equal those of a run that nobody interrupted."""
    folder, alone = tmp_path / "pieces", tmp_path / "alone"
    processes.lose(folder, 2, kill_at_step=8)
    step = manifest.steps(folder)[0]
    assert 0 < step < 8
    assert [shard.rank for shard in manifest.read(manifest.place(folder, step)).shards] == [0, 1]
    shutil.copytree(folder, alone)
    expected, found = uninterrupted(), [processes.end(folder, 2), processes.end(alone, 1)]
    assert found == [(expected, [4, 3]), (expected, [7])]
