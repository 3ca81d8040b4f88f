"""Programs that take an interruption well, and programs that only seem to."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from bough.builds import reading, resumable, resuming
from bough.builds.contract import BROKEN, KEPT, UNPROVEN, Promise
from bough.kernel.workloads import Job

ROOT = Path(__file__).parents[2]

GOOD = """
import random
import bough
from bough import checkpoint

random.seed(3)
data = checkpoint.Samples(40, batch_size=2, seed=1)
state = {"data": data, "weight": 0.0, "momentum": [0.0, 0.0]}
with bough.run("try") as run, checkpoint.open(every=5) as ckpt:
    rows = None
    for step in ckpt.steps(14, state):
        rows = rows or iter(data)
        found = next(rows)
        state["momentum"][0] = 0.5 * state["momentum"][0] + found[0] + random.random()
        state["weight"] += state["momentum"][0]
        run.log_metrics({"weight": state["weight"]}, step=step)
"""
# What is changed of it, which promise that breaks, and what is said.
BAD = {
    "weights": [('state = {"data": data, "weight": 0.0, "momentum": [0.0, 0.0]}',
                 'state = {"data": data, "weight": 0.0}; kept = {"momentum": [0.0, 0.0]}'),
                ('state["momentum"]', 'kept["momentum"]')],
    "unseeded": [("random.seed(3)", "pass")],
    "samples": [('"data": data, ', "")],
    "stops": [("for step in ckpt.steps(14, state):", "for step in range(ckpt.restore(state).step, 14):"),
              ('run.log_metrics({"weight": state["weight"]}, step=step)', "ckpt.save(step + 1, state)")],
    "restores": [("for step in ckpt.steps(14, state):", "for step in range(14):"),
                 ('run.log_metrics({"weight": state["weight"]}, step=step)',
                  "ckpt.save(step + 1, state)\n        if ckpt.should_stop(): break")],
    "runs": [("random.seed(3)", "raise SystemExit('no data here')")],
}  # fmt: skip


def tried(folder: Path, program: str, *, steps: int = 10, interruptions: int = 2, seed: int = 2) -> dict[str, Promise]:
    (folder / "train.py").write_text(program)
    known = {name: value for name, value in os.environ.items() if not name.startswith("BOUGH_")}
    trial = resuming.Trial(
        argv=[sys.executable, "train.py"], cwd=str(folder), environment=known | {"PYTHONPATH": str(ROOT)},
        steps=steps, interruptions=interruptions, seed=seed,
    )  # fmt: skip
    told: list[str] = []
    found = {each.name: each for each in resuming.check(trial, told.append)}
    assert told
    return found


def test_a_program_that_keeps_everything_passes(tmp_path: Path) -> None:
    found = tried(tmp_path, GOOD)
    assert {name: each.state for name, each in found.items()} == dict.fromkeys(
        ("runs", "saves", "stops", "restores", "samples", "weights"), KEPT
    )


@pytest.mark.parametrize(("steps", "seed"), [(2, 0), (5, 0), (6, 1)])
def test_it_passes_wherever_it_is_interrupted(tmp_path: Path, steps: int, seed: int) -> None:
    found = tried(tmp_path, GOOD.replace("14", "60"), steps=steps, interruptions=5, seed=seed)
    assert {each.state for each in found.values()} == {KEPT}, found


@pytest.mark.parametrize("broken", BAD)
def test_what_is_missing_is_found_and_named(tmp_path: Path, broken: str) -> None:
    program = GOOD
    for old, new in BAD[broken]:
        assert old in program
        program = program.replace(old, new)
    found = tried(tmp_path, program)
    name = "weights" if broken == "unseeded" else broken
    assert found[name].state == BROKEN, found
    assert [each.name for each in found.values() if each.state == BROKEN] == [name]
    if broken == "unseeded":
        assert "two undisturbed runs differ" in found[name].detail
    if broken == "weights":
        assert "this depends on: generators of its own" in found[name].hint, "the data go on where they were"
    if broken == "runs":
        assert "no data here" in found[name].detail


def test_files_are_read_against_the_checklist(tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    path.write_text(GOOD)
    assert [(each.name, each.state) for each in reading.read([path])] == [("uses", KEPT), ("seeded", KEPT)]
    path.write_text(
        "import torch\nfrom torch.utils.data import DataLoader\nfor x in DataLoader(d, shuffle=True): pass\n"
    )
    found = {each.name: each for each in reading.read([path])}
    assert found["uses"].state == BROKEN and "bough.checkpoint" in found["uses"].detail
    assert found["seeded"].state == UNPROVEN and "torch" in found["seeded"].detail
    assert found["order"].state == UNPROVEN and "train.py:3" in found["order"].detail
    path.write_text("from bough import checkpoint\ncheckpoint.open().save(1, {})\n")
    assert "restore or should_stop" in reading.read([path])[0].detail


def test_a_pass_holds_until_files_or_command_change(tmp_path: Path) -> None:
    job = Job(command="python train.py")
    name = resumable.key("a" * 64, job)
    assert resumable.found(tmp_path, name) is None
    resumable.record(tmp_path, name, [Promise(name="weights", state=KEPT)], passed=True)
    found = resumable.found(tmp_path, name)
    assert found is not None and found.passed
    assert resumable.found(tmp_path, resumable.key("b" * 64, job)) is None
    assert resumable.found(tmp_path, resumable.key("a" * 64, Job(command="python other.py"))) is None
