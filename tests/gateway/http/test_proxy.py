"""Web services behind the gateway: plain HTTP, streams, WebSocket, absence."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httptools
import msgspec
import pytest
import uvloop
import websockets.sync.client
from websockets.asyncio.server import ServerConnection, serve

from bough.gateway.lanes import upstream as upstreams
from bough.gateway.models import Route, Target
from tests.ports import free_port

from ..conftest import Running, read_all, route
from ..lanes.test_sleeping_lane import Nodes, node

__all__ = ["node"]  # a fixture


class App(asyncio.Protocol):
    """A small web server. Paths: /echo answers what it saw; /stream in pieces; /sink counts; /die drops the
    connection; /hang never answers; /old closes without a length; /big answers 20 MB."""

    def __init__(self, server: Upstream) -> None:
        self.server = server
        self.parser = httptools.HttpRequestParser(self)
        self.path, self.headers, self.body = b"", [], hashlib.sha256()  # type: ignore[var-annotated]

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.server.open.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.server.open.discard(self)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_begin(self) -> None:
        self.path, self.headers, self.body, self.size = b"", [], hashlib.sha256(), 0

    def on_url(self, url: bytes) -> None:
        self.path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode().lower(), value.decode()))

    def on_body(self, data: bytes) -> None:
        self.size += len(data)
        self.body.update(data)

    def on_message_complete(self) -> None:
        self.server.requests.append((self.parser.get_method().decode(), self.path.decode(), dict(self.headers)))
        match self.server.instead or self.path.partition(b"?")[0]:
            case b"/die":
                self.transport.abort()
            case b"/hang":
                pass
            case b"/stream":
                self.transport.write(
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: 1\r\nX-A: 2\r\n\r\n3\r\none\r\n"
                )
                loop = asyncio.get_running_loop()
                loop.call_later(0.02, self.transport.write, b"3\r\ntwo\r\n0\r\n\r\n")
            case b"/old":
                self.transport.write(b"HTTP/1.0 200 Fine\r\nContent-Type: text/plain\r\n\r\n" + self.server.says)
                self.transport.close()
            case b"/big":
                self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n" + b"z" * 20_000_000)
            case b"/none":
                self.transport.write(b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n")
            case _:
                said = {"path": self.path.decode(), "headers": self.headers,
                        "size": self.size, "sha": self.body.hexdigest()}  # fmt: skip
                body = b"" if self.parser.get_method() == b"HEAD" else json.dumps(said).encode()
                self.transport.write(
                    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nKeep-Alive: timeout=5\r\n\r\n" % len(body) + body
                )


class Upstream:
    """The app in a thread; `kill` closes the port and every connection, `start` opens the same port again."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.open: set[App] = set()
        self.instead = b""  # the path that every request is taken for
        self.says = b"until the end"
        self.port = free_port()
        self.loop = uvloop.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.server: Any = None

    def start(self) -> Upstream:
        async def listen() -> None:
            self.server = await self.loop.create_server(lambda: App(self), "127.0.0.1", self.port, reuse_address=True)

        asyncio.run_coroutine_threadsafe(listen(), self.loop).result(60)
        return self

    def kill(self) -> None:
        async def close() -> None:
            if self.server is not None:
                self.server.close()
            for app in list(self.open):
                app.transport.abort()
            await asyncio.sleep(0.01)

        asyncio.run_coroutine_threadsafe(close(), self.loop).result(60)

    def end(self) -> None:
        self.kill()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(60)
        self.loop.close()

    def target(self, unit: str = "w1") -> Target:
        return Target(unit=unit, address=f"127.0.0.1:{self.port}", attempt=1)


@pytest.fixture
def app() -> Iterator[Upstream]:
    made = Upstream().start()
    yield made
    made.end()


def web(*targets: Target, **fields: Any) -> Route:
    return route("site", kind="web", targets=list(targets), **fields)


def seen(body: bytes) -> tuple[dict[str, Any], dict[str, str]]:
    said = json.loads(body)
    return said, dict(said["headers"])


def test_a_host_belongs_to_its_web_service_whole(gateway: Running, app: Upstream) -> None:
    gateway.start(routes=[web(app.target())])
    for path in ("/healthz", "/metrics", "/v1/churn/predict?a=b%20c", "/", "/v2/models/x"):
        status, headers, body = gateway.request("GET", path, Host="site.shop.localhost:80", X_Request_Id="r-1")
        said, got = seen(body)
        assert (status, said["path"]) == (200, path)
        assert (headers["x-request-id"], got["x-request-id"]) == ("r-1", "r-1")
        assert (got["host"], got["x-forwarded-for"], got["x-forwarded-proto"]) == (
            "site.shop.localhost:80",
            "127.0.0.1",
            "http",
        )
        assert "keep-alive" not in headers


