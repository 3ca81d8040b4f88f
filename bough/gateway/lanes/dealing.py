"""Dealing out: which replica gets how many of the calls that wait, and when.

The decisions are those of `rules`; here are the queue and the replicas that they are about, and the times that were
measured of both. Nothing in here waits, sends or keeps a timer: that is the lane's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from bough.gateway import rules
from bough.gateway.call import Call
from bough.gateway.lanes.calltimes import CallTimes
from bough.gateway.lanes.wire import Frame, Wire
from bough.gateway.models import Route

FRAME_BYTES = 64 << 20  # no frame is filled beyond this
Send = Callable[[Wire, list[Call], str, float], None]  # to whom, what, why now, when


class Dealer:
    """Of one lane, whose `queue` it takes from. `frame_s`, `item_s`: running means of what a frame, and a call in one,
    has kept a replica busy."""

    __slots__ = ("_calls", "_depth", "_queue", "frame_s", "item_s")

    def __init__(self, queue: deque[Call]) -> None:
        self._queue = queue
        self.frame_s = self.item_s = 0.0
        self._calls = CallTimes()  # what a call costs by itself, and for each item
        self._depth = 1

    def measured(self, wire: Wire, frame: Frame, route: Route, now: float) -> float:
        """A frame has been answered; for how long its replica was busy with it alone."""
        spent = now - (frame.sent_at if frame.sent_at > wire.last_reply else wire.last_reply)
        self.frame_s += 0.2 * (spent - self.frame_s) if self.frame_s else spent
        item = spent / frame.size
        self.item_s += 0.2 * (item - self.item_s) if self.item_s else item
        self._calls.add(frame.size, spent)
        return spent

    def deal(self, wires: Sequence[Wire], route: Route, send: Send, now: float) -> float:
        """Sends all that may go now. Says for how long what stays is held open for more; 0: it waits for a replica."""
        hello = wires[0].hello
        if hello is not None and hello.mode == "concurrent":
            self._spread(wires, send, now)
            return 0.0
        return self._batch(wires, route, send, now)

    def _spread(self, wires: Sequence[Wire], send: Send, now: float) -> None:
        """Mode `concurrent`: every call goes at once to the least loaded link with room, one frame per link."""
        queue = self._queue
        free = [wire for wire in _heard(wires) if not wire.blocked]
        while queue and free:
            best = min(free, key=_load)
            hello = best.hello
            if hello is None or _load(best) >= max(1, hello.concurrency):
                break
            best.batch.append(queue.popleft())
        for wire in free:
            if wire.batch:
                batch, wire.batch = wire.batch, []
                send(wire, batch, rules.IDLE, now)

    def _batch(self, wires: Sequence[Wire], route: Route, send: Send, now: float) -> float:
        """Modes `item` and `batch`: the emptiest link that may have another frame takes its share of the queue."""
        queue = self._queue
        wires = _heard(wires)
        fixed_s, item_s = self._calls.parts()
        alike = rules.costs_alike(fixed_s, self.frame_s)
        self._depth = depth = 1 if alike else rules.depth(self.frame_s, self._depth)
        while queue:
            best: Wire | None = None
            least = 1 if queue[0].attempts else depth  # a call that comes back needs a link of its own
            for wire in wires:
                if wire.silent_since and queue[0].attempts:
                    continue  # it may hang, and would take down with it what has failed once already
                if wire.frames < least and not wire.blocked and not wire.suspect:
                    best, least = wire, wire.frames
            if best is None or best.hello is None:
                return 0.0
            largest = rules.cap(route.max_batch, best.hello.max_batch)
            if best.hello.mode == "item":
                largest = min(largest, rules.item_frame(self.item_s))
            if route.objective_s:
                largest = rules.in_time(largest, fixed_s, item_s, route.objective_s)
            if route.max_wait_ms:
                waited = now - queue[0].arrived
                hold = rules.hold_s(route.max_wait_ms / 1000.0, self.frame_s, route.objective_s)
                if not rules.may_release(len(queue), largest, waited, hold):
                    return hold - waited
            count = rules.take(len(queue), len(wires), largest, rules.own_s(item_s, self.item_s))
            if best.frames and not rules.worth_queueing(count, best.last_size, largest):
                return 0.0
            if alike:
                under_way = max((wire.last_size for wire in wires if wire.frames), default=0)
                early_s = self.frame_s - (now - queue[0].arrived)
                if early_s > 0.0 and not rules.worth_queueing(count, under_way, largest):
                    return early_s
            batch = self._pop_similar(count) if best.hello.similar else self._pop(count)
            send(best, batch, rules.reason(len(batch), largest, route.max_wait_ms), now)
        return 0.0

    def _pop(self, count: int) -> list[Call]:
        """The next batch. A call whose replica died goes alone: if it is what kills, it takes no other with it."""
        queue = self._queue
        first = queue.popleft()
        batch, size = [first], len(first.request.body)
        if first.attempts:
            return batch
        while len(batch) < count and size < FRAME_BYTES and not queue[0].attempts:
            call = queue.popleft()
            size += len(call.request.body)
            batch.append(call)
        return batch

    def _pop_similar(self, count: int) -> list[Call]:
        """The same for a model that pads: the oldest call and others of similar size, in their order."""
        queue = self._queue
        if queue[0].attempts or count == 1:
            return self._pop(1)
        fresh = [call for call in queue if not call.attempts]
        sizes = [len(call.request.body) for call in fresh]
        chosen = rules.similar(sizes, max(1, min(count, FRAME_BYTES // max(1, sizes[0]))))
        batch = [fresh[index] for index in chosen]
        leaving = set(batch)
        staying = [call for call in queue if call not in leaving]
        queue.clear()
        queue.extend(staying)
        return batch


def _heard(wires: Sequence[Wire]) -> Sequence[Wire]:
    """Those that owe no word; all of them where all do."""
    return [wire for wire in wires if not wire.silent_since] or wires


def _load(wire: Wire) -> int:
    return len(wire.inflight) + len(wire.batch)
