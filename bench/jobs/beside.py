"""What a training job does to the services beside it: latency of one service, idle, with a job that uses every core,
and with the same program started outside of Bough, in turns.

    python -m bench.jobs.beside [--requests N] [--rounds N]

One client asks one request after the other over one connection. Prints one JSON line: medians over the rounds.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.journeys.machine import Machine, wait_until

SERVICE = "class Echo:\n    def predict(self, text: str) -> str:\n        return text\n"
BURN = """
import multiprocessing, os, pathlib, sys

def burn() -> None:
    number = 1
    while True:
        number = number * 16807 % 2147483647

if __name__ == "__main__":
    for _ in range(int(sys.argv[1]) - 1):
        multiprocessing.Process(target=burn, daemon=True).start()
    pathlib.Path(sys.argv[2], "burning").touch()
    burn()
"""


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--requests", type=int, default=1500)
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bb-", dir="/tmp"))
    machine = Machine(folder / "home")
    cores = len(os.sched_getaffinity(0))
    try:
        machine.up()
        command = f"exec python burn.py {cores} $BOUGH_CHECKPOINTS"
        toml = f'[services.echo]\nmodel = "service:Echo"\n[jobs.burn]\ncommand = "{command}"\n'
        project = machine.project("beside", toml, service_py=SERVICE, burn_py=BURN)
        machine.deploy(project)
        ask(machine, 300)
        found: dict[str, list[float]] = {"idle": [], "job": [], "outside": []}
        for _ in range(given.rounds):
            found["idle"].append(ask(machine, given.requests))
            found["job"].append(beside_a_job(machine, project, given.requests))
            found["outside"].append(beside_a_program(machine, project, cores, given.requests))
        medians = {name: statistics.median(values) for name, values in found.items()}
        print(json.dumps({
            "p95_ms": {name: round(value, 3) for name, value in medians.items()},
            "job_over_idle": round(medians["job"] / medians["idle"], 2),
            "outside_over_idle": round(medians["outside"] / medians["idle"], 2),
            "rounds": {name: [round(value, 3) for value in values] for name, values in found.items()},
            "cores": cores, "load": os.getloadavg()[0],
        }))  # fmt: skip
    finally:
        machine.down()
        shutil.rmtree(folder, ignore_errors=True)


def beside_a_job(machine: Machine, project: Path, requests: int) -> float:
    made = machine.bough("train", "burn", "--detach", cwd=project)
    burning = machine.home / "checkpoints" / made["id"] / "burning"
    wait_until(burning.exists, "the job burns", 60)
    took = ask(machine, requests)
    machine.bough("jobs", "cancel", made["id"], cwd=project)
    wait_until(lambda: machine.bough("jobs", "show", made["id"], cwd=project)["run"].get("finished_at"), "its end", 60)
    return took


def beside_a_program(machine: Machine, project: Path, cores: int, requests: int) -> float:
    (project / "burning").unlink(missing_ok=True)
    program = subprocess.Popen(
        [sys.executable, "burn.py", str(cores), str(project)], cwd=project, start_new_session=True
    )
    try:
        wait_until((project / "burning").exists, "the program burns", 60)
        return ask(machine, requests)
    finally:
        os.killpg(program.pid, 9)
        program.wait()


def ask(machine: Machine, requests: int) -> float:
    """The 95th percentile in milliseconds."""
    connection = http.client.HTTPConnection("127.0.0.1", machine.gateway_port, timeout=60)
    took = []
    for _ in range(requests):
        began = time.perf_counter()
        connection.request("POST", "/v1/echo/predict", b'"x"', {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        took.append((time.perf_counter() - began) * 1000)
        assert answer.status == 200
    connection.close()
    return sorted(took)[int(len(took) * 0.95)]


if __name__ == "__main__":
    main()
