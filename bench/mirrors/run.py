"""What a mirror costs callers, and how long a replay of 1,000 requests takes.

    make bench-mirrors

A platform of its own with the credit classifier of the examples, in production and in a branch. One connection asks in
turns of TURN_S, with the mirror (5 % and 100 %) and without, ROUNDS times in changing order; the figure is the ratio of
the medians of the p50s. Then 1,000 kept requests are replayed, ROUNDS times. Prints one JSON line per figure.
"""

from __future__ import annotations

import http.client
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.journeys.machine import Machine  # noqa: E402 - of this checkout

TURN_S, ROUNDS, REPLAYED = 2.0, 5, 1000
EXAMPLE = ROOT / "examples" / "credit-risk"
KEEP = "\n[services.credit.keep]\nrequests = 1000\n"


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="bm-", dir="/tmp"))
    machine = Machine(folder / "home")
    try:
        machine.up()
        measure(machine, folder)
    finally:
        machine.down()
        shutil.rmtree(folder, ignore_errors=True)


def measure(machine: Machine, folder: Path) -> None:
    project = folder / "credit-risk"
    shutil.copytree(EXAMPLE, project)
    with (project / "bough.toml").open("a") as file:
        file.write(KEEP)
    machine.deploy(project)
    machine.bough("branch", "create", "experiment", cwd=project)
    machine.deploy(project, "-e", "experiment")
    service, question = asked(machine, project)
    plain: list[float] = []
    mirrored: dict[str, list[float]] = {"5%": [], "100%": []}
    turn(machine, service, question)  # everything is warm
    for _ in range(ROUNDS):
        plain.append(turn(machine, service, question))
        for sample, found in mirrored.items():
            made = machine.bough("mirror", "main", "--to", "experiment", "--sample", sample, cwd=project)
            time.sleep(1.0)
            found.append(turn(machine, service, question))
            machine.bough("mirrors", "stop", made["id"], cwd=project)
            time.sleep(1.0)
    base = statistics.median(plain)
    say(what="p50 without a mirror", ms=round(1000 * base, 4), spread=spread(plain))
    for sample, found in mirrored.items():
        ratio = statistics.median(found) / base
        say(what=f"p50 with {sample} mirrored", ms=round(1000 * statistics.median(found), 4), ratio=round(ratio, 3))
    say(what=f"replay of {REPLAYED} requests", seconds=statistics.median(replays(machine, project)))


def turn(machine: Machine, service: str, question: bytes) -> float:
    """The median of the seconds from request to answer, one after another."""
    connection = http.client.HTTPConnection("127.0.0.1", machine.gateway_port)
    spent, end = [], time.perf_counter() + TURN_S
    while time.perf_counter() < end:
        began = time.perf_counter()
        connection.request("POST", f"/v1/{service}/predict", question, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        body = answer.read()
        spent.append(time.perf_counter() - began)
        assert answer.status == 200, body
    connection.close()
    return statistics.median(spent)


def replays(machine: Machine, project: Path) -> list[float]:
    found = []
    for _ in range(ROUNDS):
        made = machine.bough("replay", "--to", "experiment", "--last", str(REPLAYED), cwd=project)
        while (state := machine.bough("replays", "show", made["id"], cwd=project))["state"] == "running":
            time.sleep(0.05)
        report = machine.bough("mirrors", "report", made["id"], cwd=project)
        assert report["services"][0]["compared"] == report["services"][0]["same"] == REPLAYED, report
        found.append(round(state["finished_at"] - state["started_at"], 3))
    return found


def asked(machine: Machine, project: Path) -> tuple[str, bytes]:
    (service,) = machine.bough("status", cwd=project)["services"]
    return f"{service['service']}.credit-risk", (project / "example.json").read_bytes()


def spread(values: list[float]) -> float:
    return round((max(values) - min(values)) / statistics.median(values), 3)


def say(**found: Any) -> None:
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
