"""Large bodies: the event loop moves bytes over the connection while a thread hashes them and has them on a disk.

Both ways the two sides work at the same time and hand each other pieces through a few megabytes of memory. A change of
threads for every piece instead would cost more than hashing it.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO, TypeVar, cast

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from bough.entrypoints.http.streams import gone, until_either
from bough.kernel.errors import TooLarge

T = TypeVar("T")
MAX_BLOB_BYTES = 1 << 40
WAKE_BYTES = 1 << 20  # so much has come before the thread is woken for it
HELD_BYTES = 4 << 20  # then the side that is ahead waits for the other


async def stored(request: Request, work: Callable[[BinaryIO], T]) -> tuple[T, int]:
    """Runs `work` in a thread with the request's body as its file. What it returns, and how many bytes came. Raises
    what `work` does, `ClientDisconnect` when the body breaks off, and `TooLarge`; the last two only after `work` has
    had all that came before."""
    body = _Incoming()
    gathering = asyncio.ensure_future(body.gather(request))
    try:
        return await run_in_threadpool(work, cast(BinaryIO, body)), body.size
    finally:
        gathering.cancel()
        await asyncio.gather(gathering, return_exceptions=True)


class Sent(Response):
    """An answer whose body a thread makes, a few pieces ahead of what has been sent. When making one fails, or the
    other side goes, the connection breaks off: `pieces` must not yield the last before it knows that all are right."""

    def __init__(self, status: int, headers: Mapping[str, str], pieces: Callable[[], Iterator[bytes]]) -> None:
        super().__init__(None, status, dict(headers), media_type="application/octet-stream")
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        outgoing = _Outgoing()
        making = asyncio.ensure_future(run_in_threadpool(outgoing.make, self._pieces))
        try:
            await until_either(outgoing.send_all(send), gone(receive))
        finally:
            outgoing.stop()
            await making  # raises what went wrong, so that the connection is closed


class _Outgoing:
    """Pieces between the thread that makes them and the event loop that sends them."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._room = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._held = 0
        self._made = self._stopped = False

    def make(self, pieces: Callable[[], Iterator[bytes]]) -> None:
        """From the thread."""
        try:
            with contextlib.closing(pieces()) as made:  # type: ignore[type-var]  # a generator
                for piece in made:
                    with self._room:
                        self._room.wait_for(lambda: self._held < HELD_BYTES or self._stopped)
                        if self._stopped:
                            return
                        self._waiting.append(piece)
                        self._held += len(piece)
                    self._loop.call_soon_threadsafe(self._news.set)
            self._made = True
        finally:
            self._loop.call_soon_threadsafe(self.stop)

    def stop(self) -> None:
        with self._room:
            self._stopped = True
            self._room.notify()
        self._news.set()

    async def send_all(self, send: Send) -> None:
        """Returns without an end of the body when not all was made: then the connection breaks off."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._waiting:
                piece = self._waiting.popleft()
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                with self._room:
                    self._held -= len(piece)
                    self._room.notify()
            if self._stopped:
                break
        if self._made:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Incoming(io.RawIOBase):
    """A body as a file for one thread. What is read from it is whatever has come, and nothing only at its end."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Event()
        self._news = threading.Condition()
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._ended = False
        self._failure: BaseException | None = None
        self._rest = memoryview(b"")
        self.size = 0

    async def gather(self, request: Request) -> None:
        """Takes the body from the connection, as fast as it is read, until it ends. From the event loop."""
        failure: BaseException | None = None
        try:
            async for piece in request.stream():
                if not piece:
                    continue
                self.size += len(piece)
                if self.size > MAX_BLOB_BYTES:
                    raise TooLarge(f"a blob has at most {MAX_BLOB_BYTES:,} bytes", code="BLOB_TOO_LARGE")
                with self._news:
                    self._pieces.append(piece)
                    self._held += len(piece)
                    if self._held >= WAKE_BYTES:
                        self._news.notify()
                    full = self._held >= HELD_BYTES
                    if full:
                        self._room.clear()
                if full:
                    await self._room.wait()
        except BaseException as error:  # also that nobody gathers any more: the thread must not wait for ever
            failure = error
            raise
        finally:
            with self._news:
                self._ended, self._failure = True, failure
                self._news.notify()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            return bytes(self.readall() or b"")
        if not self._rest:
            piece = self._next()
            if len(piece) <= size:
                return piece
            self._rest = memoryview(piece)
        part, self._rest = self._rest[:size], self._rest[size:]
        return bytes(part)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # typeshed names a wider buffer type
        part = self.read(len(buffer))
        buffer[: len(part)] = part
        return len(part)

    def _next(self) -> bytes:
        """The next piece; nothing at the end."""
        with self._news:
            if not self._pieces:
                self._news.wait_for(lambda: self._held >= WAKE_BYTES or self._ended)
            if not self._pieces:
                if self._failure is not None:
                    raise self._failure
                return b""
            piece = self._pieces.popleft()
            was, self._held = self._held, self._held - len(piece)
        if was >= HELD_BYTES // 2 > self._held:
            self._loop.call_soon_threadsafe(self._room.set)
        return piece
