"""Requests to model services: routing, keys, limits, order, death of replicas."""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from bough.gateway.models import Key
from bough.runtime.frames import Reply, Request
from tests.ports import free_port

from .conftest import Replica, Running, read_all, route

Make = Callable[..., Replica]


def code(body: bytes) -> str:
    return str(json.loads(body)["error"]["code"])


def test_a_prediction_comes_back_with_a_request_id(gateway: Running, replicas: Make) -> None:
    gateway.start(routes=[route("churn", replicas())])
    status, headers, body = gateway.post("churn", {"x": 1})
    assert (status, json.loads(body)) == (200, {"x": 1})
    assert headers["content-type"] == "application/json"
    assert headers["x-request-id"]
    assert gateway.post("churn", {}, x_request_id="mine-1")[1]["x-request-id"] == "mine-1"
    assert gateway.post("churn", {}, x_request_id="not valid\t")[1]["x-request-id"] != "not valid\t"


def test_a_known_head_is_answered_the_same_as_a_new_one(gateway: Running, replicas: Make) -> None:
    gateway.start(routes=[route("churn", replicas())])
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
    ids = set()
    for number in range(5):
        connection.request("POST", "/v1/churn/predict", json.dumps({"n": number}))
        answer = connection.getresponse()
        assert json.loads(answer.read()) == {"n": number}
        ids.add(answer.getheader("x-request-id"))
    connection.close()
    assert len(gateway.gateway.front.known) == 1
    assert len(ids) == 5


def test_unknown_paths_and_services_are_404_with_a_hint(gateway: Running, replicas: Make) -> None:
    gateway.start(routes=[route("churn", replicas())])
    for path in ("/v1/nope/predict", "/v2/churn/predict", "/nothing", "/"):
        status, _, body = gateway.request("POST", path, b"{}")
        assert (status, code(body)) == (404, "ROUTE_NOT_FOUND"), path
    assert "shop/main/v1" in json.loads(gateway.request("POST", "/v2/churn/predict", b"{}")[2])["error"]["hint"]
    status, headers, body = gateway.request("GET", "/v1/churn/predict")
    assert (status, headers["allow"], code(body)) == (405, "POST", "METHOD_NOT_ALLOWED")


def test_projects_and_environments_are_told_apart(gateway: Running, replicas: Make) -> None:
    def says(name: str) -> Callable[[Request], list[Reply]]:
        return lambda request: [Reply(request.id, 200, json.dumps(name).encode())]

    gateway.start(
        routes=[
            route("churn", replicas("a", says("a")), project="a", deployment="d1"),
            route("churn", replicas("b", says("b")), project="b", deployment="d2"),
            route("churn", replicas("p", says("preview")), project="b", environment="pr-7", deployment="d3"),
            route("churn", replicas("v2", says("second")), project="b", api="v2", deployment="d4"),
        ]
    )
    status, _, body = gateway.post("churn", {})
    assert (status, code(body)) == (409, "ROUTE_AMBIGUOUS")
    assert "churn.a" in json.loads(body)["error"]["hint"]
    assert json.loads(body)["error"]["fields"]["projects"] == ["a", "b"]

    def answer(path: str = "/v1/churn/predict", **headers: str) -> Any:
        return json.loads(gateway.request("POST", path, b"{}", **headers)[2])

    assert answer("/v1/churn.a/predict") == "a"
    assert answer("/v1/churn.b/predict") == "b"
    assert answer("/v1/churn--pr-7.b/predict") == "preview"

    assert answer(X_Bough_Project="a") == "a"
    assert answer(X_Bough_Project="b") == "b"
    assert answer(X_Bough_Project="b", X_Bough_Environment="pr-7") == "preview"
    assert answer(Host="churn.a.localhost") == "a"
    assert answer(Host=f"churn.b.localhost:{gateway.port}") == "b"
    assert answer(Host="churn--pr-7.b.localhost") == "preview"
    assert answer("/predict", Host="churn--pr-7.b.localhost") == "preview"
    assert answer("/v2/churn/predict", X_Bough_Project="b") == "second"
    assert gateway.request("POST", "/v1/churn/predict", b"{}", Host="other.a.localhost")[0] == 404


