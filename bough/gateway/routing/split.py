"""One route, several deployments: each gets its share of the requests, or copies of them.

A split stands between an entry and its lanes only while the table asks for one: an entry without it hands requests to
its lane as ever. Shares are dealt out exactly, not by chance, so that 5 % of 20 requests is one; where a header, a
cookie, the key or the request's id is to decide, its hash does, and the same caller is always answered by the same
deployment.

A deployment that nobody can reach takes no share: the route's own answers for it. A copy is sent after the request it
copies, nobody waits for it, and it is left out when its deployment is behind: it can cost a caller nothing but the
machine's time.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol

import msgspec

from bough.gateway.call import Call, Head
from bough.gateway.lanes.web import WebLane
from bough.gateway.models import COOKIE, HEADER, KEY, REQUEST, Route, ShareState, Variant
from bough.gateway.taps.pairs import Answered
from bough.gateway.taps.watched import Watched
from bough.gateway.taps.webtap import LATER_S, Copying, WebCopy
from bough.gateway.telemetry.metrics import RouteStats
from bough.kernel.errors import Problem

if TYPE_CHECKING:
    from bough.gateway.routing.plan import Plan

COPIES_WAITING = 64  # of one deployment; further copies are left out until it has caught up
_KNOWN_PLANS = 1024  # more distinct heads than the front remembers would only be callers that send each head once


class Way(Protocol):
    """What a split needs of a lane."""

    route: Route

    @property
    def ready(self) -> bool: ...

    def submit(self, call: Call, verb: int, body: bytes, meta: str, now: float) -> None: ...

    def cancel(self, call: Call) -> None: ...

    def progress(self, call: Call, now: float) -> None: ...


class Share:
    """One deployment of a split. `main` says which lane it has now, where `lane` is another route that changes its own.
    `due`: what it is owed of the requests so far, in percent of one."""

    __slots__ = ("due", "lane", "main", "plans", "stats", "variant", "waiting")

    def __init__(self, lane: Way, main: Callable[[], Way], variant: Variant, stats: RouteStats) -> None:
        self.lane, self.main, self.variant, self.stats = lane, main, variant, stats
        self.due = 0.0
        self.plans: dict[Plan, Plan] = {}
        self.waiting = 0  # copies under way

    def take(self, variant: Variant) -> None:
        """Another size of the share. What it was owed under the old one is forgotten."""
        if variant.percent != self.variant.percent:
            self.due = 0.0
        self.variant = variant
        self.plans.clear()

    def state(self) -> ShareState:
        found = state_of(self.variant.deployment, self.stats)
        return msgspec.structs.replace(found, copies=self.variant.copies, left_out=self.stats.left_out)

    def plan_of(self, plan: Plan) -> Plan:
        """The plan with this deployment's statistics: what is counted of an answer is counted there."""
        mine = self.plans.get(plan)
        if mine is None:
            if len(self.plans) >= _KNOWN_PLANS:
                self.plans.clear()
            mine = self.plans[plan] = plan.with_stats(self.stats)
        return mine


class Split:
    """Takes the requests of one entry. `main` is asked for at each request: it changes when a deployment takes over."""

    def __init__(self, sticky: str, main: Callable[[], Way]) -> None:
        self.sticky, self._main = sticky, main
        self.shares: list[Share] = []
        self._due = 0.0  # of the route's own deployment

    def submit(self, call: Call, verb: int, body: bytes, meta: str, now: float) -> None:
        """As a lane does; raises what the chosen lane raises."""
        plan = call.plan
        chosen = self.choose(plan, call.head)
        if chosen is None:
            self._main().submit(call, verb, body, meta, now)
        else:
            call.plan = chosen.plan_of(plan)
            chosen.lane.submit(call, verb, body, meta, now)
        for share in self.shares:
            if share.variant.copies:
                _copy(share, call, plan, verb, body, meta, now)

    def cancel(self, call: Call) -> None:
        self._main().cancel(call)
        for share in self.shares:
            if not share.variant.copies:
                share.lane.cancel(call)

    def progress(self, call: Call, now: float) -> None:
        self._main().progress(call, now)

    def copying_web(self) -> list[Copying]:
        """How those that get copies get a request to a web service."""
        return [partial(_copy_web_soon, share) for share in self.shares if share.variant.copies]

    def choose(self, plan: Plan, head: Head | None) -> Share | None:
        """The share whose turn it is; None: the route's own deployment."""
        if head is not None:
            plan.picked = _picked(self.shares, plan, head)
        if plan.picked:
            share = next((each for each in self.shares if each.variant.name == plan.picked), None)
            if share is not None and share.lane.ready:
                return share
        if self.sticky and (mark := _mark(self.sticky, plan, head)) is not None:
            point = zlib.crc32(mark) % 10_000 / 100
            for share in self.shares:
                if not share.variant.copies:
                    if point < share.variant.percent:
                        return share if share.lane.ready else None
                    point -= share.variant.percent
            return None
        found, most, left = None, 0.0, 100.0
        for share in self.shares:
            share.due += share.variant.percent
            left -= share.variant.percent
            if share.due > most:
                found, most = share, share.due
        self._due += left
        if found is None or self._due >= most:
            self._due -= 100.0
            return None
        found.due -= 100.0
        return found if found.lane.ready else None


