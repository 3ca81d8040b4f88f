"""Serves an engine on a Unix socket, one thread per connection (there are few: server, gateway, command line).

The standard library's HTTP server, because a node should cost little: imports take 0.04 s of CPU and 5 MB less than
0.17 s and 17 MB for uvicorn with Starlette, and the engine's verbs block anyway.
"""

from __future__ import annotations

import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import msgspec

from bough.adapters.engine import Engine, LogChunk, wire
from bough.kernel.errors import Invalid, NotFound, Problem, TooLarge
from bough.runtime.spec import UnitSpec

T = TypeVar("T", bound=msgspec.Struct)

Handler = Callable[[Engine, "Call"], Any]


class Call(msgspec.Struct, frozen=True):
    body: bytes
    query: dict[str, str]

    def read(self, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(self.body, type=kind)
        except msgspec.MsgspecError as error:
            raise Invalid(f"the request's body is not a {kind.__name__}: {error}", code="REQUEST_INVALID") from error

    def number(self, name: str) -> float:
        try:
            return float(self.query[name])
        except (KeyError, ValueError) as error:
            raise Invalid(f"the request needs a number {name!r}", code="REQUEST_INVALID") from error

    def text(self, name: str) -> str:
        if name not in self.query:
            raise Invalid(f"the request needs {name!r}", code="REQUEST_INVALID")
        return self.query[name]


class NodeServer(ThreadingMixIn, UnixStreamServer):
    """Serves from the moment `serve_forever` runs; the socket file is only ever visible to its owner."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, path: Path, engine: Engine, state: wire.NodeState) -> None:
        self.engine = engine
        self.state = state
        self.path = path
        hidden = path.with_name(f".{path.name}~")
        hidden.unlink(missing_ok=True)
        super().__init__(str(hidden), _Connection)
        hidden.chmod(0o600)
        hidden.rename(path)

    def shutdown(self) -> None:
        """Wakes `serve_forever` by closing what it waits at: to look now and then whether it is to end would wake an
        idle machine for nothing."""
        self.socket.shutdown(socket.SHUT_RD)
        super().shutdown()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):  # a client may leave at any time
            traceback.print_exc()


def _stop(engine: Engine, call: Call) -> None:
    wish = call.read(wire.Stop)
    engine.stop(wish.unit, wish.attempt, wish.grace_s)


def _sleep(engine: Engine, call: Call) -> None:
    wish = call.read(wire.Stop)
    engine.sleep(wish.unit, wish.attempt, wish.grace_s)


def _drain(engine: Engine, call: Call) -> None:
    wish = call.read(wire.Drain)
    engine.drain(wish.node, wish.deadline_s, wish.reason)


def _watch(engine: Engine, call: Call) -> Any:
    return engine.watch(int(call.number("cursor")), min(call.number("timeout_s"), wire.LONGEST_WATCH_S))


def _logs(engine: Engine, call: Call) -> Iterator[LogChunk]:
    follow = call.query.get("follow") == "1"
    return engine.logs(call.text("unit"), int(call.number("attempt")), int(call.number("offset")), follow=follow)


_VERBS: dict[tuple[str, str], Handler] = {
    ("POST", "/apply"): lambda engine, call: engine.apply(call.read(UnitSpec)),
    ("POST", "/stop"): _stop,
    ("POST", "/register"): lambda engine, call: engine.register(call.read(UnitSpec)),
    ("POST", "/sleep"): _sleep,
    ("POST", "/forget"): lambda engine, call: engine.forget(call.read(wire.Unit).unit),
    ("POST", "/wake"): lambda engine, call: engine.wake(call.read(wire.Unit).unit),
    ("POST", "/drain"): _drain,
    ("POST", "/stage"): lambda engine, call: engine.stage(call.read(wire.Stage).digests),
    ("GET", "/snapshot"): lambda engine, call: engine.snapshot(),
    ("GET", "/usage"): lambda engine, call: engine.usage(),
    ("GET", "/watch"): _watch,
    ("GET", "/logs"): _logs,
}


class _Connection(BaseHTTPRequestHandler):
    server: NodeServer
    protocol_version = "HTTP/1.1"
    timeout = 600.0  # an idle connection; clients keep a few
    wbufsize = 65536  # head and body leave together

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def log_message(self, format: str, *args: Any) -> None:
        """No access log: the server's audit has the decisions, and the gateway its own."""

    def _serve(self, method: str) -> None:
        try:
            result = self._dispatch(method)
            if isinstance(result, Iterator):
                self._send_chunks(result)
                return
            self._send(200, msgspec.json.encode(result))
        except Problem as problem:
            self._send(problem.http_status, msgspec.json.encode(wire.Failed(error=problem.detail())))
        except (ConnectionError, TimeoutError):
            raise
        except Exception as error:  # a defect of ours must reach the caller as an error, not as silence
            traceback.print_exc()
            defect = Problem(f"the node failed: {type(error).__name__}: {error}", hint="see its output in logs/")
            self._send(500, msgspec.json.encode(wire.Failed(error=defect.detail())))

    def _dispatch(self, method: str) -> Any:
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        call = Call(self._read_body(), query)
        if (method, parts.path) == ("GET", "/healthz"):
            return self.server.state
        verb = _VERBS.get((method, parts.path))
        if verb is None:
            raise NotFound(f"a node has no {method} {parts.path}", code="ROUTE_UNKNOWN")
        return verb(self.server.engine, call)

    def _read_body(self) -> bytes:
        length = self.headers.get("Content-Length") or "0"
        if "Transfer-Encoding" in self.headers or not length.isdigit():
            self.close_connection = True
            raise Invalid("the request's body needs a Content-Length", code="REQUEST_INVALID")
        if int(length) > wire.MAX_BODY_BYTES:
            self.close_connection = True
            raise TooLarge(f"the request's body is larger than {wire.MAX_BODY_BYTES >> 20} MB", code="BODY_TOO_LARGE")
        return self.rfile.read(int(length))

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def _send_chunks(self, chunks: Iterator[LogChunk]) -> None:
        """An error after the first byte closes the connection within a chunk: the caller notices and resumes."""
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        try:
            for chunk in chunks:
                framed = wire.CHUNK_HEAD.pack(chunk.offset, len(chunk.data)) + chunk.data
                self.wfile.write(b"%x\r\n%b\r\n" % (len(framed), framed))
                self.wfile.flush()
        except Problem:
            self.close_connection = True
            return
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()
