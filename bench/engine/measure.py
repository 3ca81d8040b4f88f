"""Figures of the local engine on this machine: `python -m bench.engine.measure` prints one JSON line each.

A no-op model (tests/adapters/engine_loader) stands in for real ones, so that only the engine's own share is measured.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bough.adapters.engine import Attempt, Engine
from bough.adapters.engine.local import LocalEngine
from bough.adapters.engine.remote import RemoteEngine
from bough.kernel.errors import Unavailable
from bough.runtime.spec import ModelSpec, UnitSpec

ROUNDS = 50
LOADER = Path(__file__).parents[2] / "tests" / "adapters" / "engine_loader"


def main() -> None:
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # it makes every start two to five times slower
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="bb-") as name:
        engine = LocalEngine(Path(name), loader="engine_loader_module")
        measure("local", engine)
        engine.drain("local", 0.0, "measured")
        engine.close()
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="bb-") as name:
        node, remote = start_node(Path(name))
        measure("node", remote)
        remote.drain("local", 0.0, "measured")
        remote.close()
        node.terminate()
        node.wait()


def measure(where: str, engine: Engine) -> None:
    commands = [timed(lambda n=n: begin(engine, command(n), "running")) for n in range(ROUNDS)]  # type: ignore[misc]
    report(where, "command: apply to running, ms", commands[1:])
    first = timed(lambda: begin(engine, replica(0), "ready"))
    report(where, "first replica: zygote and all, ms", [first])
    replicas = [timed(lambda n=n: begin(engine, replica(n), "ready")) for n in range(1, ROUNDS)]  # type: ignore[misc]
    report(where, "replica: apply to ready, ms", replicas)
    wakes = []
    for number in range(1, ROUNDS):
        attempt = state(engine, f"r{number}")
        os.kill(attempt.pid, signal.SIGKILL)
        until(engine, f"r{number}", "exited")
        wakes.append(timed(lambda a=attempt: wake_and_ask(engine, a)))  # type: ignore[misc]
    report(where, "replica: wake to answered, ms", wakes)
    for number in range(1, ROUNDS):
        until(engine, f"r{number}", "ready")
    report(where, "shim of a command: PSS, MB", [pss_mb(parent(state(engine, f"c{n}").pid)) for n in range(20)])
    report(where, "shim of a replica: PSS, MB", [pss_mb(parent(state(engine, f"r{n}").pid)) for n in range(1, 21)])
    private = [private_mb(state(engine, f"r{n}").pid) for n in range(1, 21)]
    report(where, "replica: private memory, MB", private)
    for attempt in engine.snapshot():
        engine.stop(attempt.unit, attempt.attempt, 0.0)
    for attempt in engine.snapshot():
        until(engine, attempt.unit, "exited")


def start_node(home: Path) -> tuple[subprocess.Popen[bytes], RemoteEngine]:
    for _ in range(2):  # the first start writes bytecode
        began = time.perf_counter()
        argv = [sys.executable, "-m", "bough.entrypoints.node", str(home), "engine_loader_module"]
        node = subprocess.Popen(argv)
        remote = RemoteEngine(home / "run" / "node.sock")
        while True:
            try:
                remote.state()
                break
            except Unavailable:
                time.sleep(0.001)
        took = (time.perf_counter() - began) * 1000
        fields = Path(f"/proc/{node.pid}/stat").read_text().rpartition(")")[2].split()
        cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        if _ == 0:
            node.terminate()
            node.wait()
            remote.close()
    report("node", "start to first answer, ms", [took])
    report("node", "CPU until then, s", [cpu])
    report("node", "RSS, MB", [rss_mb(node.pid)])
    report("node", "PSS, MB", [pss_mb(node.pid)])
    return node, remote


def command(number: int) -> UnitSpec:
    return UnitSpec(unit=f"c{number}", attempt=1, kind="job", argv=["sleep", "1000"])


def replica(number: int) -> UnitSpec:
    model = ModelSpec(reference="plain", folder=str(LOADER))
    environment = {"PYTHONPATH": str(LOADER)}
    return UnitSpec(unit=f"r{number}", attempt=1, kind="replica", model=model, environment=environment)


def begin(engine: Engine, spec: UnitSpec, wanted: str) -> None:
    engine.apply(spec)
    until(engine, spec.unit, wanted)


def wake_and_ask(engine: Engine, before: Attempt) -> None:
    engine.wake(before.unit)
    while True:
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(before.address.removeprefix("unix:"))
                connection.recv(100)
                return
            except OSError:
                time.sleep(0.0005)


def until(engine: Engine, unit: str, wanted: str) -> None:
    cursor = 0
    while state(engine, unit).state != wanted:
        for hint in engine.watch(cursor, 1.0):
            cursor = hint.cursor


def state(engine: Engine, unit: str) -> Attempt:
    return next(attempt for attempt in engine.snapshot() if attempt.unit == unit)


def timed(action: Callable[[], None]) -> float:
    began = time.perf_counter()
    action()
    return (time.perf_counter() - began) * 1000


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def pss_mb(pid: int) -> float:
    return _rollup_kb(pid, "Pss:") / 1024


def rss_mb(pid: int) -> float:
    return _rollup_kb(pid, "Rss:") / 1024


def private_mb(pid: int) -> float:
    return (_rollup_kb(pid, "Private_Dirty:") + _rollup_kb(pid, "Private_Clean:")) / 1024


def _rollup_kb(pid: int, key: str) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def report(where: str, what: str, values: list[float]) -> None:
    figures = {"p50": round(statistics.median(values), 2), "max": round(max(values), 2), "n": len(values)}
    print(json.dumps({"where": where, "what": what, **figures}), flush=True)


if __name__ == "__main__":
    main()
