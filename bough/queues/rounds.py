"""The one thread that writes. Whatever is asked of it while a round is on its way to the disk goes with the next one:
so one item costs a sync and a thousand cost one too, and nobody waits for a timer.

A round that fails has not happened. Drafts are refused, so their senders know; outcomes stay and go again, because
their items have been worked on and must not be worked on once more.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from bough.adapters.queue import Answers, Draft, Outcome, Place, Queues, Receipt, Round, Take, Taken, Tended
from bough.kernel.clock import Clock
from bough.kernel.errors import Busy, Problem

MOST_DRAFTS = 2000  # of a round, and so the memory that a round takes
MOST_BYTES = 64 << 20  # of drafts that wait for a round; more are refused
AGAIN_S = 0.25  # after a round that failed
TEND_S = 0.25  # between two looks at what time has done

log = logging.getLogger("bough.queues")
T = TypeVar("T")
Call = Callable[[Callable[[], None]], object]
Put = Callable[[Receipt | Problem], None]


class Asked(Generic[T]):
    """Something for the next round, and who hears what came of it."""

    __slots__ = ("done", "what")

    def __init__(self, what: T, done: Callable[..., None]) -> None:
        self.what, self.done = what, done


class Rounds:
    """`call` runs a function in the thread of those who ask; all answers of a round come through one such call."""

    def __init__(self, queues: Queues, clock: Clock, owner: str, call: Call) -> None:
        self.queues, self.owner = queues, owner
        self._clock, self._call = clock, call
        self._changed = threading.Condition()
        self._drafts: list[Asked[Draft]] = []
        self._bytes = 0
        self._outcomes: list[Asked[Outcome]] = []
        self._takes: list[Asked[Take]] = []
        self._held: tuple[list[Taken], float] = ([], 0.0)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="queue-rounds", daemon=True)
        self.tended: Callable[[Tended, bool], None] = lambda tended, changed: None

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """After what has been asked for so far."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(timeout_s)

    def put(self, draft: Draft, done: Put) -> None:
        """Raises `Busy` when the disk does not keep up."""
        if self._bytes > MOST_BYTES:
            raise Busy("items come faster than the disk takes them", code="QUEUE_BUSY", hint="try again in a moment")
        with self._changed:
            self._drafts.append(Asked(draft, done))
            self._bytes += len(draft.body)
            self._changed.notify()

    def settle(self, outcome: Outcome, done: Callable[[bool], None]) -> None:
        """`done` hears whether the outcome counted."""
        with self._changed:
            self._outcomes.append(Asked(outcome, done))
            self._changed.notify()

    def take(self, place: Place, count: int, until: float, done: Callable[[list[Taken]], None]) -> None:
        with self._changed:
            self._takes.append(Asked(Take(place=place, owner=self.owner, count=count, until=until), done))
            self._changed.notify()

    def hold(self, held: list[Taken], until: float) -> None:
        """Renews leases."""
        with self._changed:
            self._held = (held, until)
            self._changed.notify()

    # --- private: the thread

    def _run(self) -> None:
        tend_at = 0.0
        while True:
            with self._changed:
                if not self._wanted() and not self._stopping:
                    self._changed.wait(TEND_S)
                drafts, self._drafts = self._drafts[:MOST_DRAFTS], self._drafts[MOST_DRAFTS:]
                outcomes, self._outcomes = self._outcomes, []
                takes, self._takes = self._takes, []
                held, self._held = self._held, ([], 0.0)
                self._bytes -= sum(len(each.what.body) for each in drafts)
                stopping = self._stopping
            if drafts or outcomes or takes or held[0]:
                self._round(drafts, outcomes, takes, held)
            elif stopping:
                return
            if (not stopping and (now := self._clock.now()) >= tend_at) or now < tend_at - 2 * TEND_S:
                tend_at = now + (0.0 if self._tend(now) else TEND_S)

    def _wanted(self) -> bool:
        return bool(self._drafts or self._outcomes or self._takes or self._held[0])

    def _round(
        self, drafts: list[Asked[Draft]], outcomes: list[Asked[Outcome]], takes: list[Asked[Take]],
        held: tuple[list[Taken], float],
    ) -> None:  # fmt: skip
        work = Round(
            outcomes=[each.what for each in outcomes], held=held[0], until=held[1],
            drafts=[each.what for each in drafts], takes=[each.what for each in takes], now=self._clock.now(),
        )  # fmt: skip
        try:
            answers = self.queues.round(work)
        except Exception as error:  # whatever it is: senders hear it, and what has been worked on is kept for later
            problem = error if isinstance(error, Problem) else Problem(f"the queues failed: {error}")
            log.error("a round of %d drafts and %d outcomes failed: %s", len(drafts), len(outcomes), problem.message)
            self._call(lambda: _refuse(drafts, takes, problem))
            with self._changed:
                self._outcomes = outcomes + self._outcomes
                if not self._stopping:
                    self._changed.wait_for(lambda: self._stopping, AGAIN_S)
                else:
                    self._outcomes = []  # leases end by themselves, and their items run again
            return
        self._call(lambda: _tell(drafts, outcomes, takes, answers))

    def _tend(self, now: float) -> bool:
        """Says whether there is more to do at once."""
        try:
            tended, changed = self.queues.tend(now, self._is_mine), self.queues.changed()
        except Exception:  # a disk that is full or busy: what is due stays due
            log.exception("queues could not be looked after")
            return False
        if tended.ready or tended.lost or changed:
            self._call(lambda: self.tended(tended, changed))
        return tended.more

    def _is_mine(self, owner: str) -> bool:
        return owner == self.owner


def _tell(
    drafts: list[Asked[Draft]], outcomes: list[Asked[Outcome]], takes: list[Asked[Take]], answers: Answers
) -> None:
    for draft, receipt in zip(drafts, answers.receipts, strict=True):
        draft.done(receipt)
    for outcome, settled in zip(outcomes, answers.settled, strict=True):
        outcome.done(settled)
    for take, taken in zip(takes, answers.taken, strict=True):
        take.done(taken)


def _refuse(drafts: list[Asked[Draft]], takes: list[Asked[Take]], problem: Problem) -> None:
    for draft in drafts:
        draft.done(problem)
    for take in takes:
        take.done([])
