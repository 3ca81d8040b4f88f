"""Answers of a service that says it is deterministic, kept by the request's whole body.

Stands between an entry and its lane only while the route asks for it. What is kept is an answer of one deployment:
another one begins with nothing. Only whole answers with status 200 are kept. The least recently used leave first, and
requests and answers together never take more than the route's `cache_bytes`.
"""

from __future__ import annotations

from collections import OrderedDict

from bough.gateway.answers import JSON
from bough.gateway.call import Call, Client
from bough.gateway.models import Route
from bough.gateway.routing.split import Way
from bough.runtime.frames import EMBED, INFER, PREDICT, WHOLE, Reply

_KEPT_VERBS = (PREDICT, INFER, EMBED)  # an answer to CHAT carries its own id
_LARGEST_SHARE = 16  # one answer takes at most this part of the room
_OVERHEAD_BYTES = 500  # of an entry beside its bytes
_HIT = b"Cache-Status: bough; hit\r\n"  # RFC 9211
_FRESH_ONLY = (b"no-cache", b"no-store", b"max-age=0")

Question = tuple[int, str, bytes]  # verb, meta, body


class Cache:
    """Implements `split.Way` before a lane."""

    __slots__ = ("_answers", "_bytes", "_lane")

    def __init__(self, lane: Way) -> None:
        self._lane = lane
        self._answers: OrderedDict[Question, tuple[Reply, float]] = OrderedDict()
        self._bytes = 0

    @property
    def route(self) -> Route:
        return self._lane.route

    @property
    def ready(self) -> bool:
        return self._lane.ready

    @property
    def lane(self) -> Way:
        return self._lane

    def submit(self, call: Call, verb: int, body: bytes, meta: str, now: float) -> None:
        """As a lane does, or at once with what was answered before."""
        route, question = self._lane.route, (verb, meta, body)
        if verb not in _KEPT_VERBS or len(body) * _LARGEST_SHARE > route.cache_bytes:
            self._lane.submit(call, verb, body, meta, now)
            return
        fresh, stats = _wants_fresh(call), call.plan.stats
        kept = None if fresh else self._answers.get(question)
        if kept is not None and (not route.cache_age_s or now - kept[1] <= route.cache_age_s):
            stats.cache_hits += 1
            self._answers.move_to_end(question)
            reply = kept[0]
            call.client.answer(call, Reply(call.id, 200, reply.body, WHOLE, (reply.headers or JSON) + _HIT), now)
            return
        stats.cache_misses += 1
        call.client = _Keeping(self, question, call.client)
        self._lane.submit(call, verb, body, meta, now)

    def cancel(self, call: Call) -> None:
        self._lane.cancel(call)

    def progress(self, call: Call, now: float) -> None:
        self._lane.progress(call, now)

    def keep(self, question: Question, reply: Reply, now: float) -> None:
        room, size = self._lane.route.cache_bytes, _size(question, reply)
        if reply.status != 200 or size * _LARGEST_SHARE > room:
            return
        if (before := self._answers.pop(question, None)) is not None:
            self._bytes -= _size(question, before[0])
        self._answers[question] = reply, now
        self._bytes += size
        while self._bytes > room:
            oldest, (answer, _) = self._answers.popitem(last=False)
            self._bytes -= _size(oldest, answer)

    @property
    def kept(self) -> int:
        return len(self._answers)

    @property
    def bytes(self) -> int:
        return self._bytes


class _Keeping:
    """The client of a call whose answer is to be kept. Implements `call.Client`."""

    __slots__ = ("_cache", "_client", "_question")

    def __init__(self, cache: Cache, question: Question, client: Client) -> None:
        self._cache, self._question, self._client = cache, question, client

    def answer(self, call: Call, reply: Reply, now: float) -> None:
        self._cache.keep(self._question, reply, now)
        self._client.answer(call, reply, now)

    def stream(self, call: Call, replies: list[Reply], now: float) -> None:
        self._client.stream(call, replies, now)

    def refuse(self, call: Call, problem: Exception, now: float) -> None:
        self._client.refuse(call, problem, now)

    def abort(self, call: Call) -> None:
        self._client.abort(call)


def _wants_fresh(call: Call) -> bool:
    if call.head is None:  # known by its bytes: what it says of caches stands in the plan
        return call.plan.fresh
    said = b",".join(value.lower() for name, value in call.head.headers if name == b"cache-control")
    call.plan.fresh = any(word in said for word in _FRESH_ONLY)
    return call.plan.fresh


def _size(question: Question, reply: Reply) -> int:
    return len(question[2]) + len(question[1]) + len(reply.body) + len(reply.headers) + _OVERHEAD_BYTES
