"""Tracking beside `mlflow server` on SQLite: the same requests by the same client, medians, ratios.

    python -m bench.registry.tracking [--runs 10000] [--artifact-mb 1024] [--many 100000]
                                      [--parts requests,artifacts,many]

Both servers have one worker. The first 300 runs come over HTTP and are what is measured of create-run; the others are
written into both databases (`filling.py`), so that a search finds as many as are asked for. Requests go over one kept
connection, one after the other, so that a server's own time counts and not how many cores it takes; `client` rows are
the same calls by MLflow's own client, which needs a millisecond or two for each. The plain copy is a server of the same
kind (Starlette on uvicorn) that writes what comes into a file and sends it back, without a digest or a sync.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.registry import filling
from bench.registry.servers import bough_server, mlflow_server, python, running
from bough.adapters.database.sqlite import SqliteDatabase
from bough.tracking import experiments, runs, schema
from bough.tracking.models import Metric
from tests.ports import free_port

API = "/api/2.0/mlflow"
ROUNDS = 5
MEASURED = 300  # runs that come over HTTP
Fill = Callable[[str, range, int], None]
CLIENT = """
import os, sys, time, json, statistics
from mlflow import MlflowClient
from mlflow.entities import Metric
client, times = MlflowClient(), {}
experiment = client.create_experiment(f"client-{os.getpid()}")
run = client.create_run(experiment).info.run_id
def measured(name, work, count):
    each = []
    for at in range(count):
        began = time.perf_counter(); work(at); each.append(time.perf_counter() - began)
    times[name] = statistics.median(each)
measured("create-run", lambda at: client.create_run(experiment), 100)
measured("log-metric", lambda at: client.log_metric(run, "m", at / 7, step=at), 200)
measured("log-batch", lambda at: client.log_batch(run, [Metric(f"b{n}", n, at, at) for n in range(100)]), 50)
asked = {"order_by": ["metrics.loss ASC"], "max_results": 100}
measured("search", lambda at: client.search_runs([sys.argv[1]], "metrics.loss < 0.5", **asked), 20)
measured("get-by-alias", lambda at: client.get_model_version_by_alias("m", "champion"), 100)
print(json.dumps(times))
"""
COPY = """
import sys, uvicorn
from starlette.applications import Starlette
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
async def put(request):
    with open(sys.argv[2], "wb") as file:
        async for piece in request.stream():
            file.write(piece)
    return Response()
def pieces():
    with open(sys.argv[2], "rb") as file:
        while piece := file.read(1 << 20):
            yield piece
async def get(request):
    return StreamingResponse(pieces())
