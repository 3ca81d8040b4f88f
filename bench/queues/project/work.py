"""The same work as the peers': a line in a file."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import bough

_out = os.open(Path("/tmp/bough-queue-bench.out"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


@dataclass
class Job:
    put_at: float
    text: str


@bough.batch(max_size=64)
def handle(jobs: list[Job]) -> list[None]:
    for job in jobs:
        os.write(_out, b"%f %f\n" % (job.put_at, time.time()))
    return [None] * len(jobs)
