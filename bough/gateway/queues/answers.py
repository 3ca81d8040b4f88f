"""What is asked of items: how they are, what came of them, and to be told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from time import monotonic
from typing import Any, cast
from urllib.parse import parse_qs

import msgspec

from bough.adapters.queue import DEAD, DONE, Kept, Place, Queues
from bough.gateway.call import Call, Head
from bough.gateway.http.connection import Connection
from bough.kernel.errors import Invalid, NotFound, Unavailable
from bough.queues.models import QueueState
from bough.queues.webhooks import readable
from bough.runtime.frames import CHUNK, END, Reply

LONGEST_WAIT_S = 60.0
ALIVE_S = 15.0  # between two words of a stream that has nothing to say
_EVENTS = b"Content-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
_encode = msgspec.json.Encoder().encode


class Reading:
    """Answers GETs. `counted` gives a queue's state."""

    def __init__(self, counted: Callable[[Place], QueueState]) -> None:
        self.store: Queues | None = None
        self._counted = counted
        self._waiting: dict[str, list[asyncio.Event]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()

    def answer(self, call: Call, place: Place) -> None:
        """Raises `NotFound` (ITEM_NOT_FOUND)."""
        head, client = cast(Head, call.head), cast(Connection, call.client)
        match call.plan.parts[2:]:
            case ():
                counted = msgspec.structs.asdict(self._counted(place))  # with the figures that are 0
                del counted["deployment"]  # means nothing to callers, and changes with what is deployed
                client.respond(call, 200, b"", _encode(counted), monotonic())
                return
            case (id,) | (id, "result"):
                item = self._find(place, id)
            case _:
                raise NotFound("nothing is there", code="ROUTE_NOT_FOUND", hint="GET /queues/QUEUE/ID")
        if any(name == b"accept" and b"text/event-stream" in value for name, value in head.headers):
            self._begin(self._tell(call, place, item))
            return
        wait_s = _wait_s(head)
        if item.state in (DONE, DEAD) or not wait_s:
            _respond(call, client, item)
        else:
            self._begin(self._wait(call, place, item, wait_s))

    def changed(self, id: str) -> None:
        for event in self._waiting.pop(id, ()):
            event.set()

    def removed(self) -> None:
        """Another process may have removed items: who waits for one of them need wait no longer."""
        if self.store is not None and self._waiting:
            for id in self.store.gone(list(self._waiting)):
                self.changed(id)

    def stop(self) -> None:
        """Whoever waits is told how it stands."""
        self._stopping.set()
        for events in self._waiting.values():
            for event in events:
                event.set()

    # --- private

    def _begin(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _find(self, place: Place, id: str) -> Kept:
        if self.store is None:
            raise Unavailable("the queues cannot be read now", code="QUEUES_CLOSED", hint="bough logs gateway")
        found = self.store.find(place, id)
        if found is None:
            raise NotFound(
                f"there is no item {id} in {place[2]}, or it has been forgotten", code="ITEM_NOT_FOUND",
                hint="results are kept for keep_s seconds of the queue's settings",
            )  # fmt: skip
        return found

    async def _changes(self, id: str, timeout_s: float) -> None:
        """Until an item has another state, as far as this process sees."""
        event = asyncio.Event()
        self._waiting.setdefault(id, []).append(event)
        if self._stopping.is_set():
            event.set()
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), timeout_s)
        finally:
            if id in self._waiting:
                left = [each for each in self._waiting[id] if each is not event]
                if left:
                    self._waiting[id] = left
                else:
                    del self._waiting[id]

    async def _wait(self, call: Call, place: Place, item: Kept, wait_s: float) -> None:
        until = monotonic() + wait_s
        while item.state not in (DONE, DEAD) and (left_s := until - monotonic()) > 0 and not self._stopping.is_set():
            await self._changes(item.id, left_s)
            try:
                item = self._find(place, item.id)
            except (NotFound, Unavailable) as problem:
                call.client.refuse(call, problem, monotonic())
                return
        _respond(call, cast(Connection, call.client), item)

    async def _tell(self, call: Call, place: Place, item: Kept) -> None:
        """Events `state`, with the item as it is, the last one at its end."""
        client, said = cast(Connection, call.client), ""
        while True:
            over = item.state in (DONE, DEAD) or self._stopping.is_set()
            news, now = b": alive\n\n", f"{item.state} {item.attempts}"
            if now != said:
                said, news = now, b"event: state\ndata: %b\n\n" % _encode(view(item))
            client.stream(call, [Reply(call.id, 200, news, END if over else CHUNK, _EVENTS)], monotonic())
            if over or client.transport.is_closing():
                return
            await self._changes(item.id, ALIVE_S)
            try:
                item = self._find(place, item.id)
            except (NotFound, Unavailable):
                client.stream(call, [Reply(call.id, 200, b"", END, _EVENTS)], monotonic())
                return


def view(item: Kept) -> dict[str, Any]:
    """An item as its sender sees it."""
    said: dict[str, Any] = {
        "id": item.id, "queue": item.place[2], "state": item.state, "attempts": item.attempts,
        "queued_at": item.queued_at,
    }  # fmt: skip
    said |= {name: value for name in ("key", "dedup", "error") if (value := getattr(item, name))}
    if item.ended_at:
        said["ended_at"] = item.ended_at
    if item.state == DONE:
        said["result"] = readable(item.result, item.result_kind)
    return said


def _respond(call: Call, client: Connection, item: Kept) -> None:
    if call.plan.parts[3:] != ("result",):
        client.respond(call, 200, b"", _encode(view(item)), monotonic())
    elif item.state == DONE:
        kind = item.result_kind or "application/json"
        client.respond(call, 200, b"Content-Type: %b\r\n" % kind.encode("latin-1"), item.result, monotonic())
    elif item.state == DEAD:
        body = {"error": {"code": "ITEM_DEAD", "message": item.error or "it could not be handled",
                          "hint": f"bough queues replay {item.place[2]} --id {item.id}"}}  # fmt: skip
        client.respond(call, 410, b"", _encode(body), monotonic())
    else:
        client.respond(call, 202, b"Retry-After: 1\r\n", _encode(view(item)), monotonic())


def _wait_s(head: Head) -> float:
    text = parse_qs(head.query.decode("latin-1")).get("wait", ["0"])[-1]
    try:
        wait_s = float(text)
    except ValueError:
        wait_s = -1.0
    if not wait_s >= 0.0:
        raise Invalid(f"wait={text} is no number of seconds", code="ITEM_INVALID", hint="GET …?wait=30")
    return min(wait_s, LONGEST_WAIT_S)
