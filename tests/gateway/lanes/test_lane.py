"""Batches, streams, switches of the table, and answers under load."""

from __future__ import annotations

import http.client
import json
import random
import socket
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from bough.gateway.http import connection as gateway_http
from bough.gateway.lanes.wire import Wire
from bough.gateway.models import Target
from bough.runtime.frames import CHUNK, END, GOODBYE, Reply, Request

from ..conftest import Replica, Running, echo, read_all, route

Make = Callable[..., Replica]
SSE = b"Content-Type: text/event-stream\r\n"


def ask_many(gateway: Running, count: int, service: str = "churn") -> list[threading.Thread]:
    threads = [threading.Thread(target=gateway.post, args=(service, n)) for n in range(count)]
    for thread in threads:
        thread.start()
    return threads


def metric(gateway: Running, name: str) -> float:
    text = gateway.request("GET", "/metrics")[2].decode()
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))


def test_what_arrived_meanwhile_leaves_as_one_batch(gateway: Running, replicas: Make) -> None:
    replica = replicas(max_batch=8)
    replica.gate.clear()
    gateway.start(routes=[route("churn", replica)])
    gateway.until_up("dep-churn")
    threads = ask_many(gateway, 1)
    assert replica.arrived.wait(60)
    threads += ask_many(gateway, 11)
    gateway.wait(lambda: gateway.lane("dep-churn")["queued"] == 11)
    replica.gate.set()
    for thread in threads:
        thread.join(60)
    assert [len(frame) for frame in replica.frames] == [1, 8, 3]
    label = 'bough_batches_total{deployment="dep-churn",environment="main",project="shop",reason="%s"'
    assert metric(gateway, label % "full") == 1
    assert metric(gateway, label % "idle") == 2


def test_a_model_that_pads_gets_requests_of_similar_size_and_nobody_waits_for_ever(
    gateway: Running, replicas: Make
) -> None:
    replica = replicas(max_batch=8, similar=True)
    replica.gate.clear()
    gateway.start(routes=[route("churn", replica)])
    gateway.until_up("dep-churn")
    threads = ask_many(gateway, 1)
    assert replica.arrived.wait(60)
    said: dict[str, bytes] = {}

    def ask(text: str) -> None:
        said[text] = gateway.post("churn", text)[2]

    texts = [letter * size for letter, size in zip("abcdefgh", (40, 900, 42, 850, 38, 90, 41, 95), strict=True)]
    for queued, text in enumerate(texts, 1):
        threads.append(threading.Thread(target=ask, args=(text,)))
        threads[-1].start()
        gateway.wait(lambda queued=queued: gateway.lane("dep-churn")["queued"] == queued)
    replica.gate.set()
    for thread in threads:
        thread.join(60)
    letters = [[json.loads(request.body)[0] for request in frame] for frame in replica.frames[1:]]
    assert letters == [["a", "c", "e", "g"], ["b", "d"], ["f", "h"]]
    assert {text: json.loads(answer) for text, answer in said.items()} == {text: text for text in texts}


def test_similar_requests_of_which_one_killed_a_replica_do_not_travel_with_it(gateway: Running, replicas: Make) -> None:
    first, second = replicas("u1", similar=True), replicas("u2", similar=True)
    first.gate.clear()
    second.gate.clear()
    gateway.start(routes=[route("churn", first, second)])
    gateway.until_up("dep-churn", 2)
    threads = ask_many(gateway, 2)
    gateway.wait(lambda: gateway.lane("dep-churn")["in_flight"] == 2)
    threads += ask_many(gateway, 4)
    gateway.wait(lambda: gateway.lane("dep-churn")["queued"] == 4)
    first.kill()
    gateway.wait(lambda: gateway.lane("dep-churn")["queued"] == 5)
    second.gate.set()
    for thread in threads:
        thread.join(60)
    assert [len(frame) for frame in second.frames] == [1, 1, 4]


def test_a_queue_is_spread_over_the_replicas(gateway: Running, replicas: Make) -> None:
    first, second = replicas("u1"), replicas("u2")
    for replica in (first, second):
        replica.gate.clear()
    gateway.start(routes=[route("churn", first, second)])
    gateway.until_up("dep-churn", 2)
    threads = ask_many(gateway, 2)
    gateway.wait(lambda: gateway.lane("dep-churn")["in_flight"] == 2)
    threads += ask_many(gateway, 10)
    gateway.wait(lambda: gateway.lane("dep-churn")["queued"] == 10)
    first.gate.set()
    gateway.wait(lambda: len(first.frames) > 1)
    assert len(first.frames[1]) == 5
    second.gate.set()
    for thread in threads:
        thread.join(60)