def state_of(deployment: str, stats: RouteStats) -> ShareState:
    return ShareState(
        deployment=deployment, requests=sum(stats.statuses.values()),
        errors=sum(count for status, count in stats.statuses.items() if status >= 500),
        seconds=stats.seconds, buckets=list(stats.buckets),
    )  # fmt: skip


def _copy(share: Share, call: Call, plan: Plan, verb: int, body: bytes, meta: str, now: float) -> None:
    if share.waiting >= COPIES_WAITING or not share.lane.ready:
        share.stats.left_out += 1
        return
    watched = Watched(None, now)
    watched.then.append(lambda said, _: _counted(share, said))
    copied = Call(call.id, watched, share.plan_of(plan), now)
    copied.size = call.size
    share.waiting += 1
    try:
        share.lane.submit(copied, verb, body, meta, now)
    except Problem:  # its queue is full: a copy is never worth waiting for
        share.waiting -= 1
        share.stats.left_out += 1


def _copy_web_soon(share: Share, request: bytes, head_only: bool, _answer: tuple[Answered, bytes]) -> None:
    asyncio.get_running_loop().call_later(LATER_S, _copy_web, share, request, head_only)


def _copy_web(share: Share, request: bytes, head_only: bool) -> None:
    lane = share.main()
    if not isinstance(lane, WebLane) or share.waiting >= COPIES_WAITING or not lane.ready or lane.full:
        share.stats.left_out += 1
        return
    share.waiting += 1
    WebCopy(lane, request, head_only, lambda target: _counted(share, target[0]))


def _counted(share: Share, said: Answered) -> None:
    """The answer to a copy: it is counted and dropped."""
    share.waiting -= 1
    share.stats.count(said.status or 502, said.seconds)


def _picked(shares: list[Share], plan: Plan, head: Head) -> str:
    """The variant that a request asks for by a header, or that its caller was given."""
    for share in shares:
        variant = share.variant
        if plan.caller and plan.caller in variant.keys:
            return variant.name
        for name, wanted in variant.headers:
            said = next((value for known, value in head.headers if known == name.encode()), None)
            if said is not None and (not wanted or said.decode("latin-1") == wanted):
                return variant.name
    return ""


def _mark(sticky: str, plan: Plan, head: Head | None) -> bytes | None:
    """What decides for a request; None: nothing that it says, so its turn does. A head that is known by its bytes is
    always the same one, so what it says stands in the plan."""
    if head is not None:
        if sticky == KEY:
            plan.mark = head.key or head.authorization
        elif sticky == REQUEST:
            plan.mark = head.rid
        elif sticky.startswith(COOKIE):
            plan.mark = _cookie(head, sticky.removeprefix(COOKIE).encode())
        else:
            name = sticky.removeprefix(HEADER).lower().encode()
            plan.mark = next((value for known, value in head.headers if known == name), b"")
    return plan.mark or None


def _cookie(head: Head, name: bytes) -> bytes:
    """The value of a cookie of the request (RFC 6265, 4.2.1); empty: it has none of that name."""
    for known, value in head.headers:
        for pair in value.split(b";") if known == b"cookie" else ():
            key, _, said = pair.strip().partition(b"=")
            if key == name:
                return said
    return b""
