"""Short jobs per second: a thousand of them queued at once, on a real server and a real node.

    python -m bench.jobs.queue [--jobs N] [--rounds N]

Each job is `/bin/true` in a shell. What they take by themselves is measured in the same run: as many shells started one
after the other, and as many by the node's engine without any queue. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bough.adapters.engine import EXITED
from bough.adapters.engine.remote import RemoteEngine
from bough.runtime.spec import UnitSpec
from tests.journeys.machine import Machine

COMMAND = "/bin/true"


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--jobs", type=int, default=1000)
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bq-", dir="/tmp"))
    machine = Machine(folder / "home")
    try:
        machine.up()
        project = machine.project(
            "short", f'[jobs.one]\ncommand = "{COMMAND}"\n[jobs.many]\ncommand = "{COMMAND}"\narray = {given.jobs}\n'
        )
        machine.bough("train", "one", cwd=project)  # builds the environment
        shells = given.jobs / seconds_of(lambda: shells_alone(given.jobs))
        bare = given.jobs / seconds_of(lambda: engine_alone(machine, given.jobs))
        rounds = [queued(machine, project, given.jobs) for _ in range(given.rounds)]
        rate = statistics.median(each["per_s"] for each in rounds)
        own = 1 / bare
        beyond = max(1 / rate - own, 1e-9)
        print(json.dumps({
            "jobs": given.jobs, "per_s": round(rate, 1), "rounds": [round(each["per_s"], 1) for each in rounds],
            "shells_alone_per_s": round(shells, 1), "engine_alone_per_s": round(bare, 1),
            "per_s_beyond_the_engine": round(1 / beyond, 1), "server_cpu_s": rounds[-1]["server_cpu_s"],
            "node_cpu_s": rounds[-1]["node_cpu_s"], "load": os.getloadavg()[0],
        }))  # fmt: skip
    finally:
        machine.down()
        shutil.rmtree(folder, ignore_errors=True)


def queued(machine: Machine, project: Path, jobs: int) -> dict[str, Any]:
    before = {name: cpu_of(machine.part(name)) for name in ("server", "node")}
    made = machine.bough("train", "many", "--detach", cwd=project)
    while True:
        shown = machine.bough("jobs", "list", "many", "--limit", "1", cwd=project)
        if shown[0]["finished_at"]:
            break
        time.sleep(3)  # the run knows how long it took: who looks more often takes a tenth of the machine
    run = next(each for each in shown if each["id"] == made["id"])
    assert run["state"] == "succeeded", run
    took = run["finished_at"] - run["created_at"]
    used = {f"{name}_cpu_s": round(cpu_of(machine.part(name)) - before[name], 2) for name in before}
    return {"per_s": jobs / took, **used}


def shells_alone(number: int) -> None:
    for _ in range(number):
        subprocess.run(["/bin/sh", "-c", COMMAND], check=True)


def engine_alone(machine: Machine, number: int) -> None:
    """Eight at a time, as the queue runs them on two cores."""
    engine = RemoteEngine(machine.home / "run" / "node.sock")
    left, running, cursor = [f"bench-{at}" for at in range(number)], set[str](), 0
    while left or running:
        while left and len(running) < 8:
            unit = left.pop()
            engine.apply(UnitSpec(unit=unit, attempt=1, kind="job", argv=["/bin/sh", "-c", COMMAND]))
            running.add(unit)
        hints = engine.watch(cursor, 0.5)
        cursor = max([cursor, *(hint.cursor for hint in hints)])
        ended = {each.unit for each in engine.snapshot() if each.unit in running and each.state == EXITED}
        for unit in ended:
            engine.forget(unit)
        running -= ended


def seconds_of(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