def test_the_path_form_strips_its_prefix_and_says_so(gateway: Running, app: Upstream) -> None:
    gateway.start(routes=[web(app.target())])
    for asked, given in (("/web/site", "/"), ("/web/site/a/b?c=d", "/a/b?c=d"), ("/web/site?q=1", "/?q=1")):
        said, headers = seen(gateway.request("GET", asked, Host="127.0.0.1")[2])
        assert (said["path"], headers["x-forwarded-prefix"]) == (given, "/web/site")
    assert gateway.request("GET", "/web/nope/")[0] == 404


def test_hop_by_hop_headers_stay_on_their_hop(gateway: Running, app: Upstream) -> None:
    gateway.start(routes=[web(app.target())])
    sent = {"Connection": "keep-alive, X-Secret", "X-Secret": "1", "TE": "trailers", "X-Forwarded-For": "10.0.0.1",
            "X-Forwarded-Proto": "https", "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"}  # fmt: skip
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port)
    connection.request("GET", "/web/site/", headers=sent)
    _, headers = seen(connection.getresponse().read())
    connection.close()
    assert not {"x-secret", "te", "connection"} & set(headers)
    assert headers["x-forwarded-for"] == "10.0.0.1, 127.0.0.1"
    assert (headers["x-forwarded-proto"], headers["traceparent"]) == ("https", sent["traceparent"])


@pytest.mark.parametrize("chunked", [True, False])
def test_bodies_of_any_size_arrive_unchanged(gateway: Running, app: Upstream, chunked: bool) -> None:
    gateway.start(routes=[web(app.target())])
    data = bytes(range(256)) * 20_000  # 5 MB
    body: Any = iter([data[at : at + 70_000] for at in range(0, len(data), 70_000)]) if chunked else data
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port)
    for _ in range(2):
        connection.request("POST", "/web/site/", body if not chunked else iter([data]), encode_chunked=chunked)
        said, _ = seen(connection.getresponse().read())
        assert (said["size"], said["sha"]) == (len(data), hashlib.sha256(data).hexdigest())
    connection.close()


def test_upstream_connections_are_kept_and_used_again(gateway: Running, app: Upstream) -> None:
    gateway.start(routes=[web(app.target())])
    for _ in range(10):
        assert gateway.request("GET", "/web/site/")[0] == 200
    assert len(app.open) == 1


def test_streams_come_through_as_they_are_made(gateway: Running, app: Upstream) -> None:
    gateway.start(routes=[web(app.target())])
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port)
    connection.request("GET", "/web/site/stream")
    answer = connection.getresponse()
    assert answer.headers.get_all("x-a") == ["1", "2"]
    assert answer.read1() == b"one"
    assert answer.read() == b"two"
    connection.close()


def test_answers_of_every_framing_keep_the_connection_in_step(gateway: Running, app: Upstream) -> None:
    gateway.start(routes=[web(app.target())])
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port)
    for method, path, status, size in (
        ("GET", "/old", 200, 13), ("HEAD", "/", 200, 0), ("GET", "/none", 304, 0), ("GET", "/stream", 200, 6),
        ("GET", "/", 200, None), ("HEAD", "/old", 200, 0), ("GET", "/big", 200, 20_000_000), ("GET", "/", 200, None),
    ):  # fmt: skip
        connection.request(method, "/web/site" + path)
        answer = connection.getresponse()
        body = answer.read()
        assert (answer.status, size is None or len(body) == size) == (status, True), (method, path)
    connection.close()
    old = gateway.exchange(b"GET /web/site/stream HTTP/1.0\r\n\r\n")
    assert old.endswith(b"\r\n\r\nonetwo")


def test_a_reader_that_stops_does_not_fill_the_memory(gateway: Running, app: Upstream) -> None:
    gateway.start(routes=[web(app.target())])
    with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        connection.sendall(b"GET /web/site/big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        gateway.wait(
            lambda: [one for one in gateway.gateway.front.connections if one.transport.get_write_buffer_size()]
        )
        time.sleep(0.1)
        assert all(one.transport.get_write_buffer_size() < 2 << 20 for one in gateway.gateway.front.connections)
        assert read_all(connection).count(b"z") == 20_000_000


