"""Weights of which every process has a piece: saved by all, found again by as many as there are then."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bough.runtime.checkpoints import manifest
from bough.runtime.checkpoints.checking import VARIABLE, Interruptions
from tests.runtime.checkpoints.trained import ROOT

PROGRAM, STEPS = Path(__file__).with_name("pieces.py"), 12
pytestmark = pytest.mark.skipif(
    find_spec("torch") is None or find_spec("safetensors") is None,
    reason="no torch here: pip install torch==2.13.0 safetensors",
)


class Processes:
    """One start of them. `plan`: where the last one is interrupted."""

    def __init__(self, folder: Path, world: int, **plan: Any) -> None:
        with socket.socket() as found:  # where they find each other
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        known = {name: value for name, value in os.environ.items() if not name.startswith("BOUGH_")}
        given = known | {
            "BOUGH_CHECKPOINTS": str(folder), "PYTHONPATH": str(ROOT), "WORLD_SIZE": str(world),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        }  # fmt: skip
        planned = {VARIABLE: msgspec.json.encode(Interruptions(**plan)).decode()} if plan else {}
        self.processes = [
            subprocess.Popen(
                [sys.executable, str(PROGRAM), str(STEPS), "2"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                env=given | {"RANK": str(rank)} | (planned if rank == world - 1 else {}), text=True,
            )
            for rank in range(world)
        ]  # fmt: skip

    def lose(self) -> None:
        """The last one dies, and the others are taken away as whoever runs them would."""
        assert self.processes[-1].wait(timeout=60) == -9
        for each in self.processes:
            each.kill()
            each.communicate()

    def end(self) -> tuple[list[list[float]], list[int]]:
        """All weights, as the first one has them; and how many rows each process holds itself."""
        said = [each.communicate(timeout=60)[0] for each in self.processes]
        assert all(each.returncode == 0 for each in self.processes), said
        lines = [text.splitlines()[-1].split(" ", 4) for text in said]
        assert all(line[:3] == ["end", str(STEPS), str(len(lines))] for line in lines), said
        return json.loads(lines[0][4]), [int(line[3]) for line in lines]


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


def test_what_two_processes_saved_in_pieces_two_find_again_and_one_does(tmp_path: Path) -> None:
    """Weights and momentum: in the end both equal those of a run that nobody interrupted."""
    folder, alone = tmp_path / "pieces", tmp_path / "alone"
    Processes(folder, 2, kill_at_step=8).lose()
    step = manifest.steps(folder)[0]
    assert 0 < step < 8
    assert [shard.rank for shard in manifest.read(manifest.place(folder, step)).shards] == [0, 1]
    shutil.copytree(folder, alone)
    both, one = Processes(folder, 2), Processes(alone, 1)
    expected, found = uninterrupted(), [both.end(), one.end()]
    assert found == [(expected, [4, 3]), (expected, [7])]
