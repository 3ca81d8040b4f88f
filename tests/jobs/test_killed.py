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
SEED = int(os.environ.get("BOUGH_SEED", "1"))
STEPS_PER_KILL = 150
VICTIMS = ("job", "shim", "node", "server")
ROOT = Path(__file__).resolve().parents[2]

TRAIN = """
import hashlib, json, os, pathlib, random, time
import bough
from bough import checkpoint

random.seed(7)
state = {"weight": 0.0, "order": hashlib.sha256().hexdigest()}
with checkpoint.open(every=10) as ckpt:
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


@pytest.mark.timeout(600 + 20 * KILLS)
def test_kills_of_job_shim_node_and_server_change_nothing_of_the_result(machine: Machine, tmp_path: Path) -> None:
    steps = max(KILLS, 4) * STEPS_PER_KILL
    dice, killed, hit = random.Random(SEED), Counter[str](), set[int]()
    folder = machine.project("lab", FILE, train_py=TRAIN)
    made = machine.bough("train", "--params", f"steps={steps}", "--detach", cwd=folder)
    order = [VICTIMS[at % len(VICTIMS)] for at in range(KILLS)]
    dice.shuffle(order)
    for victim in order:
        time.sleep(dice.uniform(0.3, 1.2))
        if (machine.home / "jobs" / made["id"] / "output" / "result.json").exists():
            break  # a machine that was fast
        killed[victim] += kill_one(machine, made["id"], victim, hit)
    done = ended(machine, folder, made["id"])
    assert done["state"] == "succeeded", done
    print(f"{dict(killed)} in {done['attempt']} attempts")
    artifacts = machine.bough("artifacts", "list", done["run"], cwd=folder)
    assert [each["path"] for each in artifacts] == ["result.json"]
    assert artifacts[0]["digest"] and result_of(machine, made["id"]) == uninterrupted(tmp_path, steps)
    assert sum(killed.values()) >= KILLS * 0.5
    assert leases(machine) == [], "whatever it has held is given back"
    assert running(machine, made["id"]) == []


def kill_one(machine: Machine, run: str, victim: str, hit: set[int]) -> int:
    """1 when there was something to kill; waits a while for it. `hit`: who was killed before."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        pid = part(machine, victim) if victim in ("node", "server") else process_of(machine, run, victim)
        if pid and pid not in hit and Path(f"/proc/{pid}").exists():
            kill(pid)
            hit.add(pid)
            return 1
        time.sleep(0.02)
    return 0


def part(machine: Machine, name: str) -> int:
    try:
        return machine.part(name)
    except (FileNotFoundError, ValueError):  # it is on its way up
        return 0


def process_of(machine: Machine, run: str, victim: str) -> int:
    """Of the newest attempt; 0 when it has ended."""
    folders = sorted((machine.home / "units" / f"{run}-0").glob("*/pid.json"), key=lambda path: int(path.parent.name))
    if not folders or (folders[-1].parent / "exit.json").exists():
        return 0
    return int(json.loads(folders[-1].read_text())["pid" if victim == "job" else "shim_pid"])


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