def test_max_wait_holds_a_batch_open(gateway: Running, replicas: Make) -> None:
    replica = replicas()
    gateway.start(routes=[route("churn", replica, max_batch=3, max_wait_ms=150.0)])
    gateway.until_up("dep-churn")
    for thread in ask_many(gateway, 3):
        thread.join(60)
    assert [len(frame) for frame in replica.frames] == [3]
    began = time.monotonic()
    gateway.post("churn", 1)
    assert time.monotonic() - began >= 0.149
    assert (
        metric(
            gateway, 'bough_batches_total{deployment="dep-churn",environment="main",project="shop",reason="deadline"'
        )
        == 1
    )


def test_a_concurrent_replica_gets_everything_at_once_up_to_its_limit(gateway: Running, replicas: Make) -> None:
    replica = replicas(mode="concurrent", concurrency=3, handle=lambda request: [])
    gateway.start(routes=[route("churn", replica, timeout_s=3.0)])
    gateway.until_up("dep-churn")
    threads = ask_many(gateway, 5)
    wanted = {"deployment": "dep-churn", "queued": 2, "in_flight": 3, "links": 1}
    gateway.wait(lambda: wanted.items() <= gateway.lane("dep-churn").items())
    for thread in threads:
        thread.join(60)
    assert gateway.lane("dep-churn")["in_flight"] == 0


def test_a_stream_is_chunked_and_keeps_the_connection(gateway: Running, replicas: Make) -> None:
    def speak(request: Request) -> list[Reply]:
        parts = [Reply(request.id, 200, b"data: %d\n\n" % n, CHUNK, SSE) for n in range(5)]
        return [*parts, Reply(request.id, 200, b"data: [DONE]\n\n", END)]

    gateway.start(routes=[route("churn", replicas("u1", speak, mode="concurrent"))])
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
    for _ in range(3):
        connection.request("POST", "/v1/churn/predict", b"{}")
        answer = connection.getresponse()
        assert (answer.getheader("content-type"), answer.getheader("transfer-encoding")) == (
            "text/event-stream",
            "chunked",
        )
        assert answer.read() == b"".join(b"data: %d\n\n" % n for n in range(5)) + b"data: [DONE]\n\n"
    connection.close()
    answer10 = gateway.exchange(b"POST /v1/churn/predict HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}")
    assert answer10.endswith(b"\r\n\r\n" + b"".join(b"data: %d\n\n" % n for n in range(5)) + b"data: [DONE]\n\n")


def test_a_stream_whose_replica_dies_breaks_off(gateway: Running, replicas: Make) -> None:
    replica = replicas("u1", lambda request: [Reply(request.id, 200, b"part", CHUNK, SSE)], mode="concurrent")
    gateway.start(routes=[route("churn", replica)])
    request = b"POST /v1/churn/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
    with gateway.raw(request) as connection:
        data = b""
        while b"part" not in data:
            data += connection.recv(1000)
        replica.kill()
        assert not (data + read_all(connection)).endswith(b"0\r\n\r\n")
    assert len(replica.frames) == 1


def test_a_slow_reader_holds_its_stream_and_not_the_memory(gateway: Running, replicas: Make) -> None:
    part, parts = b"x" * 65536, 200  # 13 MB

    def flood(request: Request) -> list[Reply]:
        return [*(Reply(request.id, 200, part, CHUNK, SSE) for _ in range(parts)), Reply(request.id, 200, b"", END)]

    def endless(request: Request) -> list[Reply]:
        return flood(request) if b"flood" in request.body else [Reply(request.id, 200, request.body)]

    replica = replicas("u1", endless, mode="concurrent")
    gateway.start(routes=[route("churn", replica)])
    gateway.until_up("dep-churn")
    body = b'"flood"'
    head = b"POST /v1/churn/predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=60) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.sendall(head + body)
        assert replica.arrived.wait(60)

        def held() -> list[Any]:
            return [one for one in gateway.gateway.front.connections if one.held is not None]

        gateway.wait(held)
        buffered = held()[0].transport.get_write_buffer_size()
        assert buffered < gateway_http.SLOW_READER_BYTES + 64 * len(part)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)  # from here on it keeps up
        data = read_all(connection)
    assert data.count(b"x") >= len(part) * parts


