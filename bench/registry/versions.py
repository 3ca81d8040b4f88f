"""A model with very many versions: what lists, aliases and MLflow's requests cost then.

    python -m bench.registry.versions [COUNT] [FOLDER]    default: 10,000 in the temporary folder

Prints one JSON line; medians in milliseconds. `http`: over one kept connection, as MLflow's clients ask.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, urlsplit

from bench.registry.servers import bough_server
from bough.client import Client

ROUNDS = 20
MLFLOW = "/mlflow/shop/api/2.0/mlflow"


def main(count: int, folder: str | None) -> None:
    with (
        tempfile.TemporaryDirectory(dir=folder) as place,
        bough_server(Path(place) / "home") as (url, token),
        Client(url, token) as client,
    ):
        print(json.dumps(measured(client, url, token, count)))


def measured(client: Client, url: str, token: str, count: int) -> dict[str, float]:
    at = {"project": "shop"}
    client.projects.create(name="shop")
    content = b"x"
    digest = hashlib.sha256(content).hexdigest()
    client.put(content, digest)
    files, began = [{"path": "m", "digest": digest, "size": 1}], time.perf_counter()
    for _ in range(count):
        client.models.register(**at, name="many", files=files, sign=False)
    found = {"versions": count, "register_ms": (time.perf_counter() - began) / count * 1e3}
    client.models.alias(**at, name="many", alias="champion", version=count // 2)
    line = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)

    def get(path: str) -> None:
        line.request("GET", f"{MLFLOW}/{path}", None, {"Authorization": f"Bearer {token}"})
        answer = line.getresponse()
        data = answer.read()
        assert answer.status == 200, data[:300]

    filter = quote("name = 'many'")
    work: dict[str, Callable[[int], object]] = {
        "show": lambda _: client.models.show(**at, name="many"),
        "list 50 versions": lambda _: client.models.versions(**at, name="many"),
        "list 50 in the middle": lambda _: client.models.versions(**at, name="many", before=count // 2),
        "list models": lambda _: client.models.list(**at),
        "resolve alias": lambda _: client.models.resolve(**at, model="many@champion"),
        "set alias": lambda turn: client.models.alias(**at, name="many", alias="candidate", version=turn + 1),
        "http get-by-alias": lambda _: get("registered-models/alias?name=many&alias=champion"),
        "http registered-models/get": lambda _: get("registered-models/get?name=many"),
        "http registered-models/search": lambda _: get("registered-models/search?max_results=100"),
        "http model-versions/search, 100": lambda _: get(f"model-versions/search?max_results=100&filter={filter}"),
        "search, none": lambda _: client.models.search(**at, query="metric.auc>=0.9"),
    }
    return {name: round(value, 2) for name, value in (found | {name: timed(do) for name, do in work.items()}).items()}


def timed(work: Callable[[int], object]) -> float:
    milliseconds = []
    for turn in range(ROUNDS):
        began = time.perf_counter()
        work(turn)
        milliseconds.append((time.perf_counter() - began) * 1e3)
    return statistics.median(milliseconds)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000, sys.argv[2] if len(sys.argv) > 2 else None)
