"""A server that answers what a test has written down, byte for byte, and can hang up at any point."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

Script = Callable[[socket.socket, bytes], bool]  # (connection, request) -> keep the connection


class Scripted:
    """Takes one entry of `script` for each request. `requests` are the heads and bodies that came."""

    def __init__(self, *script: Script) -> None:
        self.script, self.requests = list(script), list[bytes]()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                while (request := _read(connection)) is not None:
                    self.requests.append(request)
                    if not self.script or not self.script.pop(0)(connection, request):
                        break


def answer(body: str, status: int = 200) -> Script:
    def send(connection: socket.socket, request: bytes) -> bool:
        data = body.encode()
        connection.sendall(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(data), data))
        return True

    return send


def hang_up(connection: socket.socket, request: bytes) -> bool:
    """After the request has come, without an answer."""
    return False


def stream(*lines: str, complete: bool = True) -> Script:
    """NDJSON in chunks; not `complete`: the connection is cut where the last chunk would be."""

    def send(connection: socket.socket, request: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for line in lines:
            data = line.encode() + b"\n"
            connection.sendall(b"%x\r\n%b\r\n" % (len(data), data))
        if complete:
            connection.sendall(b"0\r\n\r\n")
        return False

    return send


def _read(connection: socket.socket) -> bytes | None:
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := connection.recv(65536)):
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    while len(body) < length:
        if not (more := connection.recv(65536)):
            return None
        body += more
    return head + b"\r\n\r\n" + body