def test_keys_open_what_they_are_for(gateway: Running, replicas: Make) -> None:
    def key(text: str, **fields: Any) -> Key:
        return Key(id=text, hash=hashlib.sha256(text.encode()).hexdigest(), **({"project": "shop"} | fields))

    routes = [route("churn", replicas(), access="key")]
    keys = [key("good"), key("old", expires_at=1.0), key("foreign", project="x"), key("narrow", services=["other"])]
    gateway.start(routes=routes, keys=keys)
    status, headers, body = gateway.post("churn", {})
    assert (status, code(body)) == (401, "KEY_MISSING")
    assert headers["www-authenticate"].startswith("Bearer")
    assert gateway.post("churn", {}, Authorization="Bearer good")[0] == 200
    assert gateway.post("churn", {}, X_API_Key="good")[0] == 200
    for text, status in (("bad", 401), ("old", 401), ("foreign", 403), ("narrow", 403)):
        assert gateway.post("churn", {}, Authorization=f"Bearer {text}")[0] == status, text
    gateway.apply(routes, [])
    assert gateway.post("churn", {}, Authorization="Bearer good")[0] == 401


def test_a_body_over_the_limit_is_413_before_it_is_read(gateway: Running, replicas: Make) -> None:
    gateway.start(routes=[route("churn", replicas(), max_body_bytes=1000)])
    head = b"POST /v1/churn/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"
    answer = gateway.exchange(head)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"Connection: close" in answer
    chunked = b"POST /v1/churn/predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = gateway.exchange(chunked + b"400\r\n" + b"x" * 1024 + b"\r\n400\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert gateway.post("churn", "x" * 900)[0] == 200


def test_a_full_queue_is_429_and_says_when_to_come_back(gateway: Running, replicas: Make) -> None:
    replica = replicas(max_batch=1)
    replica.gate.clear()
    gateway.start(routes=[route("churn", replica, queue_size=2)])
    gateway.until_up("dep-churn")
    first = [threading.Thread(target=gateway.post, args=("churn", n)) for n in range(3)]
    for thread in first:
        thread.start()
    gateway.wait(lambda: gateway.lane("dep-churn")["queued"] == 2)
    status, headers, body = gateway.post("churn", {})
    assert (status, code(body)) == (429, "QUEUE_FULL")
    assert int(headers["retry-after"]) >= 1
    replica.gate.set()
    for thread in first:
        thread.join(60)
    assert gateway.post("churn", {})[0] == 200


def test_a_late_answer_is_504_and_cancelled(gateway: Running, replicas: Make) -> None:
    replica = replicas(mode="concurrent")
    replica.gate.clear()
    gateway.start(routes=[route("churn", replica, timeout_s=0.2)])
    status, headers, body = gateway.post("churn", {})
    assert (status, code(body)) == (504, "TIMEOUT")
    assert "retry-after" in headers
    replica.gate.set()
    gateway.wait(lambda: replica.cancelled)
    gateway.apply([route("churn", replica)])
    assert gateway.post("churn", {})[0] == 200


def test_no_replica_is_held_then_503(gateway: Running, replicas: Make) -> None:
    replica = replicas()
    replica.kill()
    gateway.start(routes=[route("churn", replica, timeout_s=0.2)])
    status, _, body = gateway.post("churn", {})
    assert (status, code(body)) == (503, "NO_REPLICA")


