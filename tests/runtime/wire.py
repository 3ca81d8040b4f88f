"""A gateway's side of the wire, for tests: starts a replica process and speaks frames with it."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from bough.runtime.answering import Answering
from bough.runtime.frames import (
    CHUNK,
    GOODBYE,
    LENGTH,
    PREDICT,
    STATS,
    Hello,
    Observed,
    Reply,
    Request,
    decode_hello,
    decode_observed,
    decode_replies,
    pack,
)  # fmt: skip
from bough.runtime.models import Model
from bough.runtime.spec import ModelSpec

PROJECT = Path(__file__).parent / "project"
DEADLINE_S = 60.0


class Replica:
    """One process; `folder` is its unit's folder and its working directory's copy of the project."""

    def __init__(self, reference: str, *options: str, files: Iterable[Path] = ()) -> None:
        self.connections: list[Connection] = []
        self.folder = Path(tempfile.mkdtemp(dir="/tmp"))
        self.project = self.folder / "p"
        shutil.copytree(PROJECT, self.project, ignore=shutil.ignore_patterns("__pycache__"))
        for file in files:
            shutil.copy(file, self.project)
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self.log = (self.folder / "log").open("w+b")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bough.runtime.serve", reference, "--socket", str(self.folder / "replica.sock"),
             "--folder", str(self.project), *options],
            stdout=self.log, stderr=self.log, env=environment,
        )  # fmt: skip
        deadline = time.monotonic() + DEADLINE_S
        while not (self.folder / "ready.json").exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                said = self.output()
                self.close()
                raise AssertionError(said)
            time.sleep(0.005)

    def connect(self) -> Connection:
        self.connections.append(Connection(self.folder / "replica.sock"))
        return self.connections[-1]

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        return self.process.wait(DEADLINE_S)

    def output(self) -> str:
        self.log.flush()
        return (self.folder / "log").read_text()

    def until(self, name: str) -> None:
        """Waits for a file that the project's code writes."""
        deadline = time.monotonic() + DEADLINE_S
        while not list(self.project.glob(name)):
            assert time.monotonic() < deadline, f"{name} was never written: {self.output()}"
            time.sleep(0.002)

    def close(self) -> None:
        for connection in self.connections:
            connection.close()
        self.process.kill()
        self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder)


class Connection:
    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(DEADLINE_S)
        self.socket.connect(str(path))
        self.hello: Hello = decode_hello(self._frame())
        self.said_goodbye = False
        self.observed: list[Observed] = []  # telemetry that came meanwhile

    def send(self, *requests: Request) -> None:
        self.socket.sendall(pack(list(requests)))

    def replies(self) -> list[Reply]:
        """The next frame; `EOFError` when the replica has closed."""
        found: list[Reply] = decode_replies(self._frame())
        self.said_goodbye |= any(reply.flag == GOODBYE for reply in found)
        self.observed += [decode_observed(reply.body) for reply in found if reply.flag == STATS]
        return [reply for reply in found if reply.flag not in (GOODBYE, STATS)]

    def collect(self, numbers: Iterable[int]) -> dict[int, Reply]:
        """Whole answers by number; the parts of a stream are put together, with the first one's status and headers."""
        waiting = set(numbers)
        parts: dict[int, list[Reply]] = defaultdict(list)
        while waiting:
            for reply in self.replies():
                parts[reply.id].append(reply)
                if reply.flag != CHUNK:
                    waiting.discard(reply.id)
        return {
            number: msgspec.structs.replace(found[0], body=b"".join(part.body for part in found))
            for number, found in parts.items()
        }

    def ask(self, body: Any, verb: int = PREDICT, meta: str = "") -> Reply:
        body = body if isinstance(body, bytes) else msgspec.json.encode(body)
        self.send(Request(1, verb, body, meta))
        return self.collect([1])[1]

    def readable(self, timeout_s: float) -> bool:
        poll = select.poll()  # unlike select, whatever the number of the socket is
        poll.register(self.socket, select.POLLIN)
        return bool(poll.poll(1000 * timeout_s))

    def close(self) -> None:
        self.socket.close()

    def _frame(self) -> bytes:
        return self._exactly(LENGTH.unpack(self._exactly(4))[0])

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return bytes(data)


def serving(instance: Any, **spec: Any) -> Answering:
    """What a replica of `instance` would answer with, without a process."""
    return Answering(Model(ModelSpec(reference="test:Test", folder=".", **spec), instance), "test")


def ask(answering: Answering, *bodies: Any, verb: int = PREDICT, meta: str = "") -> list[Reply]:
    """Replies in the order of the bodies, from one frame."""
    encoded = [body if isinstance(body, bytes) else msgspec.json.encode(body) for body in bodies]
    requests = [Request(number, verb, body, meta) for number, body in enumerate(encoded)]
    if answering.contract.batch:
        replies = answering.answer_batch(requests)
    else:
        early: list[Reply] = []  # of a slow model's
        rest = answering.answer_items(requests, early.extend)
        replies = early + rest
    return sorted(replies, key=lambda reply: reply.id)


def content(reply: Reply) -> Any:
    return msgspec.json.decode(reply.body)


def error(reply: Reply) -> Any:
    return content(reply)["error"]
