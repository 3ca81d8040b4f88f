"""`kill -9` of the server around the commit of what happened and the telling of it: a receiver of OpenLineage is told
of all that happened and of nothing else, and an event that comes again is the same event to the byte."""

from __future__ import annotations

import hashlib
import json
import os
import random
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bough.client import Client
from bough.client.http import Http
from bough.kernel.errors import Problem
from tests.depth import times
from tests.ports import free_port
from tests.programs import control_plane

KILLS = times("BOUGH_KILLS", quick=2, deep=4)
SEED = int(os.environ.get("BOUGH_SEED", "1"))
PATIENCE_S = 60.0
LONGEST_S = 0.05  # between a request and the kill: about what commit and sending take


class Receiving(ThreadingHTTPServer):
    """`silent`: takes an event and answers nothing."""

    daemon_threads = True
    events: list[bytes]
    silent: bool
    heard: threading.Event


class _Handler(BaseHTTPRequestHandler):
    server: Receiving

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.events.append(body)
        self.server.heard.set()
        if not self.server.silent:
            self.send_response(200)
            self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiving]:
    made = Receiving(("127.0.0.1", 0), _Handler)
    made.events, made.silent, made.heard = [], False, threading.Event()
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    thread.join(60)
    made.server_close()


def test_an_event_is_told_by_the_next_process_whether_or_not_it_had_arrived(
    tmp_path: Path, receiver: Receiving
) -> None:
    receiver.silent = True
    with server(tmp_path, receiver) as (client, kill):
        client.projects.create(name="shop")
        register(client, 1)
        assert receiver.heard.wait(PATIENCE_S)
        register(client, 2)  # committed, and not even tried: the first is still under way
        kill()
    receiver.silent = False
    with server(tmp_path, receiver) as (client, kill):
        eventually(lambda: told(receiver) == ["1", "2"])
        register(client, 3)
        eventually(lambda: told(receiver) == ["1", "2", "3"])


@pytest.mark.timeout(600 + 20 * KILLS)
def test_kills_at_any_moment_lose_no_event_and_invent_none(tmp_path: Path, receiver: Receiving) -> None:
    dice, number = random.Random(SEED), 0
    for turn in range(KILLS):
        with server(tmp_path, receiver) as (client, kill):
            if not turn:
                client.projects.create(name="shop")
            number += 1
            register(client, number)
            timer = threading.Timer(dice.uniform(0, LONGEST_S), kill)
            timer.start()
            try:
                while True:
                    number += 1
                    register(client, number)
            except Problem:  # the server is gone
                timer.join()
    with server(tmp_path, receiver) as (client, kill):
        there = sorted(str(each.number) for each in client.models.versions(project="shop", name="churn", limit=1000))
        eventually(lambda: sorted(told(receiver)) == there)


@contextmanager
def server(folder: Path, receiver: Receiving) -> Iterator[tuple[Client, Any]]:
    """A control plane of its own, and what kills it."""
    port, home = free_port(), folder / "home"
    home.mkdir(exist_ok=True)
    url = f"http://127.0.0.1:{port}"
    with ExitStack() as life:
        process = control_plane(home, port, OPENLINEAGE_URL=f"http://127.0.0.1:{receiver.server_port}")
        life.callback(process.wait)
        life.callback(process.kill)
        eventually(lambda: not process.ended(0) and answers(f"{url}/healthz"))
        token = (home / "token").read_text().strip()
        with Client(transport=Http(url, token, patience_s=0.0)) as client:
            yield client, life.close


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def eventually(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def register(client: Client, number: int) -> None:
    content = str(number).encode()
    digest = hashlib.sha256(content).hexdigest()
    client.put(content, digest)
    files = [{"path": "m", "digest": digest, "size": len(content)}]
    client.models.register(project="shop", name="churn", files=files, sign=False)


def told(receiver: Receiving) -> list[str]:
    """Versions by the first event about each. Whatever is told of one run in one state is the same every time."""
    first: dict[tuple[str, str], bytes] = {}
    for body in list(receiver.events):
        said = json.loads(body)
        assert first.setdefault((said["run"]["runId"], said["eventType"]), body) == body
    made = [json.loads(body)["outputs"][0] for body in first.values()]
    return [each["facets"]["version"]["datasetVersion"] for each in made]
