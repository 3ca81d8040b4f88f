"""A lane whose units sleep: nothing is asked for until a request waits; then the request is held until it is there."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bough.gateway.models import Route, Target

from ..conftest import Replica, Running, route

Make = Callable[..., Replica]


class FakeNode:
    """Answers `POST /wake` as `answers` says; keeps which units were asked for."""

    def __init__(self, home: Path, answer: Callable[[str], tuple[int, dict[str, Any]]]) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(home / "run" / "node.sock"))
        self._listener.listen(32)
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):  # who asked may have gone
                data = connection.recv(65536)
                while b"\r\n\r\n" not in data or not data.rstrip().endswith(b"}"):
                    data += connection.recv(65536)
                unit = json.loads(data.partition(b"\r\n\r\n")[2])["unit"]
                self.asked.append(unit)
                status, said = self.answer(unit)
                body = json.dumps(said).encode()
                head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                connection.sendall(head.encode() + body)


Nodes = Callable[[Callable[[str], tuple[int, dict[str, Any]]]], FakeNode]


@pytest.fixture
def node(gateway: Running) -> Iterator[Nodes]:
    made: list[FakeNode] = []

    def make(answer: Callable[[str], tuple[int, dict[str, Any]]]) -> FakeNode:
        made.append(FakeNode(gateway.home, answer))
        return made[-1]

    yield make
    for each in made:
        each.close()


def sleeper(**fields: Any) -> Route:
    return route("churn", targets=[Target(unit="u1")], asleep=True, **fields)


def attempt(replica: Replica) -> dict[str, Any]:
    return {"unit": replica.unit, "attempt": 1, "state": "starting", "address": f"unix:{replica.path}"}


def starts(gateway: Running) -> dict[str, int]:
    """Of the service, by kind, as `/metrics` counts them."""
    lines = gateway.request("GET", "/metrics")[2].decode().splitlines()
    found = [line for line in lines if line.startswith("bough_start_seconds_count") and 'service="churn"' in line]
    counts = {line.partition('kind="')[2].partition('"')[0]: int(float(line.rpartition(" ")[2])) for line in found}
    return {kind: count for kind, count in counts.items() if count}


def test_the_first_request_wakes_the_unit_and_is_answered(gateway: Running, node: Nodes, replicas: Make) -> None:
    replica = replicas()
    replica.kill()

    def wake(unit: str) -> tuple[int, dict[str, Any]]:
        if replica.dead:
            replica.start()
        return 200, attempt(replica)

    asked = node(wake).asked
    gateway.start(routes=[sleeper()])
    time.sleep(0.3)  # long enough for many attempts at connecting, if there were any
    assert asked == []
    assert gateway.lane("dep-churn")["asleep"]
    assert gateway.post("churn", 7)[::2] == (200, b"7")
    assert asked == ["u1"]
    assert gateway.post("churn", 8)[::2] == (200, b"8")
    assert asked == ["u1"]
    assert starts(gateway) == {"zygote": 1}


def test_a_start_that_had_to_load_the_model_is_in_a_histogram_of_its_own(
    gateway: Running, node: Nodes, replicas: Make
) -> None:
    replica = replicas("dep-churn-0")
    node(lambda unit: (200, {**attempt(replica), "cold": True}))
    gateway.start(routes=[route("churn", targets=[Target(unit="dep-churn-0")], asleep=True)])
    assert gateway.post("churn", 7)[0] == 200
    assert starts(gateway) == {"cold": 1}


def test_a_unit_that_the_node_does_not_know_yet_is_asked_for_again(
    gateway: Running, node: Nodes, replicas: Make
) -> None:
    replica = replicas()
    answers: list[tuple[int, dict[str, Any]]] = [(404, {}), (404, {}), (200, attempt(replica))]
    asked = node(lambda unit: answers.pop(0)).asked
    gateway.start(routes=[sleeper()])
    assert gateway.post("churn", 7)[0] == 200
    assert asked == ["u1"] * 3


def test_who_asks_for_progress_hears_how_it_stands_until_the_answer_comes(
    gateway: Running, node: Nodes, replicas: Make
) -> None:
    replica, heard = replicas(), threading.Event()
    node(lambda unit: (200, attempt(replica)) if heard.is_set() else (404, {}))
    gateway.start(routes=[sleeper()])
    head = b"POST /v1/churn/predict HTTP/1.1\r\nHost: x\r\nPrefer: progress\r\nContent-Length: 1\r\n\r\n7"
    with socket.create_connection(("127.0.0.1", gateway.port), 10) as client:
        client.sendall(head)
        said = client.recv(65536)
        assert said.startswith(b"HTTP/1.1 102 Processing\r\nX-Bough-Waited: ") and b"X-Bough-Replicas: 0" in said
        heard.set()
        while not said.endswith(b"\r\n\r\n7"):
            said += client.recv(65536)
    assert b"HTTP/1.1 200 OK" in said
    assert gateway.post("churn", 8)[::2] == (200, b"8")


def test_what_does_not_wake_is_refused_at_the_deadline_and_says_when_to_come_back(
    gateway: Running, node: Nodes
) -> None:
    node(lambda unit: (404, {}))
    gateway.start(routes=[sleeper(timeout_s=2.0, queue_size=1)])
    got: list[tuple[int, dict[str, str], bytes]] = []
    first = threading.Thread(target=lambda: got.append(gateway.post("churn", 1)))
    first.start()
    gateway.wait(lambda: gateway.lane("dep-churn")["queued"] == 1)
    status, headers, _ = gateway.post("churn", 2)
    assert (status, int(headers["retry-after"]) > 1) == (503, True)
    first.join(60)
    assert (got[0][0], "retry-after" in got[0][1]) == (503, True)


def test_a_lane_that_falls_asleep_lets_its_replica_go_and_asks_before_it_connects_again(
    gateway: Running, node: Nodes, replicas: Make
) -> None:
    replica = replicas()
    asked = node(lambda unit: (200, attempt(replica))).asked
    gateway.start(routes=[route("churn", replica)])
    gateway.until_up("dep-churn")
    gateway.wait(lambda: gateway.lane("dep-churn")["idle_s"] > 2.1)
    gateway.apply([route("churn", replica, asleep=True)])
    gateway.wait(lambda: gateway.lane("dep-churn")["links"] == 0)
    time.sleep(0.1)
    assert (asked, replica.connections) == ([], 1)
    assert gateway.post("churn", 7)[0] == 200
    assert (asked, replica.connections) == (["u1"], 2)
    gateway.apply([route("churn", replica)])
    assert gateway.lane("dep-churn")["links"] == 1


def test_a_lane_says_for_how_long_nobody_has_asked(gateway: Running, replicas: Make) -> None:
    replica = replicas(mode="concurrent")
    gateway.start(routes=[route("churn", replica)])
    gateway.until_up("dep-churn")
    gateway.wait(lambda: gateway.lane("dep-churn")["idle_s"] > 0.2)
    began = time.monotonic()
    gateway.post("churn", 7)
    assert gateway.lane("dep-churn")["idle_s"] <= time.monotonic() - began


def test_a_sleeping_web_service_is_reached_where_the_node_says(gateway: Running, node: Nodes) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_answer_for_ever, args=(listener,), daemon=True).start()
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    asked = node(lambda unit: (200, {"unit": unit, "attempt": 1, "state": "starting", "address": address})).asked
    gateway.start(routes=[route("site", kind="web", targets=[Target(unit="w1")], asleep=True, queue_size=1)])
    time.sleep(0.2)
    assert asked == []
    assert gateway.request("GET", "/web/site.shop/")[::2] == (200, b"hello")
    assert gateway.request("GET", "/web/site.shop/")[::2] == (200, b"hello")
    assert asked == ["w1"]
    listener.close()


def _answer_for_ever(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
