"""Requests to a web service that are copied: those that change nothing (RFC 9110, 9.2.1), without a body. Each is
sent once its own answer was written, with the same headers: to the same service of another environment, by a mirror, or
to a deployment beside the live one, by a promotion or a split."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from bough.gateway.call import Call, Head, Header
from bough.gateway.lanes.upstream import Upstream
from bough.gateway.lanes.web import WebLane
from bough.gateway.taps.pairs import Answered
from bough.gateway.taps.watched import COMPARED_BYTES

if TYPE_CHECKING:
    from bough.gateway.routing.routes import Entry

LATER_S = 0.001  # after the answer: a caller on a busy machine reads it before anybody else has something to do
SAFE = frozenset((b"GET", b"HEAD", b"OPTIONS"))


Copying = Callable[[bytes, bool, tuple[Answered, bytes]], None]  # request, whether only a head is answered, answer


def watch(entry: Entry, head: Head, call: Call) -> WebWatch | None:
    """For a request that somebody is to have a copy of; None for any other."""
    if (entry.tap is None and entry.split is None) or not may_be_copied(head):
        return None
    then = entry.split.copying_web() if entry.split is not None else []
    if entry.tap is not None:
        then += entry.tap.copying_web(call)
    return WebWatch(then, head.method == b"HEAD") if then else None


def may_be_copied(head: Head) -> bool:
    return head.method in SAFE and not head.upgrade and not head.chunked and head.length <= 0


class Gathered:
    """An answer as it passes: its parts are held, not copied."""

    __slots__ = ("_began", "_parts", "_size", "status")

    def __init__(self) -> None:
        self.status = 0
        self._began, self._parts, self._size = monotonic(), list[bytes](), 0

    def part(self, data: bytes) -> None:
        if self._size < COMPARED_BYTES:
            self._parts.append(data)
            self._size += len(data)

    def whole(self, status: int) -> tuple[Answered, bytes]:
        return Answered(status, round(monotonic() - self._began, 6)), b"".join(self._parts)


class WebWatch(Gathered):
    """What a caller is answered, and who is to have the request as well. `request` is its head, as the service gets
    it."""

    __slots__ = ("_head_only", "_then", "request")

    def __init__(self, then: list[Copying], head_only: bool) -> None:
        super().__init__()
        self.request = b""
        self._then, self._head_only = then, head_only

    def answered(self, status: int) -> None:
        """The caller has got it all, or an error (0: nobody knows)."""
        then, self._then = self._then, []
        if not then or not self.request:  # refused before it was sent anywhere
            return
        source = self.whole(status)
        for copy in then:
            copy(self.request, self._head_only, source)


class WebCopy(Gathered):
    """One request to whoever gets the copy. Implements `upstream.Exchange`; nobody reads its answer but for `done`."""

    __slots__ = ("_done", "_lane", "_request", "_task", "_timer", "_upstream", "head_only")

    def __init__(
        self, lane: WebLane, request: bytes, head_only: bool, done: Callable[[tuple[Answered, bytes]], None]
    ) -> None:
        super().__init__()
        loop = asyncio.get_running_loop()
        self.head_only = head_only
        self._lane, self._request, self._done = lane, request, done
        self._upstream: Upstream | None = None
        self._timer = loop.call_later(lane.route.timeout_s, self._end, 0, False)
        self._task = loop.create_task(self._send())

    async def _send(self) -> None:
        lane = self._lane
        upstream = lane.pooled(True) or await lane.connect(monotonic() + lane.route.timeout_s)
        if upstream is None:
            self._end(0, False)
            return
        self._upstream, upstream.exchange = upstream, self
        upstream.transport.write(self._request)

    def response_head(self, status: int, phrase: bytes, headers: list[Header]) -> None:
        self.status = status

    def response_body(self, data: bytes) -> None:
        self.part(data)

    def response_end(self, reusable: bool) -> None:
        self._end(self.status, reusable)

    def response_flush(self) -> None: ...

    def switched(self, rest: bytes) -> None:
        self._end(101, False)

    def raw(self, data: bytes) -> None: ...

    def upstream_lost(self) -> None:
        self._end(0, False)

    def upstream_full(self) -> None: ...

    def upstream_ready(self) -> None: ...

    def _end(self, status: int, reusable: bool) -> None:
        self._timer.cancel()
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.exchange = None
            self._lane.give_back(upstream, reusable)
        elif self._task is not asyncio.current_task() and not self._task.done():
            self._task.cancel()
        done, self._done = self._done, _nobody
        done(self.whole(status))


def _nobody(answer: tuple[Answered, bytes]) -> None:
    """It was told already."""
