"""The client's side: malformed and hostile input, pipelining, connections."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from bough.gateway.http import reader as http
from bough.runtime.frames import Reply

from ..conftest import Replica, Running, read_all, route

Make = Callable[..., Replica]
POST = b"POST /v1/churn/predict HTTP/1.1\r\nHost: x\r\n"


def bodies(answer: bytes) -> list[bytes]:
    return re.findall(rb"Content-Length: \d+\r\n(?:Connection: \S+\r\n)?\r\n(.*?)(?=HTTP/1\.1 |\Z)", answer, re.DOTALL)


@pytest.mark.parametrize(
    "data",
    [
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",  # no Host
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n",  # obsolete line folding
        b"GET / HTTP/1.1\r\nHost: a\r\n\x00: y\r\n\r\n",
        b"GET nothing HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
        POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        POST + b"Content-Length: -2\r\n\r\n{}",
        POST + b"Content-Length: +2\r\n\r\n{}",
        POST + b"Content-Length: 2, 2\r\n\r\n{}",
        POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: identity\r\n\r\n",
        POST + b"Transfer-Encoding: xchunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n",
    ],
)
def test_what_is_not_one_clear_request_is_400_and_the_end(gateway: Running, replicas: Make, data: bytes) -> None:
    replica = replicas()
    gateway.start(routes=[route("churn", replica)])
    answer = gateway.exchange(data + b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert answer.count(b"HTTP/1.1 ") == 1
    assert not replica.frames


H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 2\r\n\r\n17", b"Transfer-Encoding: chunked\r\n\r\n2\r\n17\r\n0\r\n\r\n"]
)
@pytest.mark.parametrize("cut", [0, 30, -8, -1])
def test_an_upgrade_that_nobody_takes_is_passed_over_with_its_body_in_place(
    gateway: Running, replicas: Make, framing: bytes, cut: int
) -> None:
    """Java's client asks for HTTP/2 with every request, and sends the body behind it."""
    gateway.start(routes=[route("churn", replicas())])
    gateway.until_up("dep-churn")
    asked = (POST + H2C + framing) * 2 + b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + H2C + b"Connection: close\r\n\r\n"
    with gateway.raw(asked[:cut]) as connection:
        time.sleep(0.05)
        connection.sendall(asked[cut:])
        answer = read_all(connection)
    assert bodies(answer) == [b"17", b"17", b"ok\n"]
    assert answer.count(b"HTTP/1.1 200 ") == 3


def test_a_head_that_is_too_large_is_431(gateway: Running) -> None:
    gateway.start(routes=[])
    assert gateway.exchange(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000).startswith(b"HTTP/1.1 431 ")
    many = b"".join(b"X-%d: %b\r\n" % (n, b"a" * 100) for n in range(1000))
    assert gateway.exchange(b"GET / HTTP/1.1\r\nHost: x\r\n" + many + b"\r\n").startswith(b"HTTP/1.1 431 ")