def test_a_request_waits_for_a_replica_to_come_up(gateway: Running, replicas: Make) -> None:
    replica = replicas()
    replica.kill()
    gateway.start(routes=[route("churn", replica)])
    got: list[int] = []
    asking = threading.Thread(target=lambda: got.append(gateway.post("churn", {})[0]))
    asking.start()
    gateway.wait(lambda: gateway.lane("dep-churn")["queued"] == 1)
    replica.start()
    asking.join(60)
    assert got == [200]


def test_a_dead_replicas_requests_are_answered_by_another(gateway: Running, replicas: Make) -> None:
    first, second = replicas("u1"), replicas("u2")
    first.gate.clear()
    second.gate.clear()
    gateway.start(routes=[route("churn", first, second)])
    gateway.until_up("dep-churn", 2)
    got: list[bytes] = []
    asking = [threading.Thread(target=lambda n=n: got.append(gateway.post("churn", n)[2])) for n in range(6)]
    for thread in asking:
        thread.start()
    assert first.arrived.wait(60)
    first.kill()
    second.gate.set()
    for thread in asking:
        thread.join(60)
    assert sorted(got) == [str(n).encode() for n in range(6)]


@pytest.mark.parametrize("idempotent", [True, False])
def test_a_request_that_kills_is_not_sent_for_ever(gateway: Running, replicas: Make, idempotent: bool) -> None:
    made: list[Replica] = []

    def die(request: Request) -> list[Reply]:
        victim = next(
            replica for replica in made if not replica.dead and any(request in frame for frame in replica.frames)
        )
        threading.Thread(target=victim.kill).start()
        return []

    made += [replicas(f"u{n}", die) for n in range(3)]
    gateway.start(routes=[route("churn", *made, idempotent=idempotent)])
    gateway.until_up("dep-churn", 3)
    status, _, body = gateway.post("churn", {})
    assert (status, code(body)) == (502, "REPLICA_LOST")
    assert sum(len(replica.frames) for replica in made) == (2 if idempotent else 1)


def test_a_client_that_hangs_up_does_not_disturb_the_others(gateway: Running, replicas: Make) -> None:
    replica = replicas()
    replica.gate.clear()
    gateway.start(routes=[route("churn", replica)])
    gateway.until_up("dep-churn")
    request = b"POST /v1/churn/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"
    with gateway.raw(request + b'"a"'):
        assert replica.arrived.wait(60)
        got: list[bytes] = []
        asking = [threading.Thread(target=lambda n=n: got.append(gateway.post("churn", n)[2])) for n in range(4)]
        for thread in asking:
            thread.start()
        gateway.wait(lambda: gateway.lane("dep-churn")["queued"] == 4)
    replica.gate.set()
    for thread in asking:
        thread.join(60)
    assert sorted(got) == [b"0", b"1", b"2", b"3"]


def test_headers_and_status_of_a_reply_reach_the_client_but_not_its_framing(gateway: Running, replicas: Make) -> None:
    lines = b"Content-Type: text/plain\r\nX-Mine: 1\r\nContent-Length: 999\r\nTransfer-Encoding: chunked\r\n"
    gateway.start(routes=[route("churn", replicas("u1", lambda request: [Reply(request.id, 418, b"short", 0, lines)]))])
    status, headers, body = gateway.post("churn", {})
    assert (status, body, headers["content-type"], headers["x-mine"]) == (418, b"short", "text/plain", "1")
    assert (headers["content-length"], "transfer-encoding" in headers) == ("5", False)


def test_a_port_of_its_own_serves_one_service(gateway: Running, replicas: Make) -> None:
    port = free_port()
    gateway.start(routes=[route("churn", replicas(), port=port), route("other", replicas("u2"))])
    for path, wanted in ((b"/predict", b"200"), (b"/v1/churn/predict", b"200"), (b"/v1/other/predict", b"404")):
        request = b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
        with gateway.raw(request, port) as connection:
            assert read_all(connection).split(b" ")[1] == wanted, path
    gateway.apply([route("churn", replicas("u3"))])
    with pytest.raises(ConnectionRefusedError), gateway.raw(b"", port):
        pass
