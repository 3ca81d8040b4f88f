"""A route that several deployments answer by shares, and copies that nobody notices."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from bough.gateway.models import Route, Variant
from bough.runtime.frames import CHUNK, END, Reply, Request

from ..conftest import Replica, Running, route

Make = Callable[..., Replica]


def says(text: str) -> Callable[[Request], list[Reply]]:
    return lambda request: [Reply(request.id, 200, json.dumps(text).encode())]


def fails(request: Request) -> list[Reply]:
    return [Reply(request.id, 500, b'{"error": "broken"}')]


def variant(replica: Replica, **fields: Any) -> Variant:
    base: dict[str, Any] = {"deployment": "dep-new", "name": "v2", "targets": [replica.target()]}
    return Variant(**base | fields)


def divided(main: Replica, *variants: Variant, **fields: Any) -> Route:
    return route("churn", main, variants=list(variants), **fields)


@pytest.fixture
def two(gateway: Running, replicas: Make) -> tuple[Replica, Replica]:
    return replicas("u1", says("old")), replicas("u2", says("new"))


def start(gateway: Running, found: Route) -> None:
    gateway.start(routes=[found])
    gateway.until_up("dep-churn")
    gateway.until_up("dep-new")


def answers(gateway: Running, count: int, **headers: str) -> list[str]:
    return [json.loads(gateway.post("churn", n, **headers)[2]) for n in range(count)]


def share(gateway: Running, deployment: str) -> dict[str, Any]:
    found: dict[str, Any] = next(
        each for each in gateway.control("GET", "/state")["shares"] if each["deployment"] == deployment
    )
    return found


@pytest.mark.parametrize("percent", [5.0, 25.0, 50.0, 100.0])
def test_a_share_is_dealt_out_exactly(gateway: Running, two: tuple[Replica, Replica], percent: float) -> None:
    start(gateway, divided(two[0], variant(two[1], percent=percent)))
    found = Counter(answers(gateway, 100))
    assert found["new"] == percent and found["old"] == 100 - percent


def test_three_deployments_share_a_route(gateway: Running, replicas: Make, two: tuple[Replica, Replica]) -> None:
    third = replicas("u3", says("third"))
    other = variant(third, deployment="dep-third", name="v3", percent=20.0)
    start(gateway, divided(two[0], variant(two[1], percent=30.0), other))
    gateway.until_up("dep-third")
    assert Counter(answers(gateway, 100)) == {"old": 50, "new": 30, "third": 20}


def test_each_deployment_is_counted_by_itself(gateway: Running, replicas: Make) -> None:
    start(gateway, divided(replicas("u1", says("old")), variant(replicas("u2", fails), percent=25.0)))
    for n in range(40):
        gateway.post("churn", n)
    mine, other = share(gateway, "dep-churn"), share(gateway, "dep-new")
    told = {each["release"]: each.get("deployment") for each in gateway.control("GET", "/traffic")["routes"]}
    assert told == {"1": "dep-churn", "1/v2": "dep-new"}, "both answer now"
    assert (mine["requests"], mine["errors"]) == (30, 0)
    assert (other["requests"], other["errors"]) == (10, 10)
    assert sum(other["buckets"]) == 10 and 0 < other["seconds"] < 10
    text = gateway.request("GET", "/metrics")[2].decode()
    assert 'release="1/v2",service="churn",status="500"} 10.0' in text
    assert 'release="1",service="churn",status="200"} 30.0' in text


def test_the_same_caller_is_always_answered_by_the_same_deployment(
    gateway: Running, two: tuple[Replica, Replica]
) -> None:
    start(gateway, divided(two[0], variant(two[1], percent=50.0), sticky="header:X-User"))
    by_user = {f"user-{n}": set(answers(gateway, 6, **{"X-User": f"user-{n}"})) for n in range(40)}
    assert all(len(found) == 1 for found in by_user.values())
    count = Counter(next(iter(found)) for found in by_user.values())
    assert 8 <= count["new"] <= 32, "half of the users, as a hash divides them"
    before = {user for user, found in by_user.items() if found == {"new"}}
    gateway.apply([divided(two[0], variant(two[1], percent=75.0), sticky="header:X-User")])
    after = {user for user in by_user if set(answers(gateway, 2, **{"X-User": user})) == {"new"}}
    assert before <= after, "a larger share keeps those that it has"
    assert Counter(answers(gateway, 20))["new"] == 15, "who says nothing is dealt out by turns"


def test_a_deployment_that_nobody_can_reach_takes_no_share(gateway: Running, two: tuple[Replica, Replica]) -> None:
    start(gateway, divided(two[0], variant(two[1], percent=50.0)))
    two[1].kill()
    gateway.wait(lambda: gateway.lane("dep-new")["links"] == 0)
    assert set(answers(gateway, 20)) == {"old"}


def test_a_request_that_dies_with_its_replica_is_answered_by_another_of_the_same_share_or_refused(
    gateway: Running, two: tuple[Replica, Replica]
) -> None:
    start(gateway, divided(two[0], variant(two[1], percent=100.0), timeout_s=3.0))
    two[1].gate.clear()
    got: list[int] = []
    thread = threading.Thread(target=lambda: got.append(gateway.post("churn", 1)[0]))
    thread.start()
    assert two[1].arrived.wait(60)
    two[1].kill()
    thread.join(60)
    assert got == [503]
    assert share(gateway, "dep-new")["errors"] == 1
    assert answers(gateway, 3) == ["old"] * 3


def test_a_client_that_hangs_up_is_not_sent_on(gateway: Running, two: tuple[Replica, Replica]) -> None:
    start(gateway, divided(two[0], variant(two[1], percent=100.0)))
    two[1].gate.clear()
    with gateway.raw(b"POST /v1/churn/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1"):
        assert two[1].arrived.wait(60)
    two[1].gate.set()
    gateway.wait(lambda: two[1].cancelled or gateway.lane("dep-new")["in_flight"] == 0)
    assert answers(gateway, 2) == ["new", "new"]


@pytest.mark.parametrize("handle", [says("new"), fails], ids=["answers", "fails"])
def test_copies_are_sent_and_counted_and_change_no_answer(
    gateway: Running, replicas: Make, handle: Callable[[Request], list[Reply]]
) -> None:
    start(gateway, divided(replicas("u1", says("old")), variant(replicas("u2", handle), copies=True)))
    assert answers(gateway, 30) == ["old"] * 30
    gateway.wait(lambda: share(gateway, "dep-new")["requests"] == 30)
    assert share(gateway, "dep-new")["errors"] == (30 if handle is fails else 0)
    assert share(gateway, "dep-churn")["requests"] == 30


def test_copies_of_one_that_hangs_or_dies_cost_nobody_an_answer(gateway: Running, two: tuple[Replica, Replica]) -> None:
    start(gateway, divided(two[0], variant(two[1], copies=True)))
    two[1].gate.clear()
    assert answers(gateway, 100) == ["old"] * 100
    found = share(gateway, "dep-new")
    assert found["requests"] == 0 and found["left_out"] == 100 - 64
    two[1].kill()
    assert answers(gateway, 20) == ["old"] * 20


def test_copies_of_streams_are_read_to_their_end(gateway: Running, replicas: Make) -> None:
    def stream(request: Request) -> list[Reply]:
        return [Reply(request.id, 200, b"a\n", CHUNK), Reply(request.id, 200, b"b\n", CHUNK),
                Reply(request.id, 200, b"", END)]  # fmt: skip

    start(gateway, divided(replicas("u1", stream), variant(replicas("u2", stream), copies=True)))
    for n in range(5):
        assert gateway.post("churn", n)[2] == b"a\nb\n"
    gateway.wait(lambda: share(gateway, "dep-new")["requests"] == 5)


def test_the_split_ends_without_losing_a_request_whoever_wins(gateway: Running, two: tuple[Replica, Replica]) -> None:
    """Under load: shares grow, the new deployment takes over, and its lane is the one that was connected already."""
    start(gateway, divided(two[0], variant(two[1], percent=5.0)))
    statuses: list[int] = []
    going = threading.Event()
    going.set()

    def load() -> None:
        while going.is_set():
            statuses.append(gateway.post("churn", 1)[0])

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for percent in (25.0, 60.0, 100.0):
        gateway.apply([divided(two[0], variant(two[1], percent=percent))])
        assert Counter(answers(gateway, 40))["new"] > 0
    gateway.apply([route("churn", two[1], deployment="dep-new", release=2)])
    assert set(answers(gateway, 20)) == {"new"}
    connections = two[1].connections
    gateway.apply([divided(two[1], variant(two[0], deployment="dep-old", percent=50.0), deployment="dep-new")])
    gateway.until_up("dep-old")
    assert set(answers(gateway, 20)) == {"new", "old"}
    gateway.apply([route("churn", two[1], deployment="dep-new", release=2)])  # aborted
    assert set(answers(gateway, 20)) == {"new"}
    going.clear()
    for thread in threads:
        thread.join(60)
    assert set(statuses) == {200} and len(statuses) > 50
    assert connections == 1, "the lane of the share went on"
    assert gateway.control("GET", "/state").get("shares", []) == []
