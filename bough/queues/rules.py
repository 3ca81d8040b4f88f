"""Pure decisions of queues: what an answer means for an item, how much the handler gets, when a batch goes.

What an answer means

    2xx                 done; the body is the result
    408, 425, 429, 503  the handler is not able now: back, not counted
    other 4xx           the item is wrong and always will be: a dead letter at once
    5xx, silence        counted; again after a pause that doubles, until the retries are used up: then a dead letter

How much a handler gets: as many items as it ends in WINDOW_S, and never fewer than one call for each replica and one
more. So a fast handler is never idle between two rounds, a slow one has little before it that a direct request would
have to wait behind, and an item that is urgent overtakes all but what is under way. Nor more than the handler lets
wait: what it refuses costs a pause.
"""

from __future__ import annotations

from bough.adapters.queue import BACK, DEAD, DELAYED, DONE, Outcome, Place, Taken
from bough.kernel.queue import Queue
from bough.queues.models import Ending, HandlerState

WINDOW_S = 0.1
QUIET_S = 5.0  # without an end until a rate is said to fall, by half in as long: large batches end seldom
MOST_IN_FLIGHT = 4096
MOST_BATCH = 64  # of one replica, as a start
NOT_NOW = frozenset((408, 425, 429, 503))
PAUSE_S = (0.2, 30.0)  # while a handler is not there: first, longest
DELIVER_S = (1.0, 3600.0)  # between attempts at telling somebody: first, longest
DELIVER_ATTEMPTS = 48  # at an hour each almost two days
LONGEST_ERROR = 2000  # characters


def outcome(settings: Queue, taken: Taken, ending: Ending, now: float) -> Outcome:
    if 200 <= ending.status < 300:
        return Outcome(
            taken=taken, state=DONE, at=now, until=now + kept_s(settings, taken), status=ending.status,
            result=ending.body, kind=ending.kind, tell=settings.tells,
        )  # fmt: skip
    error = (ending.error or ending.body.decode("utf-8", "replace"))[:LONGEST_ERROR]
    if ending.innocent or ending.status in NOT_NOW:
        return Outcome(taken=taken, state=BACK, at=now, status=ending.status, error=error)
    if 400 <= ending.status < 500 or taken.attempt > settings.retries:
        return dead(settings, taken, ending.status, error, now)
    until = now + retry_after_s(settings, taken.attempt)
    return Outcome(taken=taken, state=DELAYED, at=now, until=until, status=ending.status, error=error)


def dead(settings: Queue, taken: Taken, status: int, error: str, now: float) -> Outcome:
    kept = max(settings.keep_dead_s, settings.dedup_s if taken.dedup else 0.0)
    return Outcome(
        taken=taken, state=DEAD, at=now, until=now + kept, status=status, error=error, tell=settings.tells
    )  # fmt: skip


def used_up(settings: Queue, taken: Taken) -> bool:
    """Attempts that nobody has answered for: their consumers died or hung with it."""
    return taken.attempt > settings.retries + 1


def kept_s(settings: Queue, taken: Taken) -> float:
    """A dedup id is known for as long as its item is."""
    return max(settings.keep_s, settings.dedup_s if taken.dedup else 0.0)


def retry_after_s(settings: Queue, attempt: int) -> float:
    return float(min(settings.retry_max_s, settings.retry_s * 2.0 ** min(attempt - 1, 30)))


def pause_s(failures: int) -> float:
    """After `failures` times that a handler was not there, one after the other."""
    return float(min(PAUSE_S[1], PAUSE_S[0] * 2.0 ** min(failures - 1, 20)))


def deliver_after_s(attempts: int) -> float:
    return float(min(DELIVER_S[1], DELIVER_S[0] * 2.0 ** min(attempts, 20)))


def refusal_mark(place: Place, to: str) -> str:
    """The mark that says when and why somebody could last not be told."""
    return f"refused/{to}/{'/'.join(place)}"


def window(settings: Queue, handler: HandlerState, rate: float) -> int:
    """Items that may be at the handler at once; `rate`: how many it ends in a second."""
    if settings.concurrency:
        return settings.concurrency
    batch = min(max(1, handler.batch), MOST_BATCH)
    least = max(batch * (max(1, handler.replicas) + 1), settings.batch.max_size if settings.batch.max_wait_ms else 0)
    return min(handler.most or MOST_IN_FLIGHT, MOST_IN_FLIGHT, max(least, int(rate * WINDOW_S)))


def ready(settings: Queue, waiting: int, in_flight: int) -> int:
    """Items that more replicas would begin with: of those that `waiting` may run now, no more than `concurrency` lets
    beside those that are at the handler."""
    more = settings.concurrency - in_flight if settings.concurrency else waiting
    return max(0, min(waiting, more))


def hold_s(settings: Queue, waiting: int, first_waited_s: float) -> float:
    """How much longer a batch is held open for more; 0: it goes now."""
    if waiting >= settings.batch.max_size:
        return 0.0
    return max(0.0, settings.batch.max_wait_ms / 1000.0 - max(0.0, first_waited_s))


class Rate:
    """How many per second, over about the last WINDOW_S * 5; quick to grow, so that a window opens at once."""

    __slots__ = ("_count", "_since", "value")

    def __init__(self) -> None:
        self.value = 0.0
        self._count, self._since = 0, 0.0

    def at(self, now: float) -> float:
        """The same for people: while nothing ends, it falls to nothing."""
        return float(self.value * 0.5 ** max(0.0, (now - self._since) / QUIET_S - 1.0))

    def count(self, number: int, now: float) -> None:
        if not self._count:
            self._since = self._since or now
        self._count += number
        spent = now - self._since
        if spent < 0.0:  # the clock was set back
            self._count, self._since = 0, now
        elif spent >= WINDOW_S:
            fresh = self._count / spent
            self.value = fresh if fresh > self.value else self.value + 0.3 * (fresh - self.value)
            self._count, self._since = 0, now