def test_pipelined_requests_are_answered_in_order(gateway: Running, replicas: Make) -> None:
    gateway.start(routes=[route("churn", replicas())])
    data = b""
    for number in range(200):
        body = b"%d" % number
        data += POST + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        data += b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = gateway.exchange(data + b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    wanted = [part for number in range(200) for part in (b"%d" % number, b"ok\n")]
    assert bodies(answer) == [*wanted, b"ok\n"]


def test_garbage_behind_a_request_does_not_cost_its_answer(gateway: Running, replicas: Make) -> None:
    gateway.start(routes=[route("churn", replicas())])
    answer = gateway.exchange(POST + b"Content-Length: 2\r\n\r\n{}" + b"\x00garbage\r\n\r\n")
    assert [part.split(b" ")[0] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"200", b"400"]


def test_a_request_in_pieces_is_the_same_request(gateway: Running, replicas: Make) -> None:
    gateway.start(routes=[route("churn", replicas())])
    request = (
        POST
        + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\n[1,\r\n2\r\n2]\r\n0\r\nX-Trailer: 1\r\n\r\n"
    )
    with gateway.raw() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request:
            connection.sendall(bytes([byte]))
        assert bodies(read_all(connection)) == [b"[1,2]"]


def test_expect_100_continue_is_answered_before_the_body(gateway: Running, replicas: Make) -> None:
    gateway.start(routes=[route("churn", replicas(), max_body_bytes=100)])
    with gateway.raw(POST + b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: 2\r\n\r\n") as connection:
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}")
        assert read_all(connection).startswith(b"HTTP/1.1 200 ")
    with gateway.raw(POST + b"Expect: 100-continue\r\nContent-Length: 200\r\n\r\n") as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_head_has_the_length_and_no_body(gateway: Running) -> None:
    gateway.start(routes=[])
    answer = gateway.exchange(b"HEAD /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"Content-Length: 3\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


def test_http_1_0_closes_unless_asked_to_keep(gateway: Running, replicas: Make) -> None:
    gateway.start(routes=[route("churn", replicas())])
    answer = gateway.exchange(b"POST /v1/churn/predict HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}")
    assert bodies(answer) == [b"{}"]
    with gateway.raw(b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n") as connection:
        assert b"Connection: keep-alive" in connection.recv(1000)
        connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert b"200 OK" in read_all(connection)


def test_an_absolute_target_counts_more_than_the_host_header(gateway: Running, replicas: Make) -> None:
    gateway.start(routes=[route("churn", replicas())])
    line = b"POST http://churn.shop.localhost/predict HTTP/1.1\r\nHost: nonsense.localhost\r\nConnection: close\r\n"
    assert gateway.exchange(line + b"Content-Length: 2\r\n\r\n{}").startswith(b"HTTP/1.1 200 ")


def test_slow_clients_are_shown_the_door(gateway: Running, replicas: Make) -> None:
    gateway.start(routes=[route("churn", replicas())])
    with (
        gateway.raw(b"GET / HT") as head,
        gateway.raw(POST + b"Content-Length: 10\r\n\r\n12") as body,
        gateway.raw() as idle,
    ):
        gateway.wait(lambda: len(gateway.gateway.front.connections) == 3)
        gateway.wait(
            lambda: sum(connection.busy or connection.in_head for connection in gateway.gateway.front.connections) == 2
        )

        def sweep(later_s: float) -> None:
            for connection in list(gateway.gateway.front.connections):
                connection.sweep(time.monotonic() + later_s)

        gateway.loop.call_soon_threadsafe(sweep, http.HEAD_TIMEOUT_S + 1)
        assert read_all(head).startswith(b"HTTP/1.1 408 ")
        gateway.loop.call_soon_threadsafe(sweep, http.BODY_TIMEOUT_S + 1)
        assert read_all(body).startswith(b"HTTP/1.1 408 ")
        idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert read_all(idle).startswith(b"HTTP/1.1 200 ")


def test_who_reads_slowly_has_all_of_an_answer_that_has_ended_and_who_stopped_does_not(
    gateway: Running, replicas: Make
) -> None:
    large = b"x" * 16_000_000
    gateway.start(routes=[route("churn", replicas("u1", lambda request: [Reply(request.id, 200, large)]))])
    asked = POST + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}"
    connections = gateway.gateway.front.connections

    def ended() -> list[Any]:
        return [one for one in list(connections) if not one.busy and one.transport.get_write_buffer_size()]

    def look(*later_s: float) -> None:
        for each in later_s:
            for connection in list(connections):
                connection.sweep(time.monotonic() + each)

    with gateway.raw(asked) as slow:
        gateway.wait(ended)
        gateway.loop.call_soon_threadsafe(look, http.LINGER_S + 1, http.LINGER_S + 2)
        assert read_all(slow).endswith(b"\r\n\r\n" + large)
    with gateway.raw(asked) as stopped:
        gateway.wait(ended)
        gateway.loop.call_soon_threadsafe(look, 0.0, http.STALLED_READER_S + 1)
        gateway.wait(lambda: not connections)
        assert len(read_all(stopped)) < len(large)


def test_idle_connections_have_no_parser_and_disturb_nobody(gateway: Running, replicas: Make) -> None:
    gateway.start(routes=[route("churn", replicas())])
    held = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(400)]
    try:
        gateway.wait(lambda: len(gateway.gateway.front.connections) == 400)
        assert gateway.post("churn", {"x": 1})[0] == 200
        gateway.wait(lambda: not any(connection.parses for connection in list(gateway.gateway.front.connections)))
    finally:
        for connection in held:
            connection.close()
    gateway.wait(lambda: not gateway.gateway.front.connections)


def test_stopping_finishes_what_is_under_way_and_closes(gateway: Running, replicas: Make) -> None:
    replica = replicas()
    replica.gate.clear()
    gateway.start(routes=[route("churn", replica)])
    with gateway.raw(POST + b"Content-Length: 2\r\n\r\n{}") as busy, gateway.raw() as idle:
        assert replica.arrived.wait(60)
        gateway.loop.call_soon_threadsafe(gateway._stopping.set)
        assert read_all(idle) == b""
        replica.gate.set()
        answer = read_all(busy)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"Connection: close" in answer
    gateway.stop()
    with pytest.raises(ConnectionRefusedError), gateway.raw():
        pass


def test_an_answer_without_content_has_no_length(gateway: Running, replicas: Make) -> None:
    gateway.start(routes=[route("churn", replicas("u1", lambda request: [Reply(request.id, 204, b"")]))])
    status, headers, body = gateway.post("churn", {})
    assert (status, body, "content-length" in headers) == (204, b"", False)


def test_a_large_body_that_waits_its_turn_is_read_in_its_turn(gateway: Running, replicas: Make) -> None:
    replica = replicas()
    replica.gate.clear()
    gateway.start(routes=[route("churn", replica)])
    large = b'"' + b"x" * 6_000_000 + b'"'
    first = POST + b"Content-Length: 2\r\n\r\n{}"
    second = POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(large) + large
    with gateway.raw(first) as connection:
        assert replica.arrived.wait(60)
        sender = threading.Thread(target=connection.sendall, args=(second,))
        sender.start()
        gateway.wait(lambda: any(not one.reads for one in gateway.gateway.front.connections))
        replica.gate.set()
        answer = read_all(connection)
        sender.join(60)
    assert bodies(answer) == [b"{}", large]


def test_what_cannot_be_read_has_an_id_of_its_own(gateway: Running) -> None:
    """Its line in the access log must not be taken for another request's."""
    gateway.start()
    asked = (
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"no request\r\n\r\n",
        b"nor this\r\n\r\n",
    )
    ids = [re.findall(rb"X-Request-Id: (\S+)", gateway.exchange(each)) for each in asked]
    assert len({id for each in ids for id in each}) == 3
