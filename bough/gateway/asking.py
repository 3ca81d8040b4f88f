"""A request that this machine itself has, through the control socket."""

from __future__ import annotations

import asyncio

import msgspec

from bough.gateway.call import Call
from bough.kernel.errors import Problem
from bough.runtime.frames import END, Reply


class Question(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`body` travels as base64."""

    project: str
    environment: str
    service: str
    body: bytes
    api: str = ""
    meta: str = ""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    status: int
    seconds: float
    body: bytes


class Asking:
    """Waits for the answer. Implements `call.Client`."""

    def __init__(self, answer: asyncio.Future[Asked], arrived: float) -> None:
        self._answer, self._arrived = answer, arrived
        self._parts: list[bytes] = []
        self._status = 0

    def answer(self, call: Call, reply: Reply, now: float) -> None:
        self._done(reply.status, reply.body, now)

    def stream(self, call: Call, replies: list[Reply], now: float) -> None:
        call.started = True
        self._status = self._status or replies[0].status
        self._parts += [each.body for each in replies]
        if replies[-1].flag == END:
            self._done(self._status, b"".join(self._parts), now)

    def refuse(self, call: Call, problem: Exception, now: float) -> None:
        self._done(problem.http_status if isinstance(problem, Problem) else 500, b"", now)

    def abort(self, call: Call) -> None:
        self._done(502, b"", self._arrived)

    def _done(self, status: int, body: bytes, now: float) -> None:
        if not self._answer.done():
            seconds = round(max(0.0, now - self._arrived), 6)
            self._answer.set_result(Asked(status=status, seconds=seconds, body=body))