app = Starlette(routes=[Route("/file", put, methods=["PUT"]), Route("/file", get)])
uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", loop="uvloop", http="httptools")
"""


class Http:
    """One kept connection."""

    def __init__(self, url: str, token: str = "") -> None:
        split = urlsplit(url)
        self._line = http.client.HTTPConnection(split.hostname or "", split.port, timeout=300)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def post(self, path: str, **body: Any) -> Any:
        return self._asked("POST", API + path, json.dumps(body))

    def get(self, path: str) -> Any:
        return self._asked("GET", API + path, None)

    def put(self, path: str, file: Path) -> float:
        began = time.perf_counter()
        with file.open("rb") as content:
            headers = self._headers | {"Content-Length": str(file.stat().st_size)}
            self._line.request("PUT", path, content, headers)
            answer = self._line.getresponse()
            answer.read()
        assert answer.status < 300, answer.status
        return time.perf_counter() - began

    def fetch(self, path: str) -> float:
        began, buffer = time.perf_counter(), memoryview(bytearray(1 << 20))
        self._line.request("GET", path, None, self._headers)
        answer = self._line.getresponse()
        while answer.readinto(buffer):
            pass
        assert answer.status == 200, answer.status
        return time.perf_counter() - began

    def _asked(self, method: str, path: str, body: str | None) -> Any:
        self._line.request(method, path, body, self._headers | {"Content-Type": "application/json"})
        answer = self._line.getresponse()
        data = answer.read()
        assert answer.status == 200, (path, answer.status, data[:500])
        return json.loads(data)


def median_s(work: Callable[[int], Any], count: int) -> float:
    times = []
    for at in range(count):
        began = time.perf_counter()
        work(at)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def requests(http: Http, count: int, fill: Fill) -> tuple[dict[str, float], str]:
    """Medians in seconds by request, and the experiment that the runs are in."""
    measured = min(count, MEASURED)
    experiment = http.post("/experiments/create", name="bench")["experiment_id"]
    made: list[str] = []

    def create(at: int) -> None:
        tags = [{"key": "odd", "value": str(at % 2)}, {"key": "mlflow.user", "value": "x"}]
        run = http.post("/runs/create", experiment_id=experiment, start_time=at, run_name=f"run {at}", tags=tags)
        made.append(run["run"]["info"]["run_id"])

    times = {"create-run": median_s(create, measured)}
    for at, id in enumerate(made):
        metrics = [{"key": "loss", "value": filling.metric(at, count), "timestamp": at, "step": 0}]
        http.post("/runs/log-batch", run_id=id, metrics=metrics, params=[{"key": "depth", "value": str(at % 9)}])
    fill(experiment, range(measured, count), count)
    run = made[0]
    times["log-metric"] = median_s(
        lambda at: http.post("/runs/log-metric", run_id=run, key="m", value=at / 7, timestamp=at, step=at), 400
    )
    times["log-batch"] = median_s(
        lambda at: http.post("/runs/log-batch", run_id=run, metrics=[
            {"key": f"b{n}", "value": n, "timestamp": at, "step": at} for n in range(100)]), 100
    )  # fmt: skip
    order, filter = ["metrics.loss ASC"], "metrics.loss < 0.5 and params.depth = '3'"
    times["search"] = median_s(
        lambda at: http.post(
            "/runs/search", experiment_ids=[experiment], filter=filter, order_by=order, max_results=100
        ), 20,
    )  # fmt: skip
    return times, experiment


def register(http: Http, run: str, file: Path, place: str) -> float:
    http.put(f"/api/2.0/mlflow-artifacts/artifacts/{place}/model/data", file)
    http.post("/registered-models/create", name="m")
    http.post("/model-versions/create", name="m", source=f"mlflow-artifacts:/{place}/model", run_id=run)
    http.post("/registered-models/alias", name="m", alias="champion", version="1")
    return median_s(lambda at: http.get("/registered-models/alias?name=m&alias=champion"), 200)


def side(
    interpreter: Path, folder: Path, url: str, token: str, options: argparse.Namespace, big: Path, fill: Fill
) -> dict[str, float]:
    http = Http(url, token)
    asked = "requests" in options.parts
    times, experiment = requests(http, options.runs, fill) if asked else ({}, "0")
    small = folder / "small"
    small.write_bytes(b"x" * 1000)
    run = http.post("/runs/create", experiment_id=experiment)["run"]["info"]
    place = run["artifact_uri"].partition(":/")[2].lstrip("/")
    if asked:
        times["get-by-alias"] = register(http, run["run_id"], small, place)
    where = f"/api/2.0/mlflow-artifacts/artifacts/{place}/big"
    if "artifacts" in options.parts:
        times["up"] = statistics.median(http.put(f"{where}{at}", _changed(big, at)) for at in range(3))
        times["down"] = statistics.median(http.fetch(f"{where}{at}") for at in range(3))
    if not asked:
        return times
    environment = os.environ | {"MLFLOW_TRACKING_URI": url, "MLFLOW_TRACKING_TOKEN": token}
    done = subprocess.run(
        [interpreter, "-c", CLIENT, experiment], env=environment, capture_output=True, text=True, check=True
    )
    return times | {f"{name}, client": value for name, value in json.loads(done.stdout.splitlines()[-1]).items()}


def plain_copy(folder: Path, big: Path) -> dict[str, float]:
    port = free_port()
    with running(
        [sys.executable, "-c", COPY, port, folder / "copied"],
        folder,
        {},
        f"http://127.0.0.1:{port}/file",
        codes=(200, 500),
    ):
        http = Http(f"http://127.0.0.1:{port}")
        up = statistics.median(http.put("/file", _changed(big, at)) for at in range(3))
        return {"up": up, "down": statistics.median(http.fetch("/file") for _ in range(3))}


def many(folder: Path, count: int) -> dict[str, float]:
    """Searches among very many runs, in milliseconds, without HTTP."""
    database = SqliteDatabase(folder / "many.db", durable=False)
    schema.prepare(database)
    for start in range(0, count, 5000):
        with database.write() as tx:
            experiments.begin(tx, "p", 1)
            for at in range(start, min(start + 5000, count)):
                fresh = runs.Fresh(experiment="0", environment="main", by="x", started_ms=at, tags={"odd": str(at % 2)})
                run = runs.create(tx, "p", fresh)
                metrics = [Metric(key="loss", value=(at * 7919 % count) / count), Metric(key="acc", value=at / count)]
                runs.log(tx, "p", run.id, metrics, {"depth": str(at % 9), "seed": str(at)}, {})
    asked = {
        "newest": ("", []),
        "half of all, by metric": ("metrics.loss < 0.5", ["metrics.loss DESC"]),
        "one of nine and a tag": ("params.depth = '3' AND tags.odd = '1'", []),
        "one run": (f"params.seed = '{count // 2}'", ["metrics.acc ASC"]),
        "nothing": ("metrics.loss < 0.5 AND params.depth = 'none'", ["metrics.loss ASC"]),
        "by name": (f"run_name LIKE '%-{count % 97}'", []),
    }
    found = {}
    for name, (filter, order) in asked.items():

        def search(at: int, filter: str = filter, order: list[str] = order) -> None:
            with database.read() as tx:
                runs.find(tx, "p", ["0"], filter, order, "active", 100, 0)

        found[name] = median_s(search, ROUNDS) * 1000
    database.close()
    return found


def _changed(big: Path, at: int) -> Path:
    """Other bytes each time: what is there already would not be written again."""
    with big.open("r+b") as file:
        file.write(os.urandom(64))
    return big


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--many", type=int, default=100_000)
    parser.add_argument("--artifact-mb", type=int, default=1024)
    parser.add_argument("--parts", default="requests,artifacts,many")
    options = parser.parse_args()
    options.parts = options.parts.split(",")
    interpreter = python()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        big = folder / "big"
        with big.open("wb") as file:
            for _ in range(options.artifact_mb if "artifacts" in options.parts else 0):
                file.write(os.urandom(1 << 20))
        for part in ("theirs", "copy"):
            (folder / part).mkdir()
        ours, theirs = dict[str, float](), dict[str, float]()
        if options.parts != ["many"]:
            with bough_server(folder / "ours") as (url, token):
                fill = partial(filling.ours, folder / "ours" / "tracking.db")
                ours = side(interpreter, folder, url, token, options, big, fill)
            with mlflow_server(interpreter, folder / "theirs") as url:
                fill = partial(filling.theirs, folder / "theirs" / "mlflow.db")
                theirs = side(interpreter, folder, url, "", options, big, fill)
        copied = plain_copy(folder / "copy", big) if "artifacts" in options.parts else {}
        searches = many(folder, options.many) if "many" in options.parts else {}
    print(f"{'':24}{'Bough':>12}{'MLflow':>12}{'ratio':>8}   at {options.runs:,} runs")
    for name in ours:
        if name in ("up", "down"):
            continue
        print(f"{name:24}{1 / ours[name]:>10,.0f}/s{1 / theirs[name]:>10,.0f}/s{theirs[name] / ours[name]:>8.1f}")
    for name in copied:
        speed = [options.artifact_mb / side[name] for side in (ours, theirs, copied)]
        share = speed[0] / speed[2]
        figures = f"{speed[0]:>7,.0f} MB/s{speed[1]:>7,.0f} MB/s   plain copy {speed[2]:,.0f} MB/s: {share:.2f}"
        print(f"artifact {name:15}{figures}")
    print(f"\nsearches among {options.many:,} runs, 100 answered")
    for name, milliseconds in searches.items():
        print(f"{name:24}{milliseconds:>9.1f} ms")


if __name__ == "__main__":
    main()
