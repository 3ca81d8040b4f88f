"""How long it takes to find who is next among thousands that wait in several queues: part of every turn of jobs.

    python -m bench.jobs.order [--jobs N] [--asked N] [--rounds N]

A turn asks those whose turn it is until fifty in a row have found no room (`placing.py`). Prints one JSON line:
milliseconds for so many, the best of the rounds, by the number of queues.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from itertools import islice

from bough.environments.models import JobManifest
from bough.jobs import rules
from bough.jobs.machine import Machine, part_asked
from bough.jobs.models import QUEUED, JobRun
from bough.jobs.placing import LOOKED_AT_MOST
from bough.kernel.workloads import Job

HERE = Machine(cpus=2.0, memory_mb=4096)
QUEUES = (1, 3, 10)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--jobs", type=int, default=1000)
    options.add_argument("--asked", type=int, default=LOOKED_AT_MOST)
    options.add_argument("--rounds", type=int, default=20)
    given = options.parse_args()
    found = {}
    for queues in QUEUES:
        runs = [waiting(at, f"q{at % queues}") for at in range(given.jobs)]
        found[queues] = round(min(took_s(runs, given.asked) for _ in range(given.rounds)) * 1000, 2)
    print(json.dumps({"jobs": given.jobs, "asked": given.asked, "ms_by_queues": found, "load": os.getloadavg()[0]}))


def waiting(number: int, queue: str) -> JobRun:
    return JobRun(
        id=f"jr_{number:06}", project="lab", environment="main", job="fit", release=1, by="ada", state=QUEUED, said="",
        manifest=JobManifest(settings=Job(command="x", queue=queue), bundle=""), created_at=float(number),
    )  # fmt: skip


def took_s(runs: list[JobRun], asked: int) -> float:
    began = time.perf_counter()
    turns = iter(rules.turn_order(runs, {}, {}, lambda run: part_asked(HERE, run)))
    assert len(list(islice(turns, asked))) == min(asked, len(runs))
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
