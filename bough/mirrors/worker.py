"""`python -m bough.mirrors.worker REQUEST.json RESULT.json`: sends kept requests to a branch and writes pairs.

Asks through the gateway's control socket, AT_ONCE at a time in the order in which they came, so they take the way that
callers' requests take, batches and waking included, and need no key. Each pair is written when it is known; a process
that is killed begins its replay anew.
"""

from __future__ import annotations

import http.client
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from bough.gateway.asking import Asked, Question
from bough.gateway.taps import kept, pairs
from bough.gateway.taps.kept import Kept
from bough.gateway.taps.pairs import Answered
from bough.kernel.files import write_whole
from bough.mirrors.asked import Replayed, ReplayRequest
from bough.mirrors.models import Replay

AT_ONCE = 8
PATIENCE_S = 120.0  # for one answer
DAYS = 3650.0  # kept requests are as old as their service lets them be


class Asker(threading.local):
    """A connection for each thread."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, question: Question) -> Asked:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("gateway", timeout=PATIENCE_S)
            self._connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._connection.sock.settimeout(PATIENCE_S)
            self._connection.sock.connect(self._path)
        try:
            self._connection.request("POST", "/ask", msgspec.json.encode(question))
            answer = self._connection.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException):
            self._connection = None
            raise
        if answer.status != 200:  # refused before it reached a deployment
            return Asked(status=answer.status, seconds=0.0, body=said)
        return msgspec.json.decode(said, type=Asked)


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        print("usage: python -m bough.mirrors.worker REQUEST.json RESULT.json", file=sys.stderr)
        return 2
    request = msgspec.json.decode(Path(arguments[0]).read_bytes(), type=ReplayRequest)
    try:
        done = Replayed(sent=run(request))
    except (OSError, http.client.HTTPException) as error:
        done = Replayed(sent=0, why=f"the gateway did not answer: {type(error).__name__}: {error}")
    write_whole(Path(arguments[1]), msgspec.json.encode(done))
    print(f"{done.sent} requests" + (f"; {done.why}" if done.why else ""))
    return 1 if done.why else 0


def run(request: ReplayRequest) -> int:
    asker, replay = Asker(request.socket), request.replay
    with Path(request.pairs).open("wb") as file, ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(lambda each: _pair(asker, replay, *each), _requests(request))
        count = 0
        for line in found:
            file.write(line)
            count += 1
    return count


def _requests(request: ReplayRequest) -> Iterator[tuple[str, Kept]]:
    for service, path in sorted(request.files.items()):
        for each in kept.read(Path(path), request.replay.count, time.time(), DAYS):
            yield service, each


def _pair(asker: Asker, replay: Replay, service: str, request: Kept) -> bytes:
    def ask(environment: str) -> tuple[Answered, bytes]:
        question = Question(
            project=replay.project, environment=environment, service=service, body=request.sent(), meta=request.meta
        )
        said = asker.ask(question)
        return Answered(said.status, said.seconds), said.body

    before = Answered(request.status, request.seconds), request.answered()
    source = ask(replay.environment) if replay.both else before
    pair = pairs.paired(request.at, request.id, service, source, ask(replay.target), replay.tolerance)
    return pairs.encode(pair)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
