"""`kill -9` of everything that has to do with a job: what comes out is what an uninterrupted run gives."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.machine import Machine, kill

KILLS = int(os.environ.get("BOUGH_KILLS", "4"))
STEPS_PER_KILL = 60
VICTIMS = ("job", "shim", "node", "server")
ROOT = Path(__file__).resolve().parents[2]

TRAIN = """
import hashlib, json, os, pathlib, random, time
import bough
from bough import checkpoint

random.seed(7)
state = {"weight": 0.0, "order": hashlib.sha256().hexdigest()}
with checkpoint.open(every=5) as ckpt:
    for step in ckpt.steps(bough.params()["steps"], state):
        drawn = random.random()
        state["weight"] = state["weight"] * 0.999 + drawn
        state["order"] = hashlib.sha256(f"{state['order']} {step} {drawn!r}".encode()).hexdigest()
        time.sleep(0.01)
(pathlib.Path(os.environ["BOUGH_OUTPUT"]) / "result.json").write_text(json.dumps(state))
"""
FILE = """
[jobs.fit]
kind = "train"
command = "python train.py"
timeout_s = 3600
retries = { error = 100000, capacity = 100000 }
"""


@pytest.fixture
def machine() -> Iterator[Machine]:
    with tempfile.TemporaryDirectory(prefix="bk-", dir="/tmp") as folder:
        made = Machine(Path(folder) / "home")
        try:
            made.up()
            yield made
        finally:
            made.down()


@pytest.mark.timeout(120 + 20 * KILLS)
def test_kills_of_job_shim_node_and_server_change_nothing_of_the_result(machine: Machine, tmp_path: Path) -> None:
    steps = max(KILLS, 4) * STEPS_PER_KILL
    dice, killed = random.Random(KILLS), Counter[str]()
    folder = machine.project("lab", FILE, train_py=TRAIN)
    made = machine.bough("train", "--params", f"steps={steps}", "--detach", cwd=folder)
    order = [VICTIMS[at % len(VICTIMS)] for at in range(KILLS)]
    dice.shuffle(order)
    for victim in order:
        time.sleep(dice.uniform(0.3, 1.2))
        killed[victim] += kill_one(machine, made["id"], victim)
    done = ended(machine, folder, made["id"])
    assert done["state"] == "succeeded", done
    print(f"{killed} in {done['attempt']} attempts")
    artifacts = machine.bough("artifacts", "list", done["run"], cwd=folder)
    assert [each["path"] for each in artifacts] == ["result.json"]
    assert artifacts[0]["digest"] and result_of(machine, made["id"]) == uninterrupted(tmp_path, steps)
    assert leases(machine) == [], "whatever it has held is given back"
    assert running(machine, made["id"]) == []


def kill_one(machine: Machine, run: str, victim: str) -> int:
    """1 when there was something to kill."""
    if victim in ("node", "server"):
        try:
            kill(machine.part(victim))
        except FileNotFoundError:  # it is on its way up
            return 0
        return 1
    for path in sorted((machine.home / "units" / f"{run}-0").glob("*/pid.json"), reverse=True):
        if not (path.parent / "exit.json").exists():
            found = json.loads(path.read_text())
            kill(found["pid" if victim == "job" else "shim_pid"])
            return 1
    return 0


def ended(machine: Machine, folder: Path, id: str) -> Any:
    deadline = time.monotonic() + 60 + 20 * KILLS
    while time.monotonic() < deadline:
        done = machine.run("jobs", "show", id, "--json", cwd=folder)
        if done.returncode == 0 and (found := json.loads(done.stdout)["run"]).get("finished_at"):
            return found
        time.sleep(0.3)
    raise AssertionError(done.stdout + done.stderr)


def result_of(machine: Machine, id: str) -> Any:
    return json.loads((machine.home / "jobs" / id / "output" / "result.json").read_text())


def uninterrupted(folder: Path, steps: int) -> Any:
    (folder / "train.py").write_text(TRAIN.replace("time.sleep(0.01)", ""))
    (folder / "output").mkdir()
    around = {**os.environ, "BOUGH_PARAMS": json.dumps({"steps": steps}), "BOUGH_OUTPUT": str(folder / "output")}
    around |= {"BOUGH_CHECKPOINTS": str(folder / "saved"), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "train.py"], cwd=folder, env=around, check=True)
    return json.loads((folder / "output" / "result.json").read_text())


def leases(machine: Machine) -> list[Path]:
    return list((machine.home / "capacity").rglob("lea_*.json"))


def running(machine: Machine, id: str) -> list[int]:
    """Processes that were started for this run."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if f"BOUGH_JOB_RUN={id}".encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found
