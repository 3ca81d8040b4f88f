"""Whoever waits for an answer, and whoever else wants to know of it."""

from __future__ import annotations

from collections.abc import Callable

from bough.gateway.call import Call, Client
from bough.gateway.taps.pairs import Answered
from bough.kernel.errors import Problem
from bough.runtime.frames import END, Reply

COMPARED_BYTES = 1 << 20  # of an answer that comes in parts


class Watched:
    """Hands an answer on to who waits for it (nobody: None), then to whoever else wants to know. Implements
    `call.Client`."""

    __slots__ = ("_arrived", "_parts", "_size", "_status", "inner", "then")

    def __init__(self, inner: Client | None, arrived: float) -> None:
        self.inner: Client = inner if inner is not None else _NOBODY
        self.then: list[Callable[[Answered, bytes], None]] = []
        self._arrived, self._parts, self._size, self._status = arrived, list[bytes](), 0, 0

    def answer(self, call: Call, reply: Reply, now: float) -> None:
        self.inner.answer(call, reply, now)
        self._done(reply.status, now, reply.body)

    def stream(self, call: Call, replies: list[Reply], now: float) -> None:
        self.inner.stream(call, replies, now)
        call.started = True
        self._status = self._status or replies[0].status
        for reply in replies:
            if self._size < COMPARED_BYTES:
                self._parts.append(reply.body)
                self._size += len(reply.body)
        if replies[-1].flag == END:
            self._done(self._status, now, b"".join(self._parts))

    def refuse(self, call: Call, problem: Exception, now: float) -> None:
        self.inner.refuse(call, problem, now)
        self._done(problem.http_status if isinstance(problem, Problem) else 500, now, b"")

    def abort(self, call: Call) -> None:
        self.inner.abort(call)
        self._done(0, self._arrived, b"")

    def _done(self, status: int, now: float, body: bytes) -> None:
        then, self.then = self.then, []
        said = Answered(status, round(max(0.0, now - self._arrived), 6))
        for each in then:
            each(said, body)


class _Nobody:
    def answer(self, call: Call, reply: Reply, now: float) -> None: ...

    def stream(self, call: Call, replies: list[Reply], now: float) -> None: ...

    def refuse(self, call: Call, problem: Exception, now: float) -> None: ...

    def abort(self, call: Call) -> None: ...


_NOBODY = _Nobody()