def test_websockets_pass_both_ways(gateway: Running) -> None:
    ready, ports, stop = threading.Event(), [], []

    async def talk(connection: ServerConnection) -> None:
        await connection.send("welcome " + str(connection.request.path if connection.request else ""))
        async for message in connection:
            await connection.send(message)

    async def main() -> None:
        loop, end = asyncio.get_running_loop(), asyncio.Event()
        async with serve(talk, "127.0.0.1", 0) as server:
            ports.append(next(iter(server.sockets)).getsockname()[1])
            stop.append(lambda: loop.call_soon_threadsafe(end.set))
            ready.set()
            await end.wait()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    try:
        assert ready.wait(60)
        gateway.start(routes=[web(Target(unit="w1", address=f"127.0.0.1:{ports[0]}"))])
        with websockets.sync.client.connect(f"ws://127.0.0.1:{gateway.port}/web/site/chat") as client:
            assert client.recv() == "welcome /chat"
            for message in ("a", b"\x00\x01", "x" * 500_000):
                client.send(message)
                assert client.recv() == message
        gateway.wait(lambda: gateway.lane("dep-site")["in_flight"] == 0)
        with pytest.raises(websockets.exceptions.InvalidStatus):
            websockets.sync.client.connect(f"ws://127.0.0.1:{gateway.port}/v1/nope/predict")
    finally:
        stop[0]()
        thread.join(60)


def test_a_service_that_is_away_is_waited_for(gateway: Running, app: Upstream) -> None:
    app.kill()
    gateway.start(routes=[web(app.target())])
    got: list[int] = []
    asking = threading.Thread(target=lambda: got.append(gateway.request("POST", "/web/site/", b"body")[0]))
    asking.start()
    gateway.wait(lambda: gateway.lane("dep-site")["queued"] == 1)
    app.start()
    asking.join(60)
    assert got == [200]


def test_a_service_that_stays_away_is_503_and_one_that_hangs_504(gateway: Running, app: Upstream) -> None:
    gateway.start(routes=[web(app.target(), timeout_s=0.2)])
    status, headers, body = gateway.request("GET", "/web/site/hang")
    assert (status, json.loads(body)["error"]["code"]) == (504, "TIMEOUT")
    app.kill()
    status, headers, body = gateway.request("GET", "/web/site/")
    assert (status, json.loads(body)["error"]["code"]) == (503, "NO_REPLICA")
    assert "retry-after" in headers


def test_a_lost_connection_is_tried_once_more_if_that_is_safe(gateway: Running, app: Upstream) -> None:
    gateway.start(routes=[web(app.target())])
    for method, tries in (("GET", 2), ("POST", 1)):
        app.requests.clear()
        status, _, body = gateway.request(method, "/web/site/die")
        assert (status, json.loads(body)["error"]["code"], len(app.requests)) == (502, "REPLICA_LOST", tries)


@pytest.mark.parametrize(
    ("attempt", "said"),
    [
        (2, "the process of site was killed by SIGSEGV before it answered"),
        (1, "site closed the connection before it answered"),  # it runs: another attempt ended like that, long ago
    ],
)
def test_how_the_process_ended_is_said_if_it_has(
    gateway: Running, app: Upstream, node: Nodes, attempt: int, said: str
) -> None:
    before = {"code": -11, "reason": "killed", "at": 1.0}
    asked = node(lambda unit: (200, {"unit": unit, "attempt": attempt, "state": "running", "before": before}))
    gateway.start(routes=[web(msgspec.structs.replace(app.target(), attempt=1))])
    status, _, body = gateway.request("POST", "/web/site/die")
    error = json.loads(body)["error"]
    assert (status, error["code"], error["message"]) == (502, "REPLICA_LOST", said)
    assert asked.asked == [app.target().unit] and gateway.request("GET", "/web/site/echo")[0] == 200


def test_a_restart_under_load_fails_no_request_that_may_be_repeated(gateway: Running, app: Upstream) -> None:
    gateway.start(routes=[web(app.target())])
    bad: list[Any] = []
    done, stop = [0], threading.Event()

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
        while not stop.is_set():
            connection.request("GET", "/web/site/")
            answer = connection.getresponse()
            answer.read()
            done[0] += 1
            if answer.status != 200:
                bad.append(answer.status)
        connection.close()

    clients = [threading.Thread(target=client) for _ in range(6)]
    for thread in clients:
        thread.start()
    for _ in range(3):
        before = done[0]
        gateway.wait(lambda before=before: done[0] > before + 50)  # type: ignore[misc]
        app.kill()
        app.start()
    stop.set()
    for thread in clients:
        thread.join(60)
    assert not bad


