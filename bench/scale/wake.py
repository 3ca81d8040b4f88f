"""How soon a replica is there: from the warm pool, from the zygote, and under a burst. `make bench-wake`

    python -m bench.scale.wake [--rounds 30] [--requests 20000] [--minilm FOLDER] [--json FILE]

First Bough's data plane alone (node, gateway, replicas forked from a zygote; the table is written here): the first
request through a pool replica, through one that was in the pool from its fork on, and through one that sleeps, beside a
warm one that is asked at once and one that is asked after the same silence (`warm, after it`). Then a whole Bough: a
burst from 1 to 64 connections at a service whose requests take 20 ms each, and requests with random silences at a
service that sleeps after a second, wakes, grows and shrinks meanwhile; every answer but 200 counts as failed.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from bench.branches.stand import Stand
from bough.adapters.engine import ASLEEP, READY, Attempt
from bough.adapters.engine.remote import RemoteEngine
from bough.gateway.models import Route, Table, Target
from bough.kernel.errors import Problem
from bough.runtime.spec import ModelSpec, UnitSpec

CLASSIFIER = """
import numpy as np
from dataclasses import dataclass
from sklearn.linear_model import LogisticRegression
import bough

@dataclass
class Row:
    values: list[float]

class Classifier:
    def load(self) -> None:
        draw = np.random.default_rng(0)
        rows = draw.normal(size=(500, 20))
        self.model = LogisticRegression().fit(rows, rows.sum(axis=1) > 0)

    def warm_up(self) -> None:
        self.predict([Row([0.0] * 20)])

    @bough.batch(max_size=64)
    def predict(self, rows: list[Row]) -> list[int]:
        return [int(each) for each in self.model.predict([row.values for row in rows])]
"""
MINILM = """
from dataclasses import dataclass
import os
import sys
sys.path.insert(0, os.environ["BENCH_MINILM_CODE"])
import bough

@dataclass
class Text:
    text: str

class Embedding:
    def load(self) -> None:
        from minilm import Embedder
        self.model = Embedder(os.environ["BENCH_MINILM"])

    def warm_up(self) -> None:
        self.predict([Text("warm")])

    @bough.batch(max_size=32)
    def predict(self, texts: list[Text]) -> list[list[float]]:
        return self.model.embed([each.text for each in texts]).tolist()
"""
SLOW = """
import time
from dataclasses import dataclass

@dataclass
class Row:
    value: int

class Slow:
    def predict(self, row: Row) -> int:
        time.sleep(0.02)
        return row.value