def test_a_release_switches_under_load_without_a_failed_request(gateway: Running, replicas: Make) -> None:
    def says(name: bytes) -> Callable[[Request], list[Reply]]:
        return lambda request: [Reply(request.id, 200, b'{"from":"%b","n":%b}' % (name, request.body))]

    old = replicas("u1", says(b"old"))
    gateway.start(routes=[route("churn", old)])
    gateway.until_up("dep-churn")
    stop, bad, seen = threading.Event(), [], set()

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
        while not stop.is_set():
            number += 8
            connection.request("POST", "/v1/churn/predict", b"%d" % number)
            answer = connection.getresponse()
            body = json.loads(answer.read())
            if answer.status != 200 or body["n"] != number:
                bad.append((answer.status, body))
            seen.add(body.get("from"))
        connection.close()

    clients = [threading.Thread(target=client, args=(n,)) for n in range(8)]
    for thread in clients:
        thread.start()
    units = ["u1"]
    for release in range(2, 8):
        name = f"u{release}"
        fresh = replicas(name, says(name.encode()))
        fresh.kill()  # listed before it is up
        gateway.apply([route("churn", fresh, deployment=f"dep-{release}", release=release)])
        assert gateway.lane(f"dep-{release}")["links"] == 0
        fresh.start()
        gateway.until_up(f"dep-{release}")
        gateway.wait(lambda name=name: name in seen)  # type: ignore[misc]
        units.append(name)
    gateway.wait(lambda: len(gateway.control("GET", "/state")["lanes"]) == 1)
    stop.set()
    for thread in clients:
        thread.join(60)
    assert not bad
    assert seen >= {"old", *units[1:]}


def test_an_old_deployment_serves_until_the_new_one_is_up_and_a_rollback_needs_nothing(
    gateway: Running, replicas: Make
) -> None:
    old, never = replicas("u1"), replicas("u2")
    never.kill()
    gateway.start(routes=[route("churn", old)])
    gateway.until_up("dep-churn")
    gateway.apply([route("churn", never, deployment="dep-broken")])
    assert gateway.post("churn", 1)[0] == 200
    wanted = {"deployment": "dep-broken", "queued": 0, "in_flight": 0, "links": 0}
    assert wanted.items() <= gateway.lane("dep-broken").items()
    state = gateway.apply([route("churn", old)])
    assert [lane["deployment"] for lane in state["lanes"]] == ["dep-churn"]
    assert gateway.post("churn", 1)[0] == 200


def test_a_removed_route_answers_what_it_has_and_refuses_the_rest(gateway: Running, replicas: Make) -> None:
    replica = replicas()
    replica.gate.clear()
    gateway.start(routes=[route("churn", replica)])
    got: list[int] = []
    asking = threading.Thread(target=lambda: got.append(gateway.post("churn", 1)[0]))
    asking.start()
    assert replica.arrived.wait(60)
    state = gateway.apply([])
    assert state["lanes"][0]["in_flight"] == 1
    assert gateway.post("churn", 1)[0] == 404
    replica.gate.set()
    asking.join(60)
    assert got == [200]
    gateway.wait(lambda: not gateway.control("GET", "/state").get("lanes"))


def test_a_torn_table_keeps_the_one_in_use_and_a_new_file_is_noticed(gateway: Running, replicas: Make) -> None:
    gateway.start(routes=[route("churn", replicas())])
    path = gateway.home / "run" / "routes.json"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert gateway.control("POST", "/reload")["error"]["code"] == "TABLE_INVALID"
    assert gateway.post("churn", 1)[0] == 200
    gateway.write([route("churn", replicas("u2")), route("other", replicas("u3"))])
    gateway.wait(lambda: gateway.gateway.routes.generation == gateway.generation)
    assert gateway.post("other", 1)[0] == 200


def test_a_stranger_at_a_replicas_address_gets_no_work(gateway: Running, replicas: Make) -> None:
    stale = replicas("u1", attempt=1)
    target = stale.target().__class__(unit="u1", address=stale.target().address, attempt=2)
    gateway.start(routes=[route("churn", targets=[target], timeout_s=0.3)])
    assert gateway.post("churn", 1)[0] == 503
    assert not stale.frames


