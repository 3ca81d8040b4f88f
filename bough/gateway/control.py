"""The control socket, `run/gateway.sock`: `GET /state`, `GET /traffic`, `POST /reload` and `POST /listen` (`Silence`
in, `Heard` out), for the server, and `POST /ask`, one request to a service (`Question` in, `Asked` out), for replays;
the file mode (0600) is the access check. A connection may be used for many requests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from bough.gateway.answers import BOUGH, error_body
from bough.gateway.asking import Asked, Question
from bough.gateway.models import GatewayState, Heard, Silence, Traffic
from bough.kernel.errors import Invalid, NotFound, Problem

_READ_TIMEOUT_S = 5.0
LARGEST_BYTES = 96 << 20  # of a question: the largest body that a service may take, in base64
Sent = TypeVar("Sent", Question, Silence)


class Controlled(Protocol):
    async def reload(self) -> None: ...

    async def ask(self, question: Question) -> Asked: ...

    async def listen(self, silence: Silence) -> Heard: ...

    def state(self) -> GatewayState: ...

    def traffic(self) -> Traffic: ...


class Control:
    def __init__(self, gateway: Controlled) -> None:
        self._gateway = gateway
        self._server: asyncio.AbstractServer | None = None
        self._path: Path | None = None

    async def start(self, path: Path) -> None:
        """Takes over a socket file that a killed gateway left behind."""
        self._server = await asyncio.start_unix_server(self._serve, sock=_bind(path))
        self._path = path

    def stop(self) -> None:
        if self._server is not None and self._path is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(
            OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError
        ):
            while True:
                async with asyncio.timeout(_READ_TIMEOUT_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = _length(head)
                    sent = await reader.readexactly(length) if length else b""
                method, path, _ = head.split(b"\r\n", 1)[0].split(b" ", 2)
                status, body = await self._answer(method, path, sent)
                writer.write(
                    b"HTTP/1.1 %d Control\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                    % (status, len(body), body)
                )
                await writer.drain()
                if b"connection: close" in head.lower():
                    break
        writer.close()

    async def _answer(self, method: bytes, path: bytes, sent: bytes) -> tuple[int, bytes]:
        try:
            if (method, path) == (b"POST", b"/ask"):
                return 200, msgspec.json.encode(await self._gateway.ask(_read(sent, Question)))
            if (method, path) == (b"POST", b"/listen"):
                return 200, msgspec.json.encode(await self._gateway.listen(_read(sent, Silence)))
            if (method, path) == (b"GET", b"/traffic"):
                return 200, msgspec.json.encode(self._gateway.traffic())
            if (method, path) == (b"POST", b"/reload"):
                await self._gateway.reload()
            elif (method, path) != (b"GET", b"/state"):
                raise NotFound(
                    "the control socket answers GET /state, GET /traffic, POST /reload, POST /listen and POST /ask"
                )
            return 200, msgspec.json.encode(self._gateway.state())
        except Problem as problem:
            return problem.http_status, error_body(problem, BOUGH)


def _read(sent: bytes, kind: type[Sent]) -> Sent:
    try:
        return msgspec.json.decode(sent, type=kind)
    except msgspec.DecodeError as error:
        raise Invalid(f"this is no {kind.__name__.lower()}: {error}", code="QUESTION_INVALID") from error


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
            if not 0 <= length <= LARGEST_BYTES:
                raise ValueError(length)
            return length
    return 0


def _bind(path: Path) -> socket.socket:
    """Closed to others from the first moment on, not only after a chmod."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    return listener
