"""What a mirror costs callers, and how long a replay of 1,000 requests takes.

    make bench-mirrors [ARGS="--pairs 150 --pause-ms 5"]

A platform of its own with the credit classifier of the examples, in production and in a branch. One connection asks in
short turns, one with the mirror and one without in each pair, in an order that chance chooses; what a mirror costs is
the median of the differences of the pairs' p50s, with the interval that holds it in 95 of 100 such runs (from the ranks
of the differences, so that no distribution is assumed). Between two requests it pauses, as callers do who have
something else to do; with --pause-ms 0 the branch answers each copy beside the caller's next request. What slows the
machine for longer than a pair slows both turns. Then 1,000 kept requests are replayed, REPLAYS times. Prints one JSON
line per figure.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import math
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from bough.client import Client, connect  # noqa: E402 - of this checkout, as the one below
from tests.journeys.machine import Machine  # noqa: E402

TURN_S, FIRST_S, REPLAYS, REPLAYED = 0.3, 0.03, 5, 1000
UNKEPT = 100  # more are asked: the first come before the gateway keeps them, the last are not written yet
EXAMPLE, PROJECT = ROOT / "examples" / "credit-risk", "credit-risk"
KEEP = "\n[services.credit.keep]\nrequests = 1000\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=150)
    parser.add_argument("--samples", nargs="+", default=["5%", "100%"])
    parser.add_argument("--pause-ms", type=float, default=5.0)
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bm-", dir="/tmp"))
    machine = Machine(folder / "home")
    try:
        machine.up()
        measure(machine, folder, asked)
    finally:
        machine.down()
        shutil.rmtree(folder, ignore_errors=True)


def measure(machine: Machine, folder: Path, asked: argparse.Namespace) -> None:
    pairs, samples = asked.pairs, asked.samples
    project = folder / PROJECT
    shutil.copytree(EXAMPLE, project)
    machine.deploy(project)
    machine.bough("branch", "create", "experiment", cwd=project)
    machine.deploy(project, "-e", "experiment")
    question = (project / "example.json").read_bytes()
    with contextlib.closing(connect(machine.home)) as client:
        caller = Caller(machine, question, asked.pause_ms / 1000)
        caller.turn(5 * TURN_S)  # everything is warm
        say(what="p50, twice without a mirror", **compared(caller, contextlib.nullcontext, pairs))
        for sample in samples:
            found = compared(caller, lambda sample=sample: mirrored(machine, client, sample), pairs)
            say(what=f"p50 with {sample} mirrored", **found)
    with (project / "bough.toml").open("a") as file:
        file.write(KEEP)
    machine.deploy(project)
    with contextlib.closing(connect(machine.home)) as client:
        for _ in range(REPLAYED + UNKEPT):
            caller.ask()
        say(what=f"replay of {REPLAYED} requests", seconds=statistics.median(replays(client)))


class Caller:
    """One connection that asks one request after another, `pause_s` after each answer."""

    def __init__(self, machine: Machine, question: bytes, pause_s: float) -> None:
        self._question, self._pause_s = question, pause_s
        self._connection = http.client.HTTPConnection("127.0.0.1", machine.gateway_port)

    def ask(self) -> float:
        began = time.perf_counter()
        headers = {"Content-Type": "application/json"}
        self._connection.request("POST", f"/v1/credit.{PROJECT}/predict", self._question, headers)
        answer = self._connection.getresponse()
        body = answer.read()
        assert answer.status == 200, body
        return time.perf_counter() - began

    def turn(self, seconds: float) -> float:
        """The median of the seconds from request to answer, but for the first few."""
        end = time.perf_counter() + FIRST_S
        while time.perf_counter() < end:
            self.ask()
        spent, end = [], time.perf_counter() + seconds
        while time.perf_counter() < end:
            spent.append(self.ask())
            time.sleep(self._pause_s)
        return statistics.median(spent)


def compared(caller: Caller, change: Any, pairs: int) -> dict[str, Any]:
    """What `change` adds to the p50, in percent of it: the median of the pairs and its interval."""
    chance, differences, plain = random.Random(7), [], []
    for _ in range(pairs):
        found: dict[bool, float] = {}
        for changed in chance.sample([False, True], 2):
            with change() if changed else contextlib.nullcontext():
                found[changed] = caller.turn(TURN_S)
        plain.append(found[False])
        differences.append(found[True] - found[False])
    base = statistics.median(plain)
    low, high = interval(differences)
    percent = [round(100 * each / base, 2) for each in (statistics.median(differences), low, high)]
    return {"base_ms": round(1000 * base, 4), "added_percent": percent[0], "interval_95": percent[1:], "pairs": pairs}


def interval(values: list[float]) -> tuple[float, float]:
    """Of the median, at 95 %: by ranks (normal approximation of the binomial)."""
    ordered, half = sorted(values), 1.96 * math.sqrt(len(values)) / 2
    low, high = math.floor(len(values) / 2 - half), math.ceil(len(values) / 2 + half)
    return ordered[max(0, low)], ordered[min(len(values) - 1, high)]


@contextlib.contextmanager
def mirrored(machine: Machine, client: Client, sample: str) -> Iterator[None]:
    """While the gateway's table has the mirror."""
    made = client.mirrors.start(project=PROJECT, environment="main", to="experiment", sample=sample)
    until_table(machine, made.id, there=True)
    try:
        yield
    finally:
        client.mirrors.stop(id=made.id)
        until_table(machine, made.id, there=False)


def until_table(machine: Machine, id: str, *, there: bool) -> None:
    path = machine.home / "run" / "routes.json"
    deadline = time.monotonic() + 30
    while (id in path.read_text()) is not there:
        assert time.monotonic() < deadline, f"the table never changed for {id}"
        time.sleep(0.005)
    time.sleep(0.05)  # the gateway reads it


def replays(client: Client) -> list[float]:
    found = []
    for _ in range(REPLAYS):
        made = client.replays.start(project=PROJECT, source="main", to="experiment", last=REPLAYED)
        while (state := client.replays.show(id=made.id)).state == "running":
            time.sleep(0.05)
        (service,) = client.mirrors.report(id=made.id).services
        assert service.compared == service.same == REPLAYED, service
        found.append(round(state.finished_at - state.started_at, 3))
    return found


def say(**found: Any) -> None:
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
