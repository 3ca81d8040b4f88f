"""Stands before an entry's lanes where the table asks for it: keeps requests, and sends copies of a share of them to
another environment, whose answers are compared with those that callers get.

A caller can lose nothing by it: a copy is sent a moment after the answer was written, nobody waits for it, and it is
left out when its deployment is behind or away. A request whose turn it is not passes by untouched, and an entry that is
not tapped does not know that taps exist.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from bough.gateway.call import Call
from bough.gateway.lanes.web import WebLane
from bough.gateway.models import Mirrored, Route
from bough.gateway.taps.pairs import Answered
from bough.gateway.taps.tape import Counted, Seen, Tape, ToKeep
from bough.gateway.taps.watched import Watched
from bough.gateway.taps.webtap import LATER_S, Copying, WebCopy
from bough.kernel.errors import Problem
from bough.runtime.frames import PREDICT

if TYPE_CHECKING:
    from bough.gateway.routing.plan import Plan
    from bough.gateway.routing.routes import Entry

COPIES_WAITING = 64  # of one mirror; further copies are left out until its deployment has caught up
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
        self._later: list[Callable[[], None]] = []  # copies of what was just answered

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
        if keep is not None:
            watched.then.append(self._keeping(call, body, meta))
        for mirror in chosen:
            watched.then.append(self._copying(mirror, call, (verb, body, meta)))
        call.client = watched
        try:
            self._main().submit(call, verb, body, meta, now)
        except Problem:
            call.client = watched.inner
            raise

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

    def _copying(self, mirror: Mirror, call: Call, asked: tuple[int, bytes, str]) -> Callable[[Answered, bytes], None]:
        """Sends the copy, soon after it is called with the caller's answer."""
        id, plan, size = call.id, call.plan, call.size

        def send(said: Answered, answer: bytes) -> None:
            self._soon(lambda: send_now(said, answer))

        def send_now(said: Answered, answer: bytes) -> None:
            entry = self._reached(mirror)
            if entry is None:
                return
            now = monotonic()
            copy = Watched(None, now)
            copied = Call(id, copy, mirror.plan_of(plan, entry), now)
            copied.size = size
            copy.then.append(lambda other, body: self._compare(mirror, f"{id:x}", (said, answer), (other, body)))
            try:
                entry.lane.submit(copied, *asked, now)
            except Problem:  # its queue is full: a copy is never worth waiting for
                mirror.left_out += 1
            else:
                self._count(mirror)

        return send

    def copying_web(self, call: Call) -> list[Copying]:
        """How the mirrors whose turn it is get a request to a web service."""
        return [partial(self._copy_web, each, f"{call.id:x}") for each in self.mirrors.values() if each.its_turn()]

    def _copy_web(
        self, mirror: Mirror, id: str, request: bytes, head_only: bool, source: tuple[Answered, bytes]
    ) -> None:
        """Sends the copy, soon after it is called with the caller's answer."""

        def send_now() -> None:
            entry = self._reached(mirror)
            if entry is None:
                return
            if not isinstance(entry.lane, WebLane) or entry.lane.full:
                mirror.left_out += 1
                return
            self._count(mirror)
            WebCopy(entry.lane, request, head_only, lambda target: self._compare(mirror, id, source, target))

        self._soon(send_now)

    def _soon(self, copy: Callable[[], None]) -> None:
        """Lets callers read their answers first; the copies of one moment are sent together."""
        if not self._later:
            asyncio.get_running_loop().call_later(LATER_S, self._send)
        self._later.append(copy)

    def _send(self) -> None:
        later, self._later = self._later, []
        for copy in later:
            copy()

    def _reached(self, mirror: Mirror) -> Entry | None:
        """Where a copy can be sent now; None, and counted, where it cannot."""
        entry = self._target(mirror.wanted.environment)
        if entry is not None and entry.lane.ready and mirror.waiting < COPIES_WAITING:
            return entry
        mirror.left_out += 1
        return None

    def _count(self, mirror: Mirror) -> None:
        mirror.waiting += 1
        mirror.copied += 1

    def _compare(self, mirror: Mirror, id: str, source: tuple[Answered, bytes], target: tuple[Answered, bytes]) -> None:
        mirror.waiting -= 1
        self._tape.put(Seen(mirror.wanted.id, id, self.route.service, mirror.wanted.tolerance, source, target))


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
