"""Streams: an operation's generator, run in a thread of its own, as NDJSON lines that leave at once.

A line is an item; an empty line says that the stream lives (the reader skips it); a last line
`{"error": Detail, "status": HTTP status}` says why it ended early. The generator's thread ends when the reader goes:
`closed` wakes it from `Context.pause`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from bough.entrypoints.http.answers import REQUEST_ID, encode_failure, request_id
from bough.kernel.context import StreamClosed
from bough.kernel.errors import Busy, Problem, Unavailable

NDJSON = "application/x-ndjson"
HEARTBEAT_S = 10.0
FIRST_ITEM_S = 0.25  # an error within this time still gets its own status
WAITING_ITEMS = 1000  # produced, and not yet sent to a slow reader
MOST_STREAMS = 200

log = logging.getLogger("bough.http")


class Streams:
    """The open streams of one server: bounded, and ended together."""

    def __init__(self) -> None:
        self._open: set[_Pump] = set()
        self._stopping = False

    async def respond(
        self,
        request: Request,
        scope: Scope,
        receive: Receive,
        send: Send,
        begin: Callable[[threading.Event], Iterator[Any]],
    ) -> None:
        """Runs `begin(closed)` and sends what it yields. Raises the operation's error if it comes first."""
        if len(self._open) >= MOST_STREAMS:
            raise Busy(f"{MOST_STREAMS} streams are open", code="TOO_MANY_STREAMS", hint="close some", retry_after_s=5)
        pump = _Pump(begin)
        self._open.add(pump)
        if self._stopping:
            pump.stop()
        try:
            await pump.start()
            headers = [
                (b"content-type", NDJSON.encode()),
                (b"cache-control", b"no-store"),
                (REQUEST_ID.lower().encode(), request_id(request).encode()),
            ]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await until_either(self._send_all(pump, send), gone(receive))
        finally:
            self._open.discard(pump)
            pump.closed.set()

    def stop(self) -> None:
        """Ends every stream with an error line that tells the reader to come back. From the event loop's thread."""
        self._stopping = True
        for pump in list(self._open):
            pump.stop()

    async def _send_all(self, pump: _Pump, send: Send) -> None:
        while True:
            lines, ended = await pump.take()
            await send({"type": "http.response.body", "body": lines or b"\n", "more_body": not ended})
            if ended:
                return


class _Pump:
    def __init__(self, begin: Callable[[threading.Event], Iterator[Any]]) -> None:
        self.closed = threading.Event()
        self._begin = begin
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._room = threading.Condition()
        self._lines: list[bytes] = []
        self._ended = False  # the generator's thread is done
        self._complete = False  # because the generator was, and not because it was told to stop
        self._failure: Exception | None = None
        self._stopped = False

    async def start(self) -> None:
        threading.Thread(target=self._produce, name="stream", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), FIRST_ITEM_S)
        if self._failure is not None and not self._lines:
            raise self._failure

    def stop(self) -> None:
        self._stopped = True
        self.closed.set()
        self._notice()

    async def take(self) -> tuple[bytes, bool]:
        """All lines there are, waiting for the first; nothing after `HEARTBEAT_S`. And whether that was the end."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), HEARTBEAT_S)
        self._news.clear()
        with self._room:
            lines, self._lines = self._lines, []
            ended = self._ended or self._stopped
            self._room.notify()
        if ended and (failure := self._reason()) is not None:
            lines.append(encode_failure(failure, last=True) + b"\n")
        return b"".join(lines), ended

    def _produce(self) -> None:
        failure: Exception | None = None
        try:
            items = self._begin(self.closed)
            with contextlib.closing(items):  # type: ignore[type-var]  # a generator, by the registry's own check
                for item in items:
                    if not self._put(msgspec.json.encode(item) + b"\n"):
                        break
                else:
                    self._complete = True
        except StreamClosed:
            pass
        except Exception as error:  # goes to the reader, and to the log when it is not a reported one
            failure = error
        with self._room:
            self._failure, self._ended = failure, True
        self._wake()

    def _put(self, line: bytes) -> bool:
        with self._room:
            self._room.wait_for(lambda: len(self._lines) < WAITING_ITEMS or self.closed.is_set())
            if self.closed.is_set():
                return False
            self._lines.append(line)
        self._wake()
        return True

    def _wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # the event loop is closed: nobody to tell
            self._loop.call_soon_threadsafe(self._news.set)

    def _notice(self) -> None:
        self._news.set()
        with self._room:
            self._room.notify()

    def _reason(self) -> Problem | None:
        if self._failure is None:
            if not self._complete:
                return Unavailable("the server is stopping", code="SERVER_STOPPING", hint="ask again in a moment")
            return None
        if isinstance(self._failure, Problem):
            return self._failure
        log.error("a stream failed", exc_info=self._failure)
        return Problem("the stream failed in the server", hint="see logs/server.log in Bough's home")


async def gone(receive: Receive) -> None:
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            return


async def until_either(*waits: Any) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