def test_an_upload_over_the_limit_is_refused(gateway: Running, app: Upstream) -> None:
    gateway.start(routes=[web(app.target(), max_body_bytes=1000)])
    head = b"POST /web/site/ HTTP/1.1\r\nHost: x\r\n"
    assert gateway.exchange(head + b"Content-Length: 5000\r\n\r\n").startswith(b"HTTP/1.1 413 ")
    chunks = b"Transfer-Encoding: chunked\r\n\r\n" + b"400\r\n" + b"x" * 1024 + b"\r\n0\r\n\r\n"
    assert gateway.exchange(head + chunks).startswith(b"HTTP/1.1 413 ")


def test_a_new_release_takes_over_when_it_listens(gateway: Running, app: Upstream) -> None:
    gateway.start(routes=[web(app.target())])
    gateway.until_up("dep-site")
    other = Upstream()
    try:
        gateway.apply([web(other.target("w2"), deployment="dep-2")])
        assert gateway.request("GET", "/web/site/")[0] == 200
        assert len(app.requests) == 1
        other.start()
        gateway.until_up("dep-2")
        gateway.wait(lambda: gateway.lane("dep-site") == {})
        assert gateway.request("GET", "/web/site/")[0] == 200
        assert len(other.requests) == 1
    finally:
        other.end()


def test_the_node_is_asked_to_wake_what_is_gone_and_its_new_port_is_used(gateway: Running, app: Upstream) -> None:
    asked: list[bytes] = []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(gateway.home / "run" / "node.sock"))
    listener.listen(8)

    def node() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                asked.append(connection.recv(65536))
                body = json.dumps(
                    {"unit": "w1", "attempt": 2, "state": "ready", "kind": "web", "address": app.target().address}
                )
                connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())

    thread = threading.Thread(target=node, daemon=True)
    thread.start()
    gateway.start(routes=[web(Target(unit="w1", address=f"127.0.0.1:{free_port()}", attempt=1))])
    assert gateway.request("GET", "/web/site/")[0] == 200
    assert asked[0].startswith(b"POST /wake HTTP/1.1\r\n")
    assert asked[0].endswith(b'{"unit":"w1"}')
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(60)


def test_a_key_guards_a_web_service_too(gateway: Running, app: Upstream) -> None:
    gateway.start(routes=[web(app.target(), access="key")])
    assert gateway.request("GET", "/web/site/")[0] == 401


class Wire(asyncio.Transport):
    """A connection to a service that keeps what is asked of its socket."""

    def __init__(self, family: int) -> None:
        super().__init__()
        self.asked: list[tuple[int, int, int]] = []
        self.family = family

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self if name == "socket" else default

    def setsockopt(self, *option: int) -> None:
        self.asked.append((option[0], option[1], option[2]))


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="not on this system")
@pytest.mark.parametrize(
    ("family", "parts", "times"),
    [
        (socket.AF_INET, [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", b"ok"], 1),
        (socket.AF_INET, [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"], 0),
        (socket.AF_UNIX, [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", b"ok"], 0),
    ],
    ids=["head and body apart", "at once", "Unix"],
)
def test_a_part_of_an_answer_is_acknowledged_at_once_and_a_whole_one_costs_nothing(
    family: int, parts: list[bytes], times: int
) -> None:
    """A service that leaves Nagle's algorithm on sends the body only when its head was acknowledged."""

    class Waits:
        head_only, over = False, False

        def response_head(self, *_: Any) -> None: ...

        def response_body(self, data: bytes) -> None: ...

        def response_flush(self) -> None: ...

        def response_end(self, reusable: bool) -> None:
            upstream.exchange, self.over = None, True

    wire, waits = Wire(family), Waits()
    upstream = upstreams.Upstream(upstreams.Spot(Target(unit="w", address="127.0.0.1:1", attempt=1)))
    upstream.connection_made(wire)
    upstream.exchange = waits  # type: ignore[assignment]
    for part in parts:
        upstream.data_received(part)
    assert waits.over
    assert wire.asked == [(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)] * times