@pytest.mark.parametrize("mode", ["item", "batch", "concurrent"])
def test_answers_are_never_swapped_under_kills_and_hang_ups(gateway: Running, replicas: Make, mode: str) -> None:
    units = [replicas(f"u{n}", mode=mode, max_batch=16) for n in range(3)]
    gateway.start(routes=[route("churn", *units)])
    gateway.until_up("dep-churn", 3)
    bad: list[Any] = []
    done = [0]

    def client(seed: int) -> None:
        dice = random.Random(seed)
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
        for number in range(120):
            body = json.dumps({"who": seed, "n": number, "pad": "x" * dice.randint(0, 50)}).encode()
            connection.request("POST", "/v1/churn/predict", body)
            if dice.random() < 0.1:
                connection.close()  # hangs up with the answer under way
                continue
            answer = connection.getresponse()
            got = answer.read()
            done[0] += 1
            if answer.status != 200 or got != body:
                bad.append((answer.status, body, got))
        connection.close()

    clients = [threading.Thread(target=client, args=(n,)) for n in range(12)]
    for thread in clients:
        thread.start()
    for number in range(6):
        victim = units[number % 3]
        victim.arrived.clear()
        victim.arrived.wait(2)
        victim.kill()
        victim.start()
        gateway.until_up("dep-churn", 3)
    for thread in clients:
        thread.join(30)
    # A request may meet two dying replicas in turn, which is a 502 by contract; it is never another's answer.
    assert not [entry for entry in bad if entry[0] != 502], bad[:3]
    assert len(bad) <= 3
    assert done[0] > 1000


def test_a_wire_that_speaks_nonsense_is_dropped_and_its_request_goes_elsewhere(
    gateway: Running, replicas: Make
) -> None:
    assert Wire.__slots__  # one object per connection, thousands of calls through it
    listener = socket.socket(socket.AF_UNIX)
    path = gateway.home / "bad.sock"
    listener.bind(str(path))
    listener.listen(8)

    def nonsense() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(b"\x05\x00\x00\x00hello")

    thread = threading.Thread(target=nonsense, daemon=True)
    thread.start()
    good = replicas("u1")
    bad = good.target().__class__(unit="bad", address=f"unix:{path}")
    gateway.start(routes=[route("churn", targets=[bad, good.target()])])
    assert gateway.post("churn", 1)[0] == 200
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(60)


def test_a_replica_that_says_goodbye_answers_what_it_has_and_gets_no_more(gateway: Running, replicas: Make) -> None:
    replica = replicas("u1", lambda request: [Reply(0, 0, b"", GOODBYE), Reply(request.id, 200, request.body)])
    gateway.start(routes=[route("churn", replica)])
    for number in range(3):  # after each goodbye the next request goes to the next connection
        assert gateway.post("churn", number)[::2] == (200, b"%d" % number)
        gateway.wait(lambda number=number: replica.connections == number + 2)  # type: ignore[misc]


def test_a_newer_attempt_in_the_table_fences_off_the_older_one(gateway: Running, replicas: Make) -> None:
    replica = replicas("u1", attempt=1)
    gateway.start(routes=[route("churn", replica, timeout_s=5.0)])
    gateway.until_up("dep-churn")
    newer = Target(unit="u1", address=replica.target().address, attempt=2)
    gateway.apply([route("churn", targets=[newer], timeout_s=5.0)])
    gateway.wait(lambda: gateway.lane("dep-churn")["links"] == 0)
    replica.kill()
    replica.attempt = 2
    replica.start()
    assert gateway.post("churn", 1)[0] == 200


def test_batches_stay_small_enough_for_the_objective(gateway: Running, replicas: Make) -> None:
    """Items take 30 ms each: within 135 ms there is room for four, and without an objective for all that wait."""

    def slow(request: Request) -> list[Reply]:
        time.sleep(0.03)
        return echo(request)

    held, free = replicas("held", slow), replicas("free", slow)
    gateway.start(routes=[route("held", held, objective_s=0.135), route("free", free)])
    for name in ("held", "free"):
        gateway.until_up(f"dep-{name}")
        assert [gateway.post(name, n)[0] for n in range(3)] == [200] * 3
    with ThreadPoolExecutor(24) as clients:
        answers = [clients.submit(gateway.post, "held", n) for n in range(24)]
        assert {each.result()[0] for each in answers} == {200}
        free.gate.clear()
        answers = [clients.submit(gateway.post, "free", n) for n in range(24)]
        gateway.wait(lambda: gateway.lane("dep-free")["queued"] + gateway.lane("dep-free")["in_flight"] == 24)
        free.gate.set()
        assert {each.result()[0] for each in answers} == {200}
    assert statistics.median(map(len, held.frames)) <= 4 < 8 <= max(map(len, free.frames))
