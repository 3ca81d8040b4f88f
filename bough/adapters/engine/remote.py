"""An engine behind a node's Unix socket."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode

import msgspec

from bough.adapters.engine import Attempt, Hint, LogChunk, wire
from bough.kernel.errors import Problem, TooLarge, Unavailable, from_detail
from bough.runtime.spec import UnitSpec, Usage

T = TypeVar("T")

_ANSWER_TIMEOUT_S = 10.0  # well below the lease of a handler that waits for it (kernel/reconcile.py)
_IDLE_CONNECTIONS = 8


class RemoteEngine:
    """Connects when first used and again whenever needed; safe to use from many threads."""

    def __init__(self, socket_path: Path, *, timeout_s: float = _ANSWER_TIMEOUT_S) -> None:
        self._path = socket_path
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def apply(self, spec: UnitSpec) -> Attempt:
        return self._call("POST", "/apply", spec, Attempt)

    def stop(self, unit: str, attempt: int, grace_s: float | None = None) -> None:
        self._call("POST", "/stop", wire.Stop(unit=unit, attempt=attempt, grace_s=grace_s), type(None))

    def register(self, spec: UnitSpec) -> Attempt:
        return self._call("POST", "/register", spec, Attempt)

    def sleep(self, unit: str, attempt: int, grace_s: float | None = None) -> None:
        self._call("POST", "/sleep", wire.Stop(unit=unit, attempt=attempt, grace_s=grace_s), type(None))

    def forget(self, unit: str) -> None:
        self._call("POST", "/forget", wire.Unit(unit=unit), type(None))

    def snapshot(self) -> list[Attempt]:
        return self._call("GET", "/snapshot", None, list[Attempt])

    def watch(self, cursor: int, timeout_s: float) -> list[Hint]:
        timeout_s = min(timeout_s, wire.LONGEST_WATCH_S)
        path = "/watch?" + urlencode({"cursor": cursor, "timeout_s": timeout_s})
        return self._call("GET", path, None, list[Hint], timeout_s=self._timeout_s + timeout_s)

    def logs(self, unit: str, attempt: int, offset: int, *, follow: bool) -> Iterator[LogChunk]:
        query = urlencode({"unit": unit, "attempt": attempt, "offset": offset, "follow": int(follow)})
        connection, response = self._ask("GET", "/logs?" + query, b"", self._timeout_s)
        if response.status != 200:
            self._answer(connection, response, type(None))
        chunks = self._chunks(connection, response)
        next(chunks)  # begun, so that dropping it unread closes the connection
        return chunks

    def usage(self) -> dict[str, Usage]:
        return self._call("GET", "/usage", None, dict[str, Usage])

    def wake(self, unit: str) -> Attempt:
        return self._call("POST", "/wake", wire.Unit(unit=unit), Attempt)

    def drain(self, node: str, deadline_s: float, reason: str) -> None:
        self._call("POST", "/drain", wire.Drain(node=node, deadline_s=deadline_s, reason=reason), type(None))

    def stage(self, digests: list[str]) -> None:
        self._call("POST", "/stage", wire.Stage(digests=digests), type(None))

    def state(self) -> wire.NodeState:
        """Who answers there."""
        return self._call("GET", "/healthz", None, wire.NodeState)

    def _call(self, method: str, path: str, body: msgspec.Struct | None, kind: type[T], timeout_s: float = 0.0) -> T:
        data = msgspec.json.encode(body) if body is not None else b""
        if len(data) > wire.MAX_BODY_BYTES:
            raise TooLarge(
                f"the request has {len(data) >> 20} MB, more than {wire.MAX_BODY_BYTES >> 20}", code="BODY_TOO_LARGE",
                hint="pass large values as files",
            )  # fmt: skip
        connection, response = self._ask(method, path, data, timeout_s or self._timeout_s)
        return self._answer(connection, response, kind)

    def _ask(
        self, method: str, path: str, data: bytes, timeout_s: float
    ) -> tuple[_Connection, http.client.HTTPResponse]:
        """Sends a request and returns when the head of its answer is there. A kept connection may have been closed
        by a node that restarted: then once more on a new one, which is safe because every verb is idempotent."""
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection:
            try:
                return connection, connection.exchange(method, path, data, timeout_s)
            except TimeoutError as error:
                raise self._unavailable(error) from error
            except (OSError, http.client.HTTPException):
                connection.close()
        connection = _Connection(self._path)
        try:
            return connection, connection.exchange(method, path, data, timeout_s)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._unavailable(error) from error

    def _answer(self, connection: _Connection, response: http.client.HTTPResponse, kind: type[T]) -> T:
        try:
            data = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._unavailable(error) from error
        self._keep(connection)
        try:
            if response.status >= 400:
                raise from_detail(response.status, msgspec.json.decode(data, type=wire.Failed).error)
            return msgspec.json.decode(data, type=kind)
        except msgspec.MsgspecError as error:
            raise Problem(
                f"the node's answer is not understood: {error}", code="NODE_PROTOCOL",
                hint="node and server are of different versions: bough down, then bough up",
            ) from error  # fmt: skip

    def _chunks(self, connection: _Connection, response: http.client.HTTPResponse) -> Iterator[LogChunk]:
        complete = False
        try:
            yield LogChunk(offset=0, data=b"")
            while head := response.read(wire.CHUNK_HEAD.size):
                offset, length = wire.CHUNK_HEAD.unpack(head)
                data = response.read(length)
                if len(data) != length:
                    raise ConnectionResetError("the output ended within a chunk")
                yield LogChunk(offset=offset, data=data)
            complete = True
        except (OSError, http.client.HTTPException, struct.error) as error:
            raise self._unavailable(error) from error
        finally:
            if complete:
                self._keep(connection)
            else:
                connection.close()

    def _keep(self, connection: _Connection) -> None:
        with self._lock:
            if len(self._idle) < _IDLE_CONNECTIONS:
                self._idle.append(connection)
                return
        connection.close()

    def _unavailable(self, error: Exception) -> Unavailable:
        absent = isinstance(error, FileNotFoundError | ConnectionRefusedError)
        why = "no node is running there" if absent else str(error) or type(error).__name__
        return Unavailable(
            f"the node at {self._path} does not answer: {why}", code="NODE_UNREACHABLE", hint="bough up; bough status"
        )


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("node")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))

    def exchange(self, method: str, path: str, data: bytes, timeout_s: float) -> http.client.HTTPResponse:
        self.timeout = timeout_s
        if self.sock:
            self.sock.settimeout(timeout_s)
        self.request(method, path, data or None, {"Content-Type": "application/json"} if data else {})
        return self.getresponse()
