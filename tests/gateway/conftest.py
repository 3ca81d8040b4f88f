"""A gateway in a thread and replicas that do what a test says, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop

from bough.adapters.queue.sqlite import SqliteQueues
from bough.gateway.models import Key, Route, Table, Target
from bough.gateway.server import Gateway, Options
from bough.queues.models import QueueRoute
from bough.runtime.frames import CANCEL, LENGTH, PING, PONG, PROTOCOL, Hello, Reply, Request, decode_requests, pack

Handler = Callable[[Request], list[Reply]]


def echo(request: Request) -> list[Reply]:
    return [Reply(request.id, 200, request.body)]


class Replica:
    """Speaks frames on a Unix socket. `handle` answers one request; `gate` set means it works, clear means it waits
    with the frame in its hands."""

    def __init__(self, folder: Path, unit: str, handle: Handler = echo, *, mode: str = "batch", concurrency: int = 64,
                 max_batch: int = 64, attempt: int = 1, similar: bool = False) -> None:  # fmt: skip
        self.path = folder / f"{unit}.sock"
        self.unit, self.handle, self.mode, self.attempt = unit, handle, mode, attempt
        self.concurrency, self.max_batch, self.similar = concurrency, max_batch, similar
        self.gate = threading.Event()
        self.gate.set()
        self.frames: list[list[Request]] = []
        self.cancelled: list[int] = []
        self.connections = 0
        self.arrived = threading.Event()  # a frame has been read
        self._connection: socket.socket | None = None
        self.start()

    def start(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self.path.unlink(missing_ok=True)
        self._listener.bind(str(self.path))
        self._listener.listen(8)
        self.dead = False
        thread = threading.Thread(target=self._run, args=(self._listener,), daemon=True)
        thread.start()
        self._thread = thread  # started: another thread may be ending this replica meanwhile

    def target(self) -> Target:
        return Target(unit=self.unit, address=f"unix:{self.path}", attempt=1)

    def kill(self) -> None:
        """As kill -9: the connection breaks, nobody listens, nothing more is answered."""
        self.dead = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)
        self.gate.set()
        self._thread.join(60)

    def _run(self, listener: socket.socket) -> None:
        while not self.dead:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self._connection = connection
            self.connections += 1
            if self.dead:  # killed between the two lines above
                connection.close()
                return
            with connection, contextlib.suppress(OSError):
                self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        hello = Hello(protocol=PROTOCOL, unit=self.unit, attempt=self.attempt, pid=1, mode=self.mode,
                      concurrency=self.concurrency, max_batch=self.max_batch, similar=self.similar)  # fmt: skip
        connection.sendall(pack(hello))
        buffer = b""
        while data := connection.recv(1 << 16):
            buffer += data
            while len(buffer) >= 4 and len(buffer) >= 4 + LENGTH.unpack_from(buffer)[0]:
                end = 4 + LENGTH.unpack_from(buffer)[0]
                requests = decode_requests(buffer[4:end])
                buffer = buffer[end:]
                self.cancelled += [request.id for request in requests if request.verb == CANCEL]
                asked = [request for request in requests if request.verb not in (CANCEL, PING)]
                if any(request.verb == PING for request in requests):
                    connection.sendall(pack([PONG]))
                if not asked:
                    continue
                self.frames.append(asked)
                self.arrived.set()
                self.gate.wait(60)
                if self.dead:
                    return
                replies = [reply for request in asked for reply in self.handle(request)]
                for at in range(0, len(replies), 64):
                    connection.sendall(pack(replies[at : at + 64]))


class Running:
    """A gateway, its home and its port."""

    def __init__(self, home: Path, options: Options) -> None:
        self.home = home
        self.generation = 0
        self.queues: list[QueueRoute] = []
        (home / "run").mkdir()
        self.gateway: Gateway
        self.port = 0
        self._options = options
        self._started = threading.Event()
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def start(self, *, routes: list[Route] | None = None, keys: list[Key] | None = None) -> Running:
        if routes is not None:
            self.write(routes, keys)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._started.wait(60)
        if self._error is not None:
            self._thread.join(60)  # its loop closes now, and nobody has to stop it
            raise self._error
        return self

    def stop(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(60)
            assert not self._thread.is_alive()

    def write(self, routes: list[Route], keys: list[Key] | None = None) -> None:
        self.generation += 1
        table = Table(generation=self.generation, routes=routes, keys=keys or [], queues=self.queues)
        path = self.home / "run" / "routes.json"
        path.with_suffix(".new").write_bytes(msgspec.json.encode(table))
        path.with_suffix(".new").replace(path)

    def apply(self, routes: list[Route], keys: list[Key] | None = None) -> dict[str, Any]:
        """Writes the table and has it reloaded; the gateway's state."""
        self.write(routes, keys)
        return self.control("POST", "/reload")

    def control(self, method: str, path: str, body: bytes = b"") -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(60)
            connection.connect(str(self.home / "run" / "gateway.sock"))
            head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            data = b""
            while part := connection.recv(65536):
                data += part
        return dict(json.loads(data.partition(b"\r\n\r\n")[2]))

    def lane(self, deployment: str) -> dict[str, Any]:
        return next(
            (lane for lane in self.control("GET", "/state").get("lanes", []) if lane["deployment"] == deployment), {}
        )

    def wait(self, condition: Callable[[], Any], timeout_s: float = 60.0) -> None:
        """Until `condition` holds; fails after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true"
            time.sleep(0.005)

    def until_up(self, deployment: str, links: int = 1) -> None:
        self.wait(lambda: self.lane(deployment).get("links", 0) >= links)

    def request(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """One request on a connection of its own. Header names are written with _ for -."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def post(self, service: str, body: Any, **headers: str) -> tuple[int, dict[str, str], bytes]:
        return self.request("POST", f"/v1/{service}/predict", json.dumps(body).encode(), **headers)

    @contextlib.contextmanager
    def raw(self, data: bytes = b"", port: int = 0) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", port or self.port), timeout=60) as connection:
            connection.sendall(data)
            yield connection

    def exchange(self, data: bytes) -> bytes:
        """Everything that comes back for `data` until the gateway closes."""
        with self.raw(data) as connection:
            return read_all(connection)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self.gateway = Gateway(self.home, self._options, lambda: SqliteQueues(self.home / "queues.db"))
        try:
            await self.gateway.start("127.0.0.1", self.port)
        except BaseException as error:
            self._error = error
            self._started.set()
            return
        self.port = self.gateway.addresses[0][1]
        self._started.set()
        await self._stopping.wait()
        await self.gateway.stop()


def read_all(connection: socket.socket) -> bytes:
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def route(service: str = "churn", *replicas: Replica, **fields: Any) -> Route:
    base: dict[str, Any] = {
        "project": "shop", "environment": "main", "service": service, "deployment": f"dep-{service}", "release": 1,
        "kind": "model",
        "targets": [replica.target() for replica in replicas],
    }  # fmt: skip
    return Route(**(base | fields))


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, because Unix socket paths are."""
    path = Path(tempfile.mkdtemp(prefix="bgw", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def replicas(folder: Path) -> Iterator[Callable[..., Replica]]:
    made: list[Replica] = []

    def make(unit: str = "u1", handle: Handler = echo, **rest: Any) -> Replica:
        made.append(Replica(folder, unit, handle, **rest))
        return made[-1]

    yield make
    for replica in made:
        replica.kill()


@pytest.fixture
def gateway(folder: Path) -> Iterator[Running]:
    """Not started: the test says with which routes."""
    running = Running(folder, Options(grace_s=2.0, watch_s=0.05, keys_again_s=0.05))
    yield running
    running.stop()