"""
SILENCE_S = 0.3
ROUTE = {"project": "bench", "environment": "main", "service": "bench", "deployment": "bench", "release": 1}


class Plane:
    """Node and gateway alone, one unit."""

    def __init__(self, home: Path, source: str, reference: str, environment: dict[str, str]) -> None:
        self.home, self.generation = home, 0
        self.last: list[Attempt] = []
        (home / "run").mkdir(parents=True)
        project = home / "project"
        project.mkdir()
        (project / "service.py").write_text(source)
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = int(found.getsockname()[1])
        self.node = subprocess.Popen([sys.executable, "-m", "bough.entrypoints.node", str(home)])
        self.engine = RemoteEngine(home / "run" / "node.sock")
        self.spec = UnitSpec(
            unit="bench-0", attempt=1, kind="replica", cwd=str(project), python=sys.executable, environment=environment,
            model=ModelSpec(reference=reference, folder=str(project)),
        )  # fmt: skip
        self.address = self.ready("bench-0")
        self.table([])
        boot = "import sys; from pathlib import Path; from bough.entrypoints.gateway import run; "
        boot += f"run(Path(sys.argv[1]), '127.0.0.1', {self.port})"
        self.gateway = subprocess.Popen([sys.executable, "-c", boot, str(home)])
        until(lambda: self._reload() > 0)

    def table(self, targets: list[Target], *, asleep: bool = False) -> None:
        self.generation += 1
        routes = [Route(**ROUTE, kind="model", targets=targets, asleep=asleep)] if targets else []
        path = self.home / "run" / "routes.json"
        path.with_suffix(".new").write_bytes(msgspec.json.encode(Table(generation=self.generation, routes=routes)))
        path.with_suffix(".new").replace(path)
        if self.generation > 1:
            until(lambda: self._reload() == self.generation)

    def ready(self, unit: str) -> str:
        """Where the unit answers, once it does."""
        found, spec = None, msgspec.structs.replace(self.spec, unit=unit)

        def is_ready() -> bool:
            nonlocal found
            try:
                found = self.engine.apply(spec)
            except Problem:
                return False
            return found.state == READY

        until(is_ready, 60.0)
        assert found is not None
        return found.address

    def close(self) -> None:
        self.last = self.engine.snapshot()
        for each in (self.gateway, self.node):
            each.terminate()
            each.wait()
        for pid in self.engine_pids():
            subprocess.run(["kill", "-9", str(pid)], check=False, capture_output=True)

    def engine_pids(self) -> list[int]:
        zygotes = [json.loads(path.read_text())["pid"] for path in self.home.glob("zygotes/*/ready.json")]
        return [*zygotes, *(each.pid for each in self.last if each.pid)]

    def _reload(self) -> int:
        connection = http.client.HTTPConnection("gateway", timeout=5)
        try:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.connect(str(self.home / "run" / "gateway.sock"))
            connection.request("POST", "/reload")
            return int(json.loads(connection.getresponse().read())["generation"])
        except OSError:
            return 0
        finally:
            connection.close()


def until(condition: Callable[[], bool], limit_s: float = 20.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("it did not come true in time")
        time.sleep(0.002)


def ask(port: int, body: bytes, path: str = "/v1/bench/predict", limit_s: float = 60.0) -> tuple[float, int]:
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=limit_s)
    connection.request("POST", path, body)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return (time.perf_counter() - began) * 1000, answer.status


def first_requests(
    folder: Path, source: str, reference: str, body: bytes, rounds: int, environment: dict[str, str]
) -> dict[str, list[float]]:
    plane = Plane(folder, source, reference, environment)
    target = Target(unit="bench-0", address=plane.address)
    kinds = "warm", "warm, after it", "from the pool", "new from the pool", "from the zygote"
    found: dict[str, list[float]] = {kind: [] for kind in kinds}

    def timed(kind: str) -> None:
        took_ms, status = ask(plane.port, body)
        if status != 200:
            raise SystemExit(f"{kind}: {status}")
        found[kind].append(took_ms)

    try:
        for _ in range(rounds):
            plane.table([target])
            ask(plane.port, body)
            for _ in range(3):
                timed("warm")
            time.sleep(SILENCE_S)
            timed("warm, after it")
            plane.table([])
            plane.table([msgspec.structs.replace(target, warm=True)])
            time.sleep(SILENCE_S)
            timed("from the pool")
        for number in range(1, rounds + 1):
            unit = f"bench-{number}"
            plane.table([Target(unit=unit, address=plane.ready(unit), warm=True)])
            time.sleep(SILENCE_S)
            timed("new from the pool")
            plane.engine.stop(unit, 1)
        attempt = 1
        for _ in range(rounds):
            plane.table([])
            time.sleep(5.1)  # what was just woken may not be put to sleep
            plane.engine.sleep("bench-0", attempt, 5.0)
            until(lambda: plane.engine.snapshot()[0].state == ASLEEP)
            plane.table([target], asleep=True)
            timed("from the zygote")
            attempt += 1
    finally:
        plane.close()
    return found


def project(folder: Path, source: str, settings: str) -> Path:
    place = folder / "project"
    place.mkdir()
    (place / "bough.toml").write_text(f'name = "bench"\n[services.bench]\n{settings}\n')
    (place / "service.py").write_text(source)
    return place


def burst(folder: Path) -> dict[str, float]:
    """Answers per tenth of a second after 63 more connections come at once; the time until nine tenths of the rate
    that is reached in the end."""
    stand = Stand(folder)
    stand.up()
    done: list[float] = []
    failed = 0
    ending = threading.Event()

    def client() -> None:
        nonlocal failed
        connection = http.client.HTTPConnection("127.0.0.1", stand.gateway, timeout=60)
        while not ending.is_set():
            connection.request("POST", "/v1/bench/predict", b'{"value": 1}')
            answer = connection.getresponse()
            answer.read()
            done.append(time.monotonic())
            failed += answer.status != 200

    try:
        stand.bough("deploy", cwd=project(folder, SLOW, 'model = "service:Slow"\nscale = { max = 16, buffer = 15 }'))
        threads = [threading.Thread(target=client) for _ in range(64)]
        threads[0].start()
        time.sleep(8.0)
        began = time.monotonic()
        for each in threads[1:]:
            each.start()
        time.sleep(6.0)
        ending.set()
        for each in threads:
            each.join(30)
    finally:
        stand.down()
    rates = [0] * 60
    for at in done:
        if 0 <= at - began < 6:
            rates[int((at - began) * 10)] += 1
    full = statistics.median(rates[30:])
    reached = next((place for place, rate in enumerate(rates) if rate >= 0.9 * full), 60)
    return {"full rate per s": full * 10, "until nine tenths of it, s": (reached + 1) / 10, "failed": float(failed)}


def silences(folder: Path, requests: int, seed: int) -> dict[str, float]:
    """Requests from eight callers that pause now and then, together for longer than the service stays awake."""
    stand, draw = Stand(folder), random.Random(seed)
    stand.up()
    statuses: dict[int, int] = {}
    lock, each_asks = threading.Lock(), requests // 8
    quiet = [threading.Event()]
    quiet[0].set()

    def client(number: int) -> None:
        mine = random.Random(seed + number)
        connection = http.client.HTTPConnection("127.0.0.1", stand.gateway, timeout=60)
        for _ in range(each_asks):
            quiet[0].wait()
            connection.request("POST", "/v1/bench/predict", b'{"values": [' + b", ".join([b"0.5"] * 20) + b"]}")
            answer = connection.getresponse()
            answer.read()
            with lock:
                statuses[answer.status] = statuses.get(answer.status, 0) + 1
            if mine.random() < 0.002:
                time.sleep(mine.random())

    settings = 'model = "service:Classifier"\nrequirements = ""\nsleep_after_s = 1.0\nscale = { min = 0, max = 4 }'
    place = project(folder, CLASSIFIER, settings)
    (place / "requirements.txt").write_text("scikit-learn\nnumpy\n")
    silent = 0
    try:
        stand.bough("deploy", cwd=place)
        threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
        for each in threads:
            each.start()
        while any(each.is_alive() for each in threads):
            time.sleep(draw.uniform(2, 6))
            quiet[0].clear()
            time.sleep(draw.uniform(0.5, 4))
            quiet[0].set()
            silent += 1
        for each in threads:
            each.join()
    finally:
        stand.down()
    good = statuses.pop(200, 0)
    return {"answered": float(good), "failed": float(sum(statuses.values())), "silences": float(silent)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--minilm", type=Path, help="what bench/serving/minilm.py has made")
    parser.add_argument("--only", nargs="*", default=["classifier", "minilm", "burst", "silences"])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: dict[str, object] = {}
    models: dict[str, tuple[str, str, str, dict[str, str]]] = {}
    models["classifier"] = (CLASSIFIER, "service:Classifier", json.dumps({"values": [0.5] * 20}), {})
    if options.minilm:
        code = str(Path(__file__).resolve().parents[1] / "serving")
        places = {"BENCH_MINILM": str(options.minilm.resolve()), "BENCH_MINILM_CODE": code}
        models["minilm"] = (MINILM, "service:Embedding", json.dumps({"text": "A bough is a main branch."}), places)
    for name, (source, reference, body, environment) in models.items():
        if name in options.only:
            rest = source, reference, body.encode(), options.rounds, environment
            samples = within(lambda folder, rest=rest: first_requests(folder, *rest))
            found[name] = samples
            for kind, values in samples.items():
                ordered = sorted(values)
                last = ordered[int(0.99 * len(ordered))]
                print(f"{name}, {kind:17} p50 {statistics.median(ordered):7.2f} ms  p99 {last:7.2f} ms")
    if "burst" in options.only:
        found["burst"] = within(burst)
        print("burst from 1 to 64 connections:", found["burst"])
    if "silences" in options.only:
        found["silences"] = within(lambda folder: silences(folder, options.requests, options.seed))
        print("random silences:", found["silences"])
    if options.json:
        options.json.write_text(json.dumps(found))


def within(measure: Callable[[Path], Any]) -> Any:
    folder = Path(tempfile.mkdtemp(prefix="bw-", dir="/tmp"))  # short: Unix socket paths hold 107 bytes
    try:
        return measure(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
