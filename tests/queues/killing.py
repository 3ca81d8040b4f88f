"""The real gateway and a real replica as processes that can be killed, and what survives them."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from bough.gateway.models import Route, Table, Target
from bough.kernel.queue import Queue
from bough.queues.models import QueueRoute
from tests.ports import free_port

GATEWAY = """
import sys
from pathlib import Path
from bough.entrypoints.gateway import run
run(Path(sys.argv[1]), "127.0.0.1", int(sys.argv[2]))
"""
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
        queue = QueueRoute(project="shop", environment="main", queue="numbers", service="handler",
                           settings=Queue(handler="handler", retries=1000, retry_s=0.01, retry_max_s=0.05))  # fmt: skip
        table = Table(generation=1, routes=[route], queues=[queue])
        (self.folder / "run" / "routes.json").write_bytes(msgspec.json.encode(table))
        self.port = free_port()
        self.gateway, self.replica = self._gateway(), self._replica()

    def kill(self, part: str) -> None:
        """kill -9, and another one in its place."""
        process: subprocess.Popen[bytes] = getattr(self, part)
        process.send_signal(signal.SIGKILL)
        process.wait()
        setattr(self, part, self._gateway() if part == "gateway" else self._replica())

    def put(self, numbers: list[int]) -> list[str]:
        """Puts each with a dedup id of its own, again and again until it is said to be accepted."""
        lines = "\n".join(map(str, numbers)).encode()
        headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": f"batch-{numbers[0]}"}
        return list(self.ask("POST", "/queues/numbers", lines, headers)["ids"])

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Any:
        deadline = time.monotonic() + 30
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

    def close(self) -> None:
        for process in (self.gateway, self.replica):
            process.kill()
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _gateway(self) -> subprocess.Popen[bytes]:
        return self._begin([sys.executable, "-c", GATEWAY, str(self.folder), str(self.port)])

    def _replica(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "bough.runtime.serve", "handler:handle", "--folder", str(self.folder)]
        return self._begin([*command, "--socket", str(self.folder / "replica.sock")])

    def _begin(self, command: list[str]) -> subprocess.Popen[bytes]:
        quiet = subprocess.DEVNULL
        return subprocess.Popen(command, cwd=self.folder, stdout=quiet, stderr=quiet, env=dict(os.environ))
