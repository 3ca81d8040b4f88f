"""Stands before an entry's lanes where the table asks for it: keeps requests, and sends copies of a share of them to
another environment, whose answers are compared with those that callers get.

A caller can lose nothing by it: a copy is made after the request has been queued, nobody waits for it, and it is left
out when its deployment is behind or away. An entry that is not tapped does not know that taps exist.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from bough.gateway.call import Call, Client
from bough.gateway.models import Mirrored, Route
from bough.gateway.pairs import Answered
from bough.gateway.tape import Counted, Seen, Tape, ToKeep
from bough.kernel.errors import Problem
from bough.runtime.frames import END, PREDICT, Reply

if TYPE_CHECKING:
    from bough.gateway.plan import Plan
    from bough.gateway.routes import Entry

COPIES_WAITING = 64  # of one mirror; further copies are left out until its deployment has caught up
COMPARED_BYTES = 1 << 20  # of an answer that is streamed
_KNOWN_PLANS = 1024


class Way(Protocol):
    """What a tap stands before."""

    def submit(self, call: Call, verb: int, body: bytes, meta: str, now: float) -> None: ...

    def cancel(self, call: Call) -> None: ...

    def progress(self, call: Call, now: float) -> None: ...


class Tap:
    """Takes the requests of one entry. `main` and `target` are asked at each request: deployments change."""

    def __init__(self, main: Callable[[], Way], target: Callable[[str], Entry | None], tape: Tape) -> None:
        self._main, self._target, self._tape = main, target, tape
        self.mirrors: dict[str, Mirror] = {}
        self.route: Route

    def take(self, route: Route) -> None:
        """The table's newest wishes."""
        self.route = route
        there = self.mirrors
        self.mirrors = {}
        for wanted in route.mirrors:
            mirror = there.get(wanted.id) or Mirror(wanted)
            mirror.take(wanted)
            self.mirrors[wanted.id] = mirror

    def submit(self, call: Call, verb: int, body: bytes, meta: str, now: float) -> None:
        """As a lane does; raises what the lane raises."""
        chosen = [each for each in self.mirrors.values() if each.its_turn()]
        keep = self.route.keep if verb == PREDICT else None
        if not chosen and keep is None:
            self._main().submit(call, verb, body, meta, now)
            return
        watched = Watched(call.client, now)
        call.client = watched
        try:
            self._main().submit(call, verb, body, meta, now)
        except Problem:
            call.client = watched.inner
            raise
        if keep is not None:
            watched.then.append(self._keeping(call, body, meta))
        for mirror in chosen:
            self._copy(mirror, call, watched, verb, body, meta, now)

    def cancel(self, call: Call) -> None:
        self._main().cancel(call)

    def progress(self, call: Call, now: float) -> None:
        self._main().progress(call, now)

    def tell(self) -> None:
        """Writes how much has passed; called once in a while."""
        for mirror in self.mirrors.values():
            if mirror.seen != mirror.told:
                mirror.told = mirror.seen
                self._tape.put(
                    Counted(mirror.wanted.id, self.route.service, mirror.seen, mirror.copied, mirror.left_out)
                )

    def _keeping(self, call: Call, body: bytes, meta: str) -> Callable[[Answered, bytes], None]:
        route, keep = self.route, self.route.keep
        assert keep is not None  # noqa: S101 - asked before
        place = (route.project, route.environment, route.service)

        def done(said: Answered, answer: bytes) -> None:
            self._tape.put(
                ToKeep(place, keep, f"{call.id:x}", route.api, meta, route.release, said.status, said.seconds, body,
                       answer)
            )  # fmt: skip

        return done

    def _copy(
        self, mirror: Mirror, call: Call, watched: Watched, verb: int, body: bytes, meta: str, now: float
    ) -> None:
        entry = self._target(mirror.wanted.environment)
        if entry is None or not entry.lane.ready or mirror.waiting >= COPIES_WAITING:
            mirror.left_out += 1
            return
        both = _Both(mirror, self._tape, f"{call.id:x}", self.route.service)
        copy = Watched(None, now)
        copied = Call(call.id, copy, mirror.plan_of(call.plan, entry), now)
        copied.size = call.size
        try:
            entry.lane.submit(copied, verb, body, meta, now)
        except Problem:  # its queue is full: a copy is never worth waiting for
            mirror.left_out += 1
            return
        mirror.waiting += 1
        mirror.copied += 1
        watched.then.append(both.source)
        copy.then.append(both.target)


class Mirror:
    """`due`: what it is owed of the requests so far, in percent of one: 5 % of 100 requests is 5, not by chance."""

    __slots__ = ("_plans", "copied", "due", "left_out", "seen", "told", "waiting", "wanted")

    def __init__(self, wanted: Mirrored) -> None:
        self.wanted = wanted
        self.due = 0.0
        self.seen = self.copied = self.left_out = self.waiting = self.told = 0
        self._plans: dict[tuple[Plan, int], Plan] = {}

    def take(self, wanted: Mirrored) -> None:
        if wanted.percent != self.wanted.percent:
            self.due = 0.0
        self.wanted = wanted
        self._plans.clear()

    def its_turn(self) -> bool:
        self.seen += 1
        self.due += self.wanted.percent
        if self.due < 100.0:
            return False
        self.due -= 100.0
        return True

    def plan_of(self, plan: Plan, entry: Entry) -> Plan:
        """With the statistics of the deployment that answers the copy."""
        known = (plan, id(entry.stats))
        mine = self._plans.get(known)
        if mine is None:
            if len(self._plans) >= _KNOWN_PLANS:
                self._plans.clear()
            mine = self._plans[known] = plan.with_stats(entry.stats)
        return mine


class Watched:
    """Hands an answer on to who waits for it (nobody: None), then to whoever else wants to know. Implements
    `call.Client`."""

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


class _Both:
    """Waits for both answers, whichever comes first."""

    def __init__(self, mirror: Mirror, tape: Tape, id: str, service: str) -> None:
        self._mirror, self._tape, self._id, self._service = mirror, tape, id, service
        self._source: tuple[Answered, bytes] | None = None
        self._target: tuple[Answered, bytes] | None = None

    def source(self, said: Answered, body: bytes) -> None:
        self._source = (said, body)
        self._together()

    def target(self, said: Answered, body: bytes) -> None:
        self._mirror.waiting -= 1
        self._target = (said, body)
        self._together()

    def _together(self) -> None:
        if self._source is not None and self._target is not None:
            wanted = self._mirror.wanted
            self._tape.put(Seen(wanted.id, self._id, self._service, wanted.tolerance, self._source, self._target))
