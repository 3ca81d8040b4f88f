"""The real gateway, a real replica and the server's work for queues as processes that can be killed, and what survives
them."""

from __future__ import annotations

import http.client
import json
import multiprocessing
import os
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import msgspec

from bough.adapters.connectors.outside import Outside
from bough.adapters.connectors.s3 import S3
from bough.adapters.database.migrate import upgrade
from bough.adapters.database.sqlite import SqliteDatabase
from bough.adapters.queue import Kept, Place
from bough.adapters.queue.sqlite import SqliteQueues
from bough.entrypoints import gateway
from bough.gateway.models import Route, Table, Target
from bough.kernel.clock import SystemClock
from bough.kernel.queue import Forward, Queue
from bough.queues.models import QueueRoute
from bough.queues.outside import OutsideWork
from bough.runtime import serve
from tests.ports import free_port

HANDLER = """
import sqlite3
import bough

@bough.batch(max_size=16)
def handle(numbers: list[int], items: list[bough.Item]) -> list[int]:
    with sqlite3.connect("effects.db", timeout=20) as db:
        for number, item in zip(numbers, items):
            if item.once(db):
                db.execute("INSERT INTO effect VALUES (?, ?)", (number, item.dedup))
    return [2 * number for number in numbers]
"""


# What a process imports is imported once, in one that forks them: a kill costs milliseconds instead of a second.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["bough.entrypoints.gateway", "bough.runtime.serve", "bough.runtime.replica", "bough.queues.outside",
     "bough.adapters.connectors.s3", "bough.adapters.database.sqlite"]
)  # fmt: skip
PLACE: Place = ("shop", "main", "numbers")
DOUBLED: Place = ("shop", "main", "doubled")


def be_gateway(folder: Path, port: int) -> None:
    _be_quiet(folder)
    gateway.run(folder, "127.0.0.1", port)


def be_replica(folder: Path) -> None:
    _be_quiet(folder)
    sys.exit(serve.main(["handler:handle", "--folder", str(folder), "--socket", str(folder / "replica.sock")]))


def be_server(folder: Path, settings: Queue) -> None:
    """What the server does for queues, without its pauses: so a kill finds it telling somebody."""
    _be_quiet(folder)
    database, queues = SqliteDatabase(folder / "bough.db"), SqliteQueues(folder / "queues.db")
    work = OutsideWork(
        queues, database.read, Outside(), lambda tx, place, name: "", SystemClock(), lambda tx: {PLACE: settings},
        objects=S3(),
    )  # fmt: skip
    while True:
        work.once()
        time.sleep(0.005)


def _be_quiet(folder: Path) -> None:
    os.chdir(folder)
    for stream in (1, 2):
        os.dup2(os.open("log", os.O_WRONLY | os.O_APPEND | os.O_CREAT), stream)


class Hook(ThreadingHTTPServer):
    """A webhook that counts how often it is told of each item."""

    daemon_threads = True

    def __init__(self) -> None:
        self.told: Counter[str] = Counter()
        super().__init__(("127.0.0.1", 0), _Told)
        self.url = f"http://127.0.0.1:{self.server_port}/"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Told(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.told[self.headers["webhook-id"]] += 1
        self.send_response(204)
        self.end_headers()

    def log_message(self, *values: object) -> None:
        """Nobody reads it."""


class Stage:
    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="bqk", dir="/tmp"))
        (self.folder / "run").mkdir()
        (self.folder / "handler.py").write_text(HANDLER)
        with sqlite3.connect(self.folder / "effects.db") as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("CREATE TABLE effect (number INTEGER, dedup TEXT)")
            db.execute("CREATE TABLE bough_done (item VARCHAR(300) PRIMARY KEY)")
        target = Target(unit="model", address=f"unix:{self.folder}/replica.sock")
        route = Route(project="shop", environment="main", service="handler", deployment="dep", release=1, kind="model",
                      targets=[target], timeout_s=5.0)  # fmt: skip
        self.hook = Hook()
        self.settings = Queue(handler="handler", retries=1000, retry_s=0.01, retry_max_s=0.05, webhook=self.hook.url,
                              forward=Forward(queue=DOUBLED[2]))  # fmt: skip
        queue = QueueRoute(project="shop", environment="main", queue=PLACE[2], service="handler",
                           settings=self.settings)  # fmt: skip
        table = Table(generation=1, routes=[route], queues=[queue])
        (self.folder / "run" / "routes.json").write_bytes(msgspec.json.encode(table))
        self.port = free_port()
        upgrade(self.folder / "bough.db")
        self.queues = SqliteQueues(self.folder / "queues.db")
        self.gateway, self.replica, self.server = self._gateway(), self._replica(), self._server()

    def kill(self, part: str) -> None:
        """kill -9, and another one in its place."""
        process: BaseProcess = getattr(self, part)
        process.kill()
        process.join()
        begin = {"gateway": self._gateway, "replica": self._replica, "server": self._server}[part]
        setattr(self, part, begin())

    def put(self, numbers: list[int]) -> list[str]:
        """Puts each with a dedup id of its own, again and again until it is said to be accepted."""
        lines = "\n".join(map(str, numbers)).encode()
        headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": f"batch-{numbers[0]}"}
        return list(self.ask("POST", "/queues/numbers", lines, headers)["ids"])

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Any:
        deadline = time.monotonic() + 60
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=25)
            try:
                connection.request(method, path, body, headers or {})
                answer = connection.getresponse()
                content = json.loads(answer.read())
                if answer.status < 300:
                    return content
            except (OSError, http.client.HTTPException, ValueError):
                pass
            finally:
                connection.close()
            assert time.monotonic() < deadline, f"{method} {path} was not answered"
            time.sleep(0.01)

    def effects(self) -> list[int]:
        with sqlite3.connect(self.folder / "effects.db", timeout=20) as db:
            return [number for (number,) in db.execute("SELECT number FROM effect ORDER BY number")]

    def forwarded(self) -> list[Kept]:
        """The items of the queue that results go on to, once everybody has been told of everything."""
        deadline = time.monotonic() + 60
        while owed := self.queues.owed(PLACE):
            assert time.monotonic() < deadline, f"these were not told: {owed}"
            time.sleep(0.05)
        return self.queues.after(DOUBLED, "", 1_000_000)

    def close(self) -> None:
        for process in (self.gateway, self.replica, self.server):
            process.kill()
            process.join()
        self.queues.close()
        self.hook.shutdown()
        self.hook.server_close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _gateway(self) -> BaseProcess:
        return self._begin(be_gateway, self.folder, self.port)

    def _replica(self) -> BaseProcess:
        return self._begin(be_replica, self.folder)

    def _server(self) -> BaseProcess:
        return self._begin(be_server, self.folder, self.settings)

    def _begin(self, function: Callable[..., None], *arguments: object) -> BaseProcess:
        process = _FORKS.Process(target=function, args=arguments, daemon=True)
        process.start()
        return process
