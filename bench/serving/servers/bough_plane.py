"""Bough's data plane alone: node, gateway, and replicas that the node forks from a zygote. No control plane; the
routing table is written here as the server would write it, with key authentication on. `BENCH_SERVICES` services have
`BENCH_WORKERS` replicas each: bench-0, bench-1, ...

    python bough_plane.py HOME PROJECT_FOLDER PYTHON
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from bough.adapters.engine import EXITED, READY, Attempt
from bough.adapters.engine.remote import RemoteEngine
from bough.gateway.models import Key, Route, Table, Target
from bough.kernel.errors import Unavailable
from bough.runtime.frames import Signature
from bough.runtime.spec import ModelSpec, UnitSpec

START_LIMIT_S = 60.0
SERVE = "import sys; from pathlib import Path; from bough.entrypoints.gateway import run; run(Path(sys.argv[1]), "


def main() -> None:
    home, project, python = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    (home / "run").mkdir(parents=True)
    node = subprocess.Popen([sys.executable, "-m", "bough.entrypoints.node", str(home)])
    engine = RemoteEngine(home / "run" / "node.sock")
    model = ModelSpec(reference=f"service:{os.environ['BENCH_WORKLOAD'].capitalize()}", folder=str(project))
    services = {
        f"bench-{service}": [
            UnitSpec(unit=f"bench-{service}-{number}", attempt=1, kind="replica", model=model, python=python,
                     cwd=str(project))
            for number in range(int(os.environ["BENCH_WORKERS"]))
        ]
        for service in range(int(os.environ["BENCH_SERVICES"]))
    }  # fmt: skip
    routes = [_route(service, _ready(engine, units)) for service, units in services.items()]
    key = Key(id="key_bench", hash=hashlib.sha256(os.environ["BENCH_KEY"].encode()).hexdigest(), project="bench")
    table = Table(generation=1, routes=routes, keys=[key])
    (home / "run" / "routes.json").write_bytes(msgspec.json.encode(table))
    arguments = f"'127.0.0.1', {int(os.environ['BENCH_PORT'])})"
    gateway = subprocess.Popen([sys.executable, "-c", SERVE + arguments, str(home)])
    signal.signal(signal.SIGTERM, lambda *_: gateway.terminate())
    gateway.wait()
    for unit in (unit for units in services.values() for unit in units):
        engine.stop(unit.unit, unit.attempt, 1.0)
    node.terminate()
    node.wait()


def _route(service: str, ready: list[Attempt]) -> Route:
    return Route(
        project="bench", environment="main", service=service, deployment=f"dep_{service}", release=1, kind="model",
        targets=[Target(unit=each.unit, address=each.address, attempt=each.attempt) for each in ready],
        access="key", signature=msgspec.convert(ready[0].signature, Signature),
    )  # fmt: skip


def _ready(engine: RemoteEngine, units: list[UnitSpec]) -> list[Attempt]:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        try:
            attempts = [engine.apply(unit) for unit in units]
        except Unavailable:
            attempts = []
        if attempts and all(each.state == READY for each in attempts):
            return attempts
        if gone := [each for each in attempts if each.state == EXITED]:
            sys.exit(f"a replica exited: {gone[0].exit}")
        time.sleep(0.002)
    sys.exit("the replicas did not become ready")


if __name__ == "__main__":
    main()
