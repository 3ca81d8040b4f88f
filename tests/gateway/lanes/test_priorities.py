"""Who goes first when there is a queue, and who is shed when there is no room."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bough.gateway import rules
from bough.runtime.frames import Reply, Request

from ..callers.test_limits import key
from ..conftest import Replica, Running, route

Make = Callable[..., Replica]
KEYS = [key("high", priority="high"), key("low", priority="low"), key("normal")]


class Crowd:
    """Requests that wait, in the order in which they were sent."""

    def __init__(self, gateway: Running) -> None:
        self.gateway = gateway
        self.answers: dict[str, int] = {}
        self.threads: list[threading.Thread] = []

    def send(self, name: str, queued: int | None = None, **headers: str) -> None:
        """One more; returns when `queued` wait."""

        def run() -> None:
            self.answers[name] = self.gateway.post("churn", name, **headers)[0]

        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()
        if queued is not None:
            self.gateway.wait(lambda: self.gateway.lane("dep-churn")["queued"] == queued)

    def end(self) -> None:
        for thread in self.threads:
            thread.join(60)


@contextmanager
def crowd(gateway: Running, replicas: Make, order: list[str], **fields: Any) -> Iterator[Crowd]:
    """A replica that holds its first request until the block ends, and notes in which `order` it is asked."""

    def handle(request: Request) -> list[Reply]:
        order.append(request.body.decode().strip('"'))
        return [Reply(request.id, 200, b"1")]

    replica = replicas("u1", handle, max_batch=1)
    gateway.start(routes=[route("churn", replica, **fields)], keys=KEYS)
    gateway.until_up("dep-churn")
    replica.gate.clear()
    found = Crowd(gateway)
    found.send("first")
    gateway.wait(lambda: gateway.lane("dep-churn")["in_flight"] == 1)
    yield found
    replica.gate.set()
    found.end()


def test_what_matters_more_goes_first_and_keeps_its_order(gateway: Running, replicas: Make) -> None:
    order: list[str] = []
    with crowd(gateway, replicas, order) as waiting:
        waiting.send("a", 1)
        waiting.send("b", 2, X_API_Key="normal")
        waiting.send("c", 3, X_API_Key="high")
        waiting.send("d", 4, X_API_Key="high")
    assert order == ["first", "c", "d", "a", "b"]


def test_a_full_queue_makes_room_for_what_matters_more(gateway: Running, replicas: Make) -> None:
    order: list[str] = []
    with crowd(gateway, replicas, order, queue_size=3) as waiting:
        waiting.send("low", 1, X_API_Key="low")
        waiting.send("a", 2)
        waiting.send("b", 3)
        waiting.send("c", 3)  # in place of low
        gateway.wait(lambda: waiting.answers.get("low") == 429)
        waiting.send("d", 3)
        gateway.wait(lambda: waiting.answers.get("d") == 429)  # nobody matters less
        waiting.send("urgent", 3, X_API_Key="high")
        gateway.wait(lambda: waiting.answers.get("c") == 429)  # the youngest of those that matter less
    assert order == ["first", "urgent", "a", "b"]


def test_what_matters_less_gets_half_of_the_queue(gateway: Running, replicas: Make) -> None:
    order: list[str] = []
    with crowd(gateway, replicas, order, queue_size=4) as waiting:
        waiting.send("a", 1, X_API_Key="low")
        waiting.send("b", 2, X_API_Key="low")
        waiting.send("c", 2, X_API_Key="low")
        gateway.wait(lambda: waiting.answers.get("c") == 429)
        waiting.send("d", 3)
    assert order == ["first", "a", "b", "d"]


def test_a_client_may_say_that_its_request_matters_less_never_more(gateway: Running, replicas: Make) -> None:
    order: list[str] = []
    with crowd(gateway, replicas, order, queue_size=4) as waiting:
        waiting.send("a", 1, Priority="u=7")
        waiting.send("b", 2, Priority="u=0")
        waiting.send("c", 3, X_API_Key="high")
        waiting.send("d", 3, X_API_Key="high", Priority="u=6, i")
        gateway.wait(lambda: waiting.answers.get("d") == 429)
    assert order == ["first", "c", "a", "b"]


@pytest.mark.parametrize(
    ("rank", "queued", "wait_s", "shed"),
    [
        (0, 9, 0.0, False), (0, 10, 0.0, True), (-1, 4, 0.0, False), (-1, 5, 0.0, True), (1, 10, 0.0, True),
        (0, 6, 31.0, True), (0, 6, 29.0, False),
    ],
)  # fmt: skip
def test_what_would_wait_longer_than_it_may_is_refused_at_once(
    rank: int, queued: int, wait_s: float, shed: bool
) -> None:
    assert rules.is_shed(rank, queued, 10, wait_s, 30.0) == shed


def test_the_wait_is_the_queue_at_the_measured_speed() -> None:
    assert rules.wait_s(100, 4, 0.2) == pytest.approx(5.0)
    assert rules.wait_s(100, 0, 0.2) == rules.wait_s(100, 4, 0.0) == 0.0
