"""A control plane with some history, and the official client of OpenLineage in a Python environment of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from bough.access import operations as access
from bough.entrypoints.http.app import build
from tests.outside import environment
from tests.plane import Plane

PACKAGE = "openlineage-python==1.54.0"  # brings httpx and requests, which nothing here needs

Official = Callable[..., "subprocess.CompletedProcess[str]"]
COMMIT, BUNDLE = "c" * 40, "b" * 64


@pytest.fixture(scope="session")
def official() -> Official:
    """Runs a program with the official client."""
    python = environment(PACKAGE) / "bin/python"

    def run(program: str, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        environ = {key: value for key, value in os.environ.items() if not key.startswith("OPENLINEAGE")}
        command = [str(python), "-c", program, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environ, input=stdin)

    return run


@pytest.fixture
def plane(tmp_path: Path) -> Plane:
    made = Plane(tmp_path)
    made.call("projects.create", name="shop")
    return made


@pytest.fixture
def server(plane: Plane) -> Iterator[str]:
    """The API on a free port of this machine."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(build(plane.bough), lifespan="off", log_level="warning", ws="none")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    running.should_exit = True
    thread.join(60)
    listening.close()


@pytest.fixture
def token(plane: Plane) -> str:
    with plane.bough.database.write() as tx:
        access.bootstrap(tx, plane.bough.home.token, plane.clock.now())
    return plane.bough.home.token.read_text().strip()


def register(plane: Plane, name: str = "churn", **facts: Any) -> Any:
    content = f"{name} {facts}".encode()
    file = {"path": "model.onnx", "digest": plane.bough.blobs.put(content), "size": len(content)}
    return plane.call("models.register", project="shop", name=name, files=[file], facts=facts)


def show(plane: Plane, of: str, **fields: Any) -> Any:
    return plane.call("lineage.show", project="shop", of=of, **fields)


def names(found: Any, kind: str = "") -> set[str]:
    return {f"{each.kind} {each.name}{each.version and ' @' + each.version}" for each in found.things
            if kind in ("", each.kind)}  # fmt: skip


def arrows(found: Any) -> set[tuple[str, str]]:
    named = {each.id: f"{each.kind} {each.name}{each.version and ' @' + each.version}" for each in found.things}
    return {(named[each.source], named[each.target]) for each in found.arrows}


def event(
    job: str = "clean", reads: tuple[str, ...] = (), writes: tuple[str, ...] = (), **fields: Any
) -> dict[str, Any]:
    """A RunEvent; datasets as NAMESPACE NAME."""

    def datasets(found: tuple[str, ...]) -> list[dict[str, Any]]:
        return [dict(zip(("namespace", "name"), each.split(" "), strict=True)) for each in found]

    return {
        "eventType": "COMPLETE",
        "eventTime": "2026-05-03T12:00:00Z",
        "producer": "https://example.com/airflow",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": "01941908-6ea3-7e3c-9ab5-1b1b1b1b1b1b"},
        "job": {"namespace": "airflow", "name": job},
        "inputs": datasets(reads),
        "outputs": datasets(writes),
    } | fields
