"""A job on machines that are taken away: planned before it starts, drilled while it runs, counted when it has ended."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.machine import Machine

TOML = """
[jobs.fit]
kind = "train"
command = "python train.py"
capacity = "auto"
work_s = 5
deadline_s = 300
"""
# A sum that depends on the order of its samples: what is lost, or done twice, shows.
TRAIN = """
import time
import bough
from bough import checkpoint

TOTAL = 80
data = checkpoint.Samples(600, batch_size=4, seed=7)
state = {"data": data, "sum": 1}
ckpt = checkpoint.open(total=TOTAL).every(5)
step = ckpt.restore(state).step
print("begins at", step, flush=True)
for rows in data:
    for row in rows:
        state["sum"] = (state["sum"] * 31 + int(row)) % 1_000_003
    step += 1
    time.sleep(bough.params(pause=0.03)["pause"])
    ckpt.save(step, state)
    if ckpt.should_stop():
        raise SystemExit(0)
    if step == TOTAL:
        break
ckpt.done(state)
print("sum", state["sum"], flush=True)
"""
POOLS = """
[pools.market]
kind = "spot"
provider = "replay"
zones = {{ here = 0.9, there = 1.0 }}
notice_s = 120
speed = 60
trace = "{trace}"

[pools.sure]
kind = "on-demand"
zones = {{ here = 3.0 }}
speed = 60
"""


def test_a_job_is_planned_taken_away_goes_on_and_is_counted(new_machine: Machine) -> None:
    machine = new_machine
    trace = machine.home / "always.csv"
    trace.write_text("trace,gap_s,rle\nhere,3600,1x1000\nthere,3600,1x1000\n")
    (machine.home / "settings.toml").write_text(POOLS.format(trace=trace))
    machine.up()
    project = machine.project("spots", TOML, train_py=TRAIN)
    machine.deploy(project)
    pools = machine.bough("capacity", "pools", cwd=project)
    assert {each["pool"] for each in pools} >= {"market", "sure"}, pools
    picture = project / "plan.svg"
    plan = machine.bough("plan", "train", "fit", "--svg", str(picture), cwd=project)
    assert 0 < plan["cost"] <= plan["on_demand_cost"], plan
    drawn = picture.read_text()
    assert drawn.startswith("<svg") and drawn.count(">now<") == 2 and "while none is" in drawn
    assert plan["resume"] == "untried"
    said = machine.run("plan", "train", "fit", cwd=project).stdout
    assert "fit has not passed check resume, so it will run on-demand: bough check resume fit" in said
    assert said.count(" 0 ▏") == 2 and said.count("  now  ") == 2, "both maps have their scales"

    alone = trained(machine, project, preempted=False)
    assert "bough check resume fit" in alone[1], "nothing has shown yet that it may use spot"
    machine.bough("check", "resume", "fit", cwd=project)
    assert machine.bough("plan", "train", "fit", cwd=project)["resume"] == "passed"
    found = trained(machine, project, preempted=True)
    assert "of spot in" in found[1] and "check resume" not in found[1], found[1]
    sums = [alone[0], found[0]]
    assert sums[0] == sums[1], "no sample was lost, and none came twice"
    newest = machine.bough("jobs", "list", cwd=project)[0]["id"]
    timeline = [each["what"] for each in machine.bough("jobs", "show", newest, cwd=project)["timeline"]]
    assert {"capacity: start", "stopping", "gave back"} <= set(timeline), timeline
    (saved,) = machine.bough("capacity", "savings", cwd=project)
    assert (saved["job"], saved["runs"]) == ("fit", 2) and saved["leases"] >= 3 and saved["cost"] > 0
    assert {each["pool"] for each in saved["pools"]} == {"market", "sure"}, found[1]
    costs = machine.bough("jobs", "costs", cwd=project)
    leases = [
        each["data"]["cost"]
        for run in machine.bough("jobs", "list", cwd=project)
        for each in machine.bough("jobs", "show", run["id"], cwd=project)["timeline"]
        if each["what"] == "gave back"
    ]
    for total in (sum(leases), sum(each["cost"] for each in costs), sum(each["cost"] for each in saved["pools"])):
        assert total == pytest.approx(saved["cost"], abs=1e-3), "what was saved rests on what was paid, lease by lease"


def trained(machine: Machine, project: Path, *, preempted: bool) -> tuple[str, str]:
    """What a run comes to, and what is said of its places."""
    id = machine.bough("train", "fit", "--detach", "--params", "pause=0.05", cwd=project)["id"]
    if preempted:
        wait(lambda: machine.asked("jobs.show", id=id).get("progress", {}).get("step", 0) > 20)
        (taken,) = machine.bough("chaos", "preempt", id, "--notice", "2s", cwd=project)
        assert taken["run"] == id, taken
    ended = wait(lambda: end_of(machine, id), 150)
    assert ended["state"] == "succeeded", ended
    assert (ended["attempt"] >= 2) == preempted
    said = machine.run("jobs", "logs", id, cwd=project).stdout
    places = [each["said"] for each in machine.bough("jobs", "show", id, cwd=project)["timeline"]]
    return said[said.index("sum ") :].split()[1], "; ".join(places)


def end_of(machine: Machine, id: str) -> Any:
    found = machine.asked("jobs.show", id=id)["run"]
    return found if found["state"] in ("succeeded", "failed", "cancelled") else None


def wait(until: Any, seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := until()):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    return found
