"""From a POST to items in a queue, and its answer once they are on disk."""

from __future__ import annotations

import time

import msgspec

from bough.adapters.queue import Draft, Receipt
from bough.gateway.call import Call
from bough.gateway.models import LaneState, Route
from bough.gateway.routing.item_heads import Wanted, invalid
from bough.gateway.telemetry.metrics import LaneStats
from bough.kernel.errors import Busy, Problem
from bough.queues.consumer import Consumer
from bough.queues.models import QueueRoute
from bough.queues.rounds import Rounds
from bough.runtime.frames import Reply

MOST_LINES = 10_000  # items of one request
_encode = msgspec.json.Encoder().encode


class QueueWay:
    """Where the planner's entry of a queue leads. Implements `routes.AnyLane`."""

    ready, closed = True, False

    def __init__(self, route: QueueRoute, rounds: Rounds, consumer: Consumer) -> None:
        self.queue, self._rounds, self._consumer = route, rounds, consumer
        self.route = Route(
            project=route.project, environment=route.environment, service=route.queue, deployment="", release=0,
            kind="model",
        )  # fmt: skip
        self.stats = LaneStats(self.route)
        self._coming, self._held = 0, 0  # drafts on their way to the disk; those that cannot run at once

    def submit(self, call: Call, verb: int, body: bytes, meta: str, now: float) -> None:
        """Answers when the item is on disk. Raises `Busy` (QUEUE_FULL, QUEUE_BUSY) or `Invalid`."""
        asked: Wanted = call.plan.wanted
        bodies = [body]
        if asked.lines:
            bodies = [line for line in body.splitlines() if line.strip()]
            if not 0 < len(bodies) <= MOST_LINES:
                raise invalid(f"the body has {len(bodies)} lines", f"1 to {MOST_LINES} items, one on each line")
        self._check_room(len(bodies))
        held = bool(asked.key or asked.delay_s)
        putting = _Putting(call, self, asked.lines, len(bodies), held)
        due_at = time.time() + asked.delay_s if asked.delay_s else 0.0
        drafts = [
            Draft(
                place=self.queue.place, body=each, kind="" if asked.lines else asked.kind, key=asked.key,
                dedup=f"{asked.dedup}/{number}" if asked.dedup and asked.lines else asked.dedup,
                rank=asked.rank, due_at=due_at,
            )
            for number, each in enumerate(bodies)
        ]  # fmt: skip
        self._rounds.put(drafts, putting.done)
        self._count(len(drafts), held=held)

    def came(self, receipt: Receipt | Problem, *, held: bool) -> None:
        """What became of one of the drafts that were on their way."""
        self._count(-1, held=held)
        if isinstance(receipt, Receipt) and receipt.fresh:
            self._consumer.arrived(held=held)

    def update(self, route: QueueRoute | Route) -> None:
        if isinstance(route, QueueRoute):
            self.queue = route

    def cancel(self, call: Call) -> None:
        """What has been put stays."""

    def progress(self, call: Call, now: float) -> None:
        """A stream of news may be silent."""

    def woken(self, unit: str, address: str, attempt: int) -> None:
        """Nothing sleeps here."""

    def tick(self) -> None:
        """Nothing is counted here: items are, by their queue."""

    def state(self) -> LaneState:
        return LaneState(deployment="", queued=0, in_flight=0, links=0)

    def drain(self) -> None:
        """Nothing is under way here."""

    def close(self) -> None:
        """As above."""

    def _count(self, number: int, *, held: bool) -> None:
        if held:
            self._held += number
        else:
            self._coming += number

    def _check_room(self, more: int) -> None:
        limit, name = self.queue.settings.max_waiting, self.queue.queue
        if not limit:
            return
        if more > limit:
            raise invalid(f"the body has {more} items, and {name} lets {limit} wait", f"1 to {limit} items a request")
        at_once = max(0, self._coming - self._consumer.wanted)  # beyond those that somebody takes as they come
        waiting = max(0, self._consumer.depth) + self._held + at_once
        if waiting + more > limit:
            rate = self._consumer.state().rate
            raise Busy(
                f"{waiting} items wait in {name}, which takes no more than {limit}, and {more} more came",
                code="QUEUE_FULL",
                hint="come back after Retry-After seconds; or raise max_waiting of the queue",
                retry_after_s=min(60.0, max(1.0, waiting / rate if rate else 1.0)),
            )  # fmt: skip


class _Putting:
    """The items of one call, until all are on disk or all were refused."""

    __slots__ = ("_call", "_held", "_left", "_lines", "_problem", "_receipts", "_way")

    def __init__(self, call: Call, way: QueueWay, lines: bool, count: int, held: bool) -> None:
        self._call, self._way, self._lines, self._left, self._held = call, way, lines, count, held
        self._receipts: list[Receipt] = []
        self._problem: Problem | None = None

    def done(self, receipt: Receipt | Problem) -> None:
        self._way.came(receipt, held=self._held)
        if isinstance(receipt, Problem):
            self._problem = receipt
        else:
            self._receipts.append(receipt)
        self._left -= 1
        if self._left:
            return
        now = time.monotonic()
        if self._problem is not None:
            self._call.client.refuse(self._call, self._problem, now)
        else:
            self._call.client.answer(self._call, Reply(self._call.id, 202, self._body()), now)

    def _body(self) -> bytes:
        if self._lines:
            fresh = sum(each.fresh for each in self._receipts)
            return _encode({"ids": [each.id for each in self._receipts], "new": fresh})
        [one] = self._receipts
        return b'{"id":"%b","new":%b}' % (one.id.encode(), b"true" if one.fresh else b"false")
