"""The gateway as a process of its own: start, presence, kill -9, SIGTERM, memory."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port

from .conftest import Replica, Running, read_all, route

Make = Callable[..., Replica]
RUN = """
import sys
from pathlib import Path
from bough.entrypoints.gateway import run
run(Path(sys.argv[1]), "127.0.0.1", int(sys.argv[2]))
"""
POST = b"POST /v1/churn/predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
Start = Callable[[int], subprocess.Popen[str]]


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    made: list[subprocess.Popen[str]] = []

    def begin(port: int) -> subprocess.Popen[str]:
        made.append(
            subprocess.Popen([sys.executable, "-c", RUN, str(folder), str(port)], stderr=subprocess.PIPE, text=True)
        )
        return made[-1]

    yield begin
    for process in made:
        process.kill()
        process.communicate()


def ask(port: int, deadline_s: float = 60.0) -> bytes:
    """The answer to one prediction, trying until somebody listens."""
    deadline = time.monotonic() + deadline_s
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
                connection.sendall(POST)
                return read_all(connection)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.005)


def presence(folder: Path) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    path = folder / "run" / "gateway.json"
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return dict(json.loads(path.read_bytes()))


def test_a_killed_gateway_serves_again_within_a_second(
    gateway: Running, replicas: Make, folder: Path, start: Start
) -> None:
    gateway.write([route("churn", replicas())])
    port = free_port()
    first = start(port)
    assert ask(port).startswith(b"HTTP/1.1 200 ")
    said = presence(folder)
    assert (said["pid"], said["port"], said["host"]) == (first.pid, port, "127.0.0.1")
    first.send_signal(signal.SIGKILL)
    first.wait(60)
    start(port)
    assert ask(port).startswith(b"HTTP/1.1 200 ")
    cpu_s = sum(map(int, Path(f"/proc/{presence(folder)['pid']}/stat").read_text().rpartition(")")[2].split()[11:13]))
    assert cpu_s / os.sysconf("SC_CLK_TCK") < 1.0  # the promise is one second from start to answer
    mode = (folder / "run" / "gateway.sock").stat().st_mode & 0o777
    assert mode == 0o600


def test_sigterm_ends_it_with_nothing_left_behind(gateway: Running, replicas: Make, folder: Path, start: Start) -> None:
    gateway.write([route("churn", replicas())])
    port = free_port()
    process = start(port)
    assert ask(port).startswith(b"HTTP/1.1 200 ")
    presence(folder)
    process.terminate()
    assert process.wait(60) == 0
    assert not (folder / "run" / "gateway.json").exists()
    assert not (folder / "run" / "gateway.sock").exists()
    assert len((folder / "logs" / "access.log").read_text().splitlines()) == 1


def test_a_thousand_idle_connections_fit_in_little_memory(
    gateway: Running, replicas: Make, folder: Path, start: Start
) -> None:
    gateway.write([route("churn", replicas())])
    port = free_port()
    process = start(port)
    assert ask(port).startswith(b"HTTP/1.1 200 ")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(4096, hard)), hard))

    def memory_kb() -> int:
        text = Path(f"/proc/{process.pid}/status").read_text()
        return int(text.partition("VmRSS:")[2].split()[0])

    before = memory_kb()
    with contextlib.ExitStack() as held:
        for _ in range(1000):
            held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
        assert ask(port).startswith(b"HTTP/1.1 200 ")
        assert memory_kb() - before < 20_000
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert ask(port).startswith(b"HTTP/1.1 200 ")


def test_requests_flow_over_a_full_log_disk(gateway: Running, replicas: Make, folder: Path) -> None:
    (folder / "logs").write_text("a file where the folder should be")
    gateway.start(routes=[route("churn", replicas())])
    assert gateway.post("churn", {})[0] == 200
    gateway.wait(lambda: gateway.gateway.log_dropped == 1)
    assert b"bough_access_log_dropped_total 1.0" in gateway.request("GET", "/metrics")[2]
