"""What a program reports in few words is written in the event loop, unless it would have to wait there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from bough.access import operations as access
from bough.entrypoints.http.app import build
from tests.plane import Plane


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    made = Plane(tmp_path)
    with made.bough.database.write() as tx:
        access.bootstrap(tx, made.bough.home.token, made.clock.now())
    yield made
    made.bough.stop()


@pytest.fixture
def client(plane: Plane) -> TestClient:
    return TestClient(build(plane.bough), headers={"Authorization": f"Bearer {plane.bough.home.token.read_text()}"})


@pytest.fixture
def in_threads(plane: Plane) -> list[bool]:
    """Of every write to the store of runs: whether a thread of the API's made it."""
    found: list[bool] = []
    plane.bough.technologies.tracking.on_commit(lambda: found.append(threading.current_thread().name.startswith("api")))
    return found


def log(client: TestClient, run: str, count: int = 1) -> int:
    points = [{"key": f"m{each}", "value": 1.5, "timestamp_ms": 1, "step": 0} for each in range(count)]
    body: dict[str, Any] = {"project": "shop", "id": run, "metrics": points}
    return client.post("/api/v1/runs/log", json=body).status_code


def test_a_short_report_is_written_in_the_event_loop_and_a_long_one_in_a_thread(
    plane: Plane, client: TestClient, in_threads: list[bool]
) -> None:
    run = plane.call("runs.create", project="shop").id
    for count, in_thread in ((1, False), (100, False), (1000, True)):
        assert log(client, run, count) == 200
        assert in_threads.pop() == in_thread


def test_what_would_wait_for_another_write_waits_in_a_thread(
    plane: Plane, client: TestClient, in_threads: list[bool]
) -> None:
    run = plane.call("runs.create", project="shop").id
    assert log(client, run) == 200
    answers: list[int] = []
    sending = threading.Thread(target=lambda: answers.append(log(client, run)))
    with plane.bough.technologies.tracking.write():
        sending.start()
        sending.join(0.3)
        assert answers == [], "it waits its turn"
    sending.join(30)
    assert answers == [200] and in_threads[-1] is True


def test_what_is_refused_is_refused_there_as_well(client: TestClient) -> None:
    refused = client.post("/api/v1/runs/log", json={"project": "shop", "id": "nothing", "params": {"a": "b"}})
    assert refused.json()["error"]["code"] == "RUN_NOT_FOUND"
    assert client.post("/api/v1/runs/log", json={"id": 1}).status_code == 422
    assert client.post("/api/v1/runs/log", headers={"Authorization": ""}, json={}).status_code == 401
