"""Answers that are kept: of services that say so, by the whole body, for as long as one deployment answers."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator

import pytest

from bough.gateway.models import Variant
from bough.gateway.routing.cache import Cache
from bough.runtime.frames import CHUNK, END, Reply, Request

from ..conftest import Replica, Running, route

Make = Callable[..., Replica]
ROOM = 1 << 20


@pytest.fixture
def counting(replicas: Make) -> Callable[..., Replica]:
    """Replicas that answer with how often they were asked."""
    numbers: Iterator[int] = iter(range(1, 1000))

    def handle(request: Request) -> list[Reply]:
        return [Reply(request.id, 200, json.dumps(next(numbers)).encode())]

    return lambda unit="u1": replicas(unit, handle)


def ask(gateway: Running, body: object, **headers: str) -> tuple[int, str]:
    status, found, answer = gateway.post("churn", body, **headers)
    assert status == 200
    return json.loads(answer), found.get("cache-status", "")


def test_equal_requests_are_answered_once(gateway: Running, counting: Make) -> None:
    gateway.start(routes=[route("churn", counting(), cache_bytes=ROOM)])
    assert ask(gateway, {"x": 1}) == (1, "")
    assert ask(gateway, {"x": 1}) == (1, "bough; hit")
    assert ask(gateway, {"x": 2}) == (2, "")
    assert ask(gateway, {"x": 1}) == (1, "bough; hit")
    text = gateway.request("GET", "/metrics")[2].decode()
    assert 'result="hit",service="churn"} 2.0' in text and 'result="miss",service="churn"} 2.0' in text


def test_without_the_service_s_word_nothing_is_kept(gateway: Running, counting: Make) -> None:
    gateway.start(routes=[route("churn", counting())])
    assert [ask(gateway, {})[0] for _ in range(3)] == [1, 2, 3]


def test_kept_connections_and_pipelines_get_their_own_answers(gateway: Running, counting: Make) -> None:
    gateway.start(routes=[route("churn", counting(), cache_bytes=ROOM)])
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
    found = []
    for body in ("1", "2", "1", "2", "1"):
        connection.request("POST", "/v1/churn/predict", body)
        found.append(json.loads(connection.getresponse().read()))
    connection.close()
    assert found == [1, 2, 1, 2, 1]
    one = b"POST /v1/churn/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1"
    last = one.replace(b"Host: x", b"Host: x\r\nConnection: close")
    answers = gateway.exchange(one * 5 + last)
    assert answers.count(b"HTTP/1.1 200 OK") == 6 and answers.count(b"\r\n\r\n1") == 6


def test_who_wants_a_fresh_answer_gets_one(gateway: Running, counting: Make) -> None:
    gateway.start(routes=[route("churn", counting(), cache_bytes=ROOM)])
    assert ask(gateway, 1)[0] == 1
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
    found = []
    for _ in range(3):
        connection.request("POST", "/v1/churn/predict", "1", {"Cache-Control": "no-cache"})
        found.append(json.loads(connection.getresponse().read()))
    connection.close()
    assert found == [2, 3, 4]
    assert ask(gateway, 1) == (4, "bough; hit")


def test_another_deployment_begins_with_nothing(gateway: Running, counting: Make) -> None:
    gateway.start(routes=[route("churn", counting(), cache_bytes=ROOM)])
    assert [ask(gateway, 1)[0] for _ in range(2)] == [1, 1]
    gateway.apply([route("churn", counting("u2"), cache_bytes=ROOM, deployment="dep-2", release=2)])
    gateway.wait(lambda: gateway.lane("dep-2").get("links") == 1)
    gateway.wait(lambda: not gateway.lane("dep-churn"))
    assert [ask(gateway, 1)[0] for _ in range(2)] == [2, 2]


def test_while_several_deployments_answer_nothing_is_kept(gateway: Running, counting: Make) -> None:
    variant = Variant(deployment="dep-new", name="v2", targets=[counting("u2").target()], percent=50.0)
    gateway.start(routes=[route("churn", counting(), cache_bytes=ROOM, variants=[variant])])
    gateway.until_up("dep-new")
    assert len({ask(gateway, 1)[0] for _ in range(4)}) == 4


def test_errors_and_streams_are_not_kept(gateway: Running, replicas: Make) -> None:
    def handle(request: Request) -> list[Reply]:
        if request.body == b"1":
            return [Reply(request.id, 500, b"{}")]
        return [Reply(request.id, 200, b"a", CHUNK), Reply(request.id, 200, b"", END)]

    replica = replicas("u1", handle)
    gateway.start(routes=[route("churn", replica, cache_bytes=ROOM)])
    for body in (1, 1, 2, 2):
        gateway.post("churn", body)
    assert sum(map(len, replica.frames)) == 4


def test_the_least_recently_used_leave_first_and_the_room_is_kept(gateway: Running, counting: Make) -> None:
    gateway.start(routes=[route("churn", counting(), cache_bytes=10_000)])
    for number in range(40):
        ask(gateway, number)
        ask(gateway, 0)
    way = gateway.gateway.routes.entries["shop", "main", "churn", "v1"].way
    assert isinstance(way, Cache)
    assert way.bytes <= 10_000 and 10 <= way.kept < 40
    assert ask(gateway, 0) == (1, "bough; hit")
    assert ask(gateway, 1)[1] == ""


def test_old_answers_are_asked_for_anew(gateway: Running, counting: Make) -> None:
    gateway.start(routes=[route("churn", counting(), cache_bytes=ROOM, cache_age_s=0.05)])
    assert ask(gateway, 1)[0] == 1
    gateway.wait(lambda: ask(gateway, 1)[0] == 2)
