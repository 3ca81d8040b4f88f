"""Coroutines and asynchronous generators: one asyncio loop, a task for each request.

Replies that become ready in one pass of the loop leave as one frame. A stream that never really waits gives way after
`_SLICE_S`, so that it cannot starve the others; when the gateway reads too slowly, streams wait for it. Code that never
awaits holds up all requests of a pass; then answers leave before it is over, so that the gateway hears of progress.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from time import perf_counter
from typing import Any, Optional

from bough.runtime import batching
from bough.runtime.answering import Answering
from bough.runtime.answers import explain
from bough.runtime.frames import (
    CANCEL,
    GOODBYE,
    LENGTH,
    MAX_FRAME_BYTES,
    PING,
    PONG,
    Hello,
    Reply,
    Request,
    decode_requests,
    pack,
)
from bough.runtime.link import LINGER_S
from bough.runtime.models import Prepared, as_load_error
from bough.runtime.outgoing import Outgoing
from bough.runtime.protocols.work import Failed, Work
from bough.runtime.rehearsal import QUIET_S, Rehearsal
from bough.runtime.telemetry import Telemetry

_SLICE_S = 0.00005
_FLUSH_S = 0.01  # an answer that is known waits no longer for others of its pass, once one comes


def serve(
    listener: socket.socket, answering: Answering, hello: Hello, prepared: Prepared, telemetry: Telemetry,
    rehearsal: Rehearsal, ready: Callable[[], None],
) -> int:  # fmt: skip
    """Finishes an asynchronous load, calls `ready`, serves until SIGTERM; returns the exit status."""
    return asyncio.run(_serve(listener, answering, hello, prepared, telemetry, rehearsal, ready))


async def _serve(
    listener: socket.socket, answering: Answering, hello: Hello, prepared: Prepared, telemetry: Telemetry,
    rehearsal: Rehearsal, ready: Callable[[], None],
) -> int:  # fmt: skip
    try:
        await prepared.load_async()
    except (Exception, SystemExit) as error:  # user code may raise anything
        raise as_load_error(error, prepared.spec) from error
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    listener.setblocking(False)
    ready()
    asked = loop.create_task(stopping.wait())
    rehearsing: Optional[asyncio.Task[None]] = None
    while not stopping.is_set():
        accepting = loop.create_task(loop.sock_accept(listener))
        started: set[asyncio.Future[Any]] = {asked, accepting}
        await asyncio.wait(started, return_when=asyncio.FIRST_COMPLETED)
        if not accepting.done():
            accepting.cancel()
            break
        wire = Wire(answering, hello, telemetry)
        await loop.connect_accepted_socket(lambda wire=wire: wire, accepting.result()[0])  # type: ignore[misc]
        if rehearsal.due and (rehearsing is None or rehearsing.done()):
            rehearsing = loop.create_task(_rehearse(wire, rehearsal))
        serving: set[asyncio.Future[Any]] = {asked, wire.closed}
        await asyncio.wait(serving, return_when=asyncio.FIRST_COMPLETED)
        if stopping.is_set():
            await wire.leave()
    return 0


async def _rehearse(wire: Wire, rehearsal: Rehearsal) -> None:
    await asyncio.sleep(QUIET_S)
    if wire.quiet:
        await rehearsal.run_in_loop()


class Wire(asyncio.Protocol):
    """One gateway connection; `quiet` until something comes."""

    def __init__(self, answering: Answering, hello: Hello, telemetry: Telemetry) -> None:
        loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[None] = loop.create_future()
        self.quiet = True
        self._answering = answering
        self._telemetry = telemetry
        self._report_at: Optional[asyncio.TimerHandle] = None
        self._hello = hello
        self._loop = loop
        self._transport: Optional[asyncio.Transport] = None
        self._rest = bytearray()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._replies: list[Reply] = []
        self._known_at = 0.0  # the first of them
        self._writable = asyncio.Event()
        self._writable.set()

    async def leave(self) -> None:
        """Says GOODBYE, answers what has come, and ends when the gateway closes or nothing is left to answer."""
        self._put([Reply(0, 0, b"", GOODBYE)])
        await asyncio.wait({self.closed}, timeout=LINGER_S)
        while self._tasks and not self.closed.done():
            waited: set[asyncio.Future[Any]] = {self.closed, *self._tasks.values()}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        self._flush()
        if self._transport is not None:
            self._transport.close()
        await asyncio.wait({self.closed}, timeout=LINGER_S)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        self._transport = transport
        transport.write(pack(self._hello))

    def connection_lost(self, error: Optional[Exception]) -> None:
        self._transport = None
        for task in self._tasks.values():
            task.cancel()
        if self._report_at is not None:
            self._report_at.cancel()
        self._writable.set()
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self.quiet = False
        rest = self._rest
        rest += data
        at = 0
        while len(rest) - at >= 4:
            size = LENGTH.unpack_from(rest, at)[0]
            if size > MAX_FRAME_BYTES and self._transport is not None:
                self._transport.abort()
                return
            if len(rest) - at - 4 < size:
                break
            self._take(decode_requests(bytes(rest[at + 4 : at + 4 + size])))
            at += 4 + size
        del rest[:at]

    def _take(self, requests: list[Request]) -> None:
        fresh: list[Request] = []
        for request in requests:
            if request.verb == PING:
                self._put([PONG])
            elif request.verb != CANCEL:
                fresh.append(request)
            elif task := self._tasks.get(request.id):
                task.cancel()
        answering = self._answering
        watched = self._telemetry.left if self._telemetry.wants() else 0
        if answering.contract.batch and fresh:
            self._start(fresh[0].id, self._answer_batch(fresh, bool(watched)))
            return
        for at, request in enumerate(fresh):
            work = answering.expand(request)
            if isinstance(work, Reply):
                self._put([work])
            else:
                self._start(request.id, self._answer(work, request if at < watched else None))

    def _start(self, number: int, coroutine: Any) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks[number] = task
        task.add_done_callback(lambda _: self._tasks.pop(number, None))

    async def _answer_batch(self, requests: list[Request], watched: bool) -> None:
        answering = self._answering
        replies: list[Reply] = []
        items, works = answering.gather(requests, replies)
        results = await batching.run_async(items, answering.contract, answering.model.max_batch) if items else []
        answering.settle(works, results, replies)
        self._put(replies)
        if watched:
            self._note(requests, replies)

    async def _answer(self, work: Work, watched: Optional[Request]) -> None:
        contract = self._answering.contract
        if work.stream is not None and contract.streams:
            await self._stream(Outgoing(work, work.stream), work.items[0])
            replies: list[Reply] = []  # of what is streamed only the input is counted
        else:
            results = [await self._outcome(item) for item in work.items]
            replies = self._answering.finish(work, results)
            self._put(replies)
        if watched is not None:
            self._note([watched], replies)

    async def _outcome(self, item: Any) -> Any:
        contract = self._answering.contract
        try:
            if contract.streams:
                pieces = [piece async for piece in _pieces(contract.call(item))]
                return "".join(pieces) if pieces and all(isinstance(piece, str) for piece in pieces) else pieces
            result = contract.call(item)
            return await result if contract.is_async else result
        except (Exception, SystemExit) as error:  # the user's
            return Failed(error)

    async def _stream(self, outgoing: Outgoing, item: Any) -> None:
        replies: list[Reply] = []
        since = perf_counter()
        pieces = None
        try:
            pieces = _pieces(self._answering.contract.call(item))
            async for piece in pieces:
                outgoing.chunk(outgoing.stream.piece(piece), replies)
                self._put(replies)
                replies = []
                if perf_counter() - since > _SLICE_S:
                    await asyncio.sleep(0)
                    since = perf_counter()
                if not self._writable.is_set():
                    await self._writable.wait()
            outgoing.end(outgoing.stream.finish(None), replies)
        except (Exception, SystemExit) as error:  # the user's, or a piece that cannot be sent
            outgoing.broken(error, b"", replies)
        finally:
            if hasattr(pieces, "aclose"):
                await _closed(pieces)
        self._put(replies)

    def _note(self, requests: list[Request], replies: list[Reply]) -> None:
        """Behind the write of the answers, which has been asked for."""
        self._loop.call_soon(self._count, requests, replies)

    def _count(self, requests: list[Request], replies: list[Reply]) -> None:
        self._telemetry.note(requests, replies)
        self._report()

    def _report(self) -> None:
        telemetry = self._telemetry
        if report := telemetry.report():
            self._put([report])
        if self._report_at is not None:
            self._report_at.cancel()
            self._report_at = None
        if (patience := telemetry.patience_s) is not None and self._transport is not None:
            self._report_at = self._loop.call_later(patience, self._report)

    def _put(self, replies: list[Reply]) -> None:
        if replies:
            now = perf_counter()
            if not self._replies:
                self._loop.call_soon(self._flush)
                self._known_at = now
            self._replies += replies
            if now - self._known_at > _FLUSH_S:
                self._flush()

    def _flush(self) -> None:
        replies, self._replies = self._replies, []
        if replies and self._transport is not None:
            self._transport.write(pack(replies))


async def _pieces(produced: Any) -> Any:
    """The pieces of an asynchronous generator; also of a plain one, whose class loads asynchronously."""
    if hasattr(produced, "__aiter__"):
        async for piece in produced:
            yield piece
    else:
        for piece in produced:
            yield piece


async def _closed(pieces: Any) -> None:
    try:
        await pieces.aclose()
    except Exception as error:  # the user's `finally`; the answer is already on its way
        explain(0, error)
