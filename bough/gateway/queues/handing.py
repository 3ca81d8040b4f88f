"""The way from a queue to the service that handles it: through the service's own lane, so that items are batched with
each other and with direct requests, wake a service that sleeps, and survive a replica's death as requests do."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from urllib.parse import quote

import msgspec

from bough.adapters.queue import Taken
from bough.gateway import rules
from bough.gateway.call import Call
from bough.gateway.http.front import Front
from bough.gateway.lanes.lane import Lane
from bough.gateway.lanes.refusals import ReplicaLost, is_refusal
from bough.gateway.models import WEB
from bough.gateway.routing.plan import ASK, Plan
from bough.gateway.routing.routes import Entry, Routes
from bough.kernel.errors import Busy, Invalid, Problem, Unavailable
from bough.queues.models import Ending, HandlerState, QueueRoute
from bough.runtime.frames import END, PREDICT, Reply

Done = Callable[[Ending], None]


class ServiceHand:
    """Implements `consumer.Hand`."""

    def __init__(self, routes: Routes, front: Front, queue: QueueRoute) -> None:
        self._routes, self._front = routes, front
        self._name = (queue.project, queue.environment, queue.service, queue.api)
        self._plan: Plan | None = None

    def state(self) -> HandlerState | None:
        entry = self._entry()
        if entry is None:
            return None
        lane = entry.lane
        if not isinstance(lane, Lane):
            return HandlerState(replicas=lane.state().links, deployment=lane.route.deployment)
        return HandlerState(
            replicas=lane.replicas, batch=lane.batch, most=rules.room(lane.route.queue_size),
            deployment=lane.route.deployment,
        )  # fmt: skip

    def give(self, taken: Taken, alone: bool, done: Done) -> None:
        entry = self._entry()
        if entry is None:
            done(Ending(innocent=True, error="the service that handles it is not there"))
            return
        if self._plan is None or self._plan.entry is not entry or self._plan.stats is not entry.stats:
            self._plan = Plan(ASK, entry.stats)
            self._plan.entry, self._plan.rank = entry, -1  # items can wait: of what is too much they are left out first
        now, front = monotonic(), self._front
        front.count += 1
        waiting = _Waiting(done, now, alone)
        call = Call(front.count, waiting, self._plan, now)
        call.size = len(taken.body)
        call.attempts = 1 if alone else 0  # the lane sends what has failed before by itself
        try:
            entry.way.submit(call, PREDICT, taken.body, meta_of(taken), now)
        except Problem as problem:
            waiting.refuse(call, problem, now)

    def _entry(self) -> Entry | None:
        entry = self._routes.entries.get(self._name)
        return entry if entry is not None and entry.route.kind != WEB else None


def meta_of(taken: Taken) -> str:
    """The content type, and for a handler that asks who its item is: id, attempt, dedup id and key."""
    sender = f"{quote(taken.dedup, safe='')}/{quote(taken.key, safe='')}" if taken.dedup or taken.key else "/"
    return f"{taken.kind or 'application/json'};bough-item={taken.id}/{taken.attempt}/{sender};ndjson"


class _Waiting:
    """Who waits for the handler's answer. Implements `call.Client`."""

    __slots__ = ("_alone", "_arrived", "_done", "_parts")

    def __init__(self, done: Done, arrived: float, alone: bool) -> None:
        self._done, self._arrived, self._alone = done, arrived, alone
        self._parts: list[bytes] = []

    def answer(self, call: Call, reply: Reply, now: float) -> None:
        call.plan.stats.count(reply.status, now - self._arrived)
        error = _said(reply.body) if reply.status >= 400 else ""
        self._done(Ending(status=reply.status, body=reply.body, kind=_kind(reply.headers), error=error))

    def stream(self, call: Call, replies: list[Reply], now: float) -> None:
        call.started = True
        self._parts += [reply.body for reply in replies]
        if call.plan.entry is not None:
            call.plan.entry.way.progress(call, now)
        if replies[-1].flag == END:
            call.plan.stats.count(200, now - self._arrived)
            self._done(Ending(status=200, body=b"".join(self._parts), kind="application/x-ndjson"))

    def refuse(self, call: Call, problem: Exception, now: float) -> None:
        known = problem if isinstance(problem, Problem) else Problem(f"the gateway failed: {problem}")
        call.plan.stats.count(known.http_status, now - self._arrived, refused=is_refusal(known))
        if isinstance(known, Invalid):
            self._done(Ending(status=known.http_status, error=known.message))
            return
        innocent = isinstance(known, Busy | Unavailable) or (call.wire is None and known.http_status == 504)
        if self._alone and isinstance(known, ReplicaLost):  # the lane would say that it was the second one
            service = call.plan.entry.route.service if call.plan.entry is not None else "its handler"
            self._done(Ending(error=f"the replica of {service} died while it had the item"))
            return
        self._done(Ending(innocent=innocent, error=known.message))

    def abort(self, call: Call) -> None:
        self._done(Ending(error="its answer broke off"))


def _kind(headers: bytes) -> str:
    for line in headers.split(b"\r\n"):
        if line.lower().startswith(b"content-type:"):
            return line[13:].strip().decode("latin-1")
    return ""


def _said(body: bytes) -> str:
    """The message of an error's body."""
    try:
        error = msgspec.json.decode(body)["error"]
        return f"{error['code']}: {error['message']}"
    except (msgspec.DecodeError, KeyError, TypeError):
        return body[:500].decode("utf-8", "replace")
