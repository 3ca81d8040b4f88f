"""Several of MLflow's own clients at once: what Bough, `mlflow server` and a canned answer get done in a second.

    python -m bench.registry.crowd [--clients 1,2,4,8] [--seconds 4] [--rounds 3]

One client alone spends most of a call in its own code, whoever answers it: the canned server (`canned.py`), which does
no work, says how much. Each client is a process and writes to a run of its own. MLflow's server has the four workers
that it starts by itself; rounds go over all servers before the next one begins.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.registry.servers import bough_server, mlflow_server, python, running
from tests.ports import free_port

MLFLOWS_OWN_WORKERS = 4
CLIENT = """
import os, sys, time
from mlflow import MlflowClient
from mlflow.entities import Metric
client, seconds = MlflowClient(), float(sys.argv[2])
run = client.create_run(sys.argv[3]).info.run_id
def metric(at): client.log_metric(run, "m", at / 7, step=at)
def batch(at): client.log_batch(run, [Metric(f"b{n}", n, at, at) for n in range(100)])
work = {"log-metric": metric, "log-batch": batch}[sys.argv[1]]
work(0)
print("ready", flush=True)
sys.stdin.readline()
count, end = 0, time.monotonic() + seconds
while time.monotonic() < end:
    count += 1
    work(count)
print(count, flush=True)
"""


def rate(interpreter: Path, url: str, token: str, call: str, clients: int, seconds: float) -> float:
    """Calls per second of so many clients together, from the moment that the last one is ready."""
    environment = os.environ | {"MLFLOW_TRACKING_URI": url, "MLFLOW_TRACKING_TOKEN": token}
    command = [interpreter, "-c", CLIENT, call, str(seconds), "0"]
    crowd = [
        subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(clients)
    ]
    said = [_line(process) for process in crowd]
    assert said == ["ready"] * clients, said
    for process in crowd:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    counts = [int(_line(process)) for process in crowd]
    for process in crowd:
        process.communicate(timeout=60)
    return sum(counts) / seconds


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", default="1,2,4,8")
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # through every `with`: no server is left behind
    interpreter = python()
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as stack:
        folder = Path(name)
        for part in ("theirs", "canned"):
            (folder / part).mkdir()
        url, token = stack.enter_context(bough_server(folder / "ours"))
        theirs = stack.enter_context(mlflow_server(interpreter, folder / "theirs", workers=MLFLOWS_OWN_WORKERS))
        port = free_port()
        command: list[object] = [sys.executable, "-m", "bench.registry.canned", port, url, token]
        canned = f"http://127.0.0.1:{port}"
        stack.enter_context(running(command, folder / "canned", {"PYTHONPATH": str(Path.cwd())}, f"{canned}/version"))
        servers = {"Bough": url, "MLflow": theirs, "canned": canned}
        print(f"{'calls per second':24}{'Bough':>10}{'MLflow':>10}{'canned':>10}{'Bough over MLflow':>20}")
        for call in ("log-metric", "log-batch"):
            for clients in map(int, options.clients.split(",")):
                rates: dict[str, list[float]] = {server: [] for server in servers}
                for _ in range(options.rounds):
                    for server, where in servers.items():
                        rates[server].append(rate(interpreter, where, token, call, clients, options.seconds))
                middle = {server: statistics.median(found) for server, found in rates.items()}
                figures = "".join(f"{middle[server]:>10,.0f}" for server in servers)
                ratio = middle["Bough"] / middle["MLflow"]
                print(f"{f'{call}, {clients} at once':24}{figures}{ratio:>20.1f}", flush=True)
        print("load", *os.getloadavg())


if __name__ == "__main__":
    main()
