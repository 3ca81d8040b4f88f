"""The gateway with the replica that ships: real models, real signals."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bough.gateway.control_client import traffic_of
from bough.gateway.models import Target
from bough.runtime.frames import PREDICT, Request, pack

from .conftest import Running, route

MODELS = """
from collections.abc import AsyncIterator, Iterator
import time
import bough

class Doubles:
    @bough.batch(max_size=32)
    def predict(self, items: list[int]) -> list[int]:
        return [2 * item for item in items]

class Doubler:
    def predict(self, item: int) -> int:
        return 2 * item

class Hangs:
    def predict(self, item: int) -> int:
        while item < 0:
            time.sleep(0.1)
        return item

class HangsInItsLoop(Hangs):
    async def predict(self, item: int) -> int:
        return Hangs.predict(self, item)

class HangsInAPiece(Hangs):
    def predict(self, item: int) -> Iterator[int]:
        yield Hangs.predict(self, item)

class Awaits:
    async def predict(self, item: int) -> int:
        return 2 * item

class Counts:
    def predict(self, item: int) -> Iterator[int]:
        yield from range(item)
"""
Serve = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def serve(folder: Path) -> Iterator[Serve]:
    (folder / "models.py").write_text(MODELS)
    made: list[subprocess.Popen[bytes]] = []

    def begin(model: str, unit: str) -> subprocess.Popen[bytes]:
        (folder / unit).mkdir(exist_ok=True)
        socket = folder / unit / "replica.sock"
        command = [sys.executable, "-m", "bough.runtime.serve", f"models:{model}", "--folder", str(folder)]
        with (folder / unit / "log").open("wb") as log:
            made.append(subprocess.Popen([*command, "--socket", str(socket)], stderr=log))
        return made[-1]

    yield begin
    for process in made:
        process.kill()
        process.wait()


def target(folder: Path, unit: str) -> Target:
    return Target(unit="model", address=f"unix:{folder}/{unit}/replica.sock")


@pytest.mark.parametrize("model", ["Doubles", "Doubler", "Awaits"])
def test_no_request_fails_whatever_happens_to_a_replica(
    gateway: Running, serve: Serve, folder: Path, model: str
) -> None:
    units = {unit: serve(model, unit) for unit in ("a", "b")}
    gateway.start(routes=[route("double", targets=[target(folder, unit) for unit in units])])
    gateway.until_up("dep-double", 2)
    bad: list[Any] = []
    done, stop = [0], threading.Event()

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
        while not stop.is_set():
            number += 7
            connection.request("POST", "/v1/double/predict", str(number))
            answer = connection.getresponse()
            body = answer.read()
            done[0] += 1
            if answer.status != 200 or json.loads(body) != 2 * number:
                bad.append((answer.status, number, body))
        connection.close()

    clients = [threading.Thread(target=client, args=(n,)) for n in range(7)]
    for thread in clients:
        thread.start()
    for unit, number in (("a", signal.SIGKILL), ("b", signal.SIGTERM)):
        before = done[0]
        gateway.wait(lambda before=before: done[0] > before + 200)  # type: ignore[misc]
        units[unit].send_signal(number)
        units[unit].wait(60)
        serve(model, unit)
        gateway.until_up("dep-double", 2)
    stop.set()
    for thread in clients:
        thread.join(60)
    assert not bad, bad[:3]


def test_a_generator_streams_events_or_lines(gateway: Running, serve: Serve, folder: Path) -> None:
    serve("Counts", "a")
    gateway.start(routes=[route("count", targets=[target(folder, "a")])])
    gateway.until_up("dep-count")
    status, headers, body = gateway.post("count", 3)
    assert (status, headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
    assert body.count(b"data: ") >= 3
    status, headers, body = gateway.post("count", 3, Accept="application/x-ndjson")
    assert (status, headers["content-type"], body.split()) == (200, "application/x-ndjson", [b"0", b"1", b"2"])
    assert gateway.post("count", "not a number")[0] == 422


def test_items_of_requests_that_carry_several_are_counted(gateway: Running, serve: Serve, folder: Path) -> None:
    serve("Doubles", "u1")
    gateway.start(routes=[route("double", targets=[target(folder, "u1")])])
    gateway.until_up("dep-double")
    assert gateway.post("double", 5)[0] == 200
    body = {"inputs": [{"name": "items", "shape": [6], "datatype": "INT64", "data": [1, 2, 3, 4, 5, 6]}]}
    for _ in range(2):
        assert gateway.request("POST", "/v2/models/double/infer", json.dumps(body).encode())[0] == 200

    def seen() -> Any:
        found = traffic_of(gateway.home / "run" / "gateway.sock")
        assert found is not None
        return found.routes[0]

    gateway.wait(lambda: seen().further == 10)
    text = gateway.request("GET", "/metrics")[2].decode()
    counted = [line for line in text.splitlines() if line.startswith("bough_items_total{") and '"double"' in line]
    assert [line.rpartition(" ")[2] for line in counted] == ["13.0"], "one, and two requests of six"


@pytest.mark.parametrize("model", ["Hangs", "HangsInItsLoop", "HangsInAPiece"])
def test_a_replica_that_hangs_gets_no_more_work_and_is_ended_with_a_word_of_where_it_hung(
    gateway: Running, serve: Serve, folder: Path, model: str
) -> None:
    units = {unit: serve(model, unit) for unit in ("a", "b")}
    gateway.start(routes=[route("hang", targets=[target(folder, unit) for unit in units], timeout_s=1.0)])
    gateway.until_up("dep-hang", 2)
    assert gateway.post("hang", -1)[0] == 504
    answers = [gateway.post("hang", item)[0] for item in range(20)]
    assert answers[2:] == [200] * 18, "two at most reach it before it is known to hang"
    gateway.wait(lambda: any(process.poll() == -signal.SIGABRT for process in units.values()))
    (hung,) = [unit for unit, process in units.items() if process.poll() is not None]
    assert "in predict" in (folder / hung / "log").read_text()
    assert gateway.post("hang", 7)[0] == 200


def test_a_replica_that_hangs_since_another_gateway_asked_it_is_ended_as_well(
    gateway: Running, serve: Serve, folder: Path
) -> None:
    process = serve("Hangs", "a")
    socket_path = folder / "a" / "replica.sock"
    gateway.wait(lambda: (folder / "a" / "ready.json").exists())
    with socket.socket(socket.AF_UNIX) as earlier:
        earlier.connect(str(socket_path))
        assert earlier.recv(4096), "its hello"
        earlier.sendall(pack([Request(1, PREDICT, b"-1")]))
    gateway.start(routes=[route("hang", targets=[target(folder, "a")], timeout_s=1.0)])
    gateway.wait(lambda: process.poll() == -signal.SIGABRT)
    assert "in predict" in (folder / "a" / "log").read_text()
