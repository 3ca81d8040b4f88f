"""Load: wrk for throughput and latency, a plain socket for the first token and for the first answer of all."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from errors import CannotRun

SCRIPT = Path(__file__).with_name("wrk.lua")


def find_wrk() -> str:
    if path := shutil.which("wrk"):
        return path
    raise CannotRun("wrk is not installed; on Debian and Ubuntu: apt-get install wrk")


def start_wrk(url: str, bodies: str, key: str, connections: int, seconds: int) -> subprocess.Popen[str]:
    argv = [
        find_wrk(), f"-t{min(2, connections)}", f"-c{connections}", f"-d{seconds}s", "--timeout", "15s",
        "--latency", "-s", str(SCRIPT), url, "--", bodies, *([key] if key else []),
    ]  # fmt: skip
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish_wrk(process: subprocess.Popen[str]) -> dict[str, Any]:
    output, _ = process.communicate(timeout=300)
    for line in output.splitlines():
        if line.startswith("RESULT "):
            result: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
            return result
    raise CannotRun(f"wrk gave no result: {output.strip()[-300:]}")


def post(port: int, path: str, body: bytes, key: str = "", timeout_s: float = 30.0) -> tuple[int, bytes]:
    """One request on a connection of its own; the whole answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json", **_bearer(key)})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def first_tokens(port: int, path: str, bodies: list[bytes], key: str, seconds: float) -> Iterator[float]:
    """Milliseconds from sending a request to its first event, one after the other on one connection."""
    deadline = time.perf_counter() + seconds
    headers = "".join(f"{name}: {value}\r\n" for name, value in _bearer(key).items())
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        number = 0
        while time.perf_counter() < deadline:
            body = bodies[number % len(bodies)]
            number += 1
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{headers}"
            started = time.perf_counter()
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            received, first = b"", 0.0
            while not received.endswith(b"0\r\n\r\n"):
                piece = connection.recv(1 << 16)
                if not piece:
                    raise CannotRun(f"the stream ended without its last chunk: {received[:200]!r}")
                received += piece
                if not first and b"tok" in received:
                    first = time.perf_counter()
            yield (first - started) * 1e3


def wait_first_answer(
    port: int, path: str, body: bytes, key: Callable[[], str], alive: Callable[[], bool], limit_s: float
) -> float:
    """Asks until an answer is a success; the time of that answer on the performance counter."""
    deadline = time.perf_counter() + limit_s
    seen = "no connection"
    while time.perf_counter() < deadline:
        if not alive():
            raise CannotRun("it exited")
        try:
            status, answer = post(port, path, body, key())
            if status < 300:
                return time.perf_counter()
            seen = f"status {status}: {answer[:200]!r}"
        except (OSError, http.client.HTTPException) as error:
            seen = repr(error)
        time.sleep(0.005)
    raise CannotRun(f"no answer within {limit_s:g} s ({seen})")


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}
