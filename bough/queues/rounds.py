"""The one thread that writes. Whatever is asked of it while a round is on its way to the disk goes with the next one:
so one item costs a sync and a thousand cost one too, and nobody waits for a timer.

A round that fails has not happened. Drafts are refused, so their senders know; outcomes stay and go again, because
their items have been worked on and must not be worked on once more.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Generic, NamedTuple, TypeVar

from bough.adapters.queue import Answers, Draft, Outcome, Place, Queues, Receipt, Round, Take, Taken, Tended
from bough.kernel.clock import Clock
from bough.kernel.errors import Busy, Problem

MOST_DRAFTS = 2000  # of a round, and so the memory that a round takes
MOST_BYTES = 64 << 20  # of drafts that wait for a round; more are refused
AGAIN_S = 0.25  # after a round that failed
BUSY = 8  # drafts or outcomes of a round: then a moment for more to come, since a round costs more than ten items
GATHER_S = 0.0005  # between two looks at whether they have
TAKEN_BESIDE = 64  # while many come, no more are taken in a round, or as many as come: a backlog makes nobody wait
LINGER, MOST_LINGER_S = 0.5, 0.003  # the moment, in durations of a round: nobody waits much longer than for the disk
TEND_S = 0.25  # between two looks at what time has done
SET_BACK_S = 2.0  # a clock that has gone back further than this was set; less delays an item by as much

log = logging.getLogger("bough.queues")
T = TypeVar("T")
Call = Callable[[Callable[[], None]], object]
Put = Callable[[Receipt | Problem], None]


class Asked(Generic[T]):
    """Something for the next round, and who hears what came of it."""

    __slots__ = ("done", "what")

    def __init__(self, what: T, done: Callable[..., None]) -> None:
        self.what, self.done = what, done


class Wanted:
    """What has been asked for since the last round."""

    __slots__ = ("drafts", "held", "outcomes", "takes", "until")

    def __init__(self) -> None:
        self.drafts: list[Asked[Draft]] = []
        self.outcomes: list[Asked[Outcome]] = []
        self.takes: dict[Place, Asked[Taking]] = {}
        self.held: list[Taken] = []
        self.until = 0.0

    def add(self, other: Wanted) -> None:
        self.drafts += other.drafts
        self.outcomes += other.outcomes
        self.takes |= other.takes
        if other.held:
            self.held, self.until = other.held, other.until


class Taking(NamedTuple):
    """`waits`: with nothing to take it is not answered, but tried again with every round that may bring something."""

    most: int
    lease_s: float
    waits: bool


class Rounds:
    """All methods are called in one thread, where `soon` runs a function after what goes on now and `call`, from any
    thread, as soon as may be. What is asked for within one go is handed over together, and answered together."""

    def __init__(self, queues: Queues, clock: Clock, owner: str, soon: Call, call: Call) -> None:
        self.queues, self.owner = queues, owner
        self._clock, self._soon, self._call = clock, soon, call
        self._wanted = Wanted()
        self._handing = False
        self._bytes = 0
        self._inbox: SimpleQueue[Wanted | None] = SimpleQueue()
        self._parked: dict[Place, Asked[Taking]] = {}  # the thread's own, as the two below
        self._again: list[Asked[Outcome]] = []
        self._expected, self._took_s = 0.0, 0.0  # drafts that come together, and what a round takes
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="queue-rounds", daemon=True)
        self.tended: Callable[[Tended, bool], None] = lambda tended, changed: None

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """After what has been asked for so far."""
        self._hand_over()
        self._inbox.put(None)
        self._thread.join(timeout_s)

    def finish(self) -> None:
        """After `stop`: what was asked for by those who heard its last answers, such as that items go back."""
        found = Wanted()
        while not self._inbox.empty():
            if (more := self._inbox.get()) is not None:
                found.add(more)
        if found.outcomes:
            self._round(found)

    def put(self, drafts: Sequence[Draft], done: Put) -> None:
        """All of them in one round, or none: `done` hears of each. Raises `Busy` when the disk does not keep up."""
        if self._bytes > MOST_BYTES:
            raise Busy("items come faster than the disk takes them", code="QUEUE_BUSY", hint="try again in a moment")
        self._bytes += sum(len(each.body) for each in drafts)
        self._wanted.drafts += [Asked(each, done) for each in drafts]
        self._hand_over_soon()

    def settle(self, outcome: Outcome, done: Callable[[bool], None]) -> None:
        """`done` hears whether the outcome counted."""
        self._wanted.outcomes.append(Asked(outcome, done))
        self._hand_over_soon()

    def take(self, place: Place, taking: Taking, done: Callable[[list[Taken]], None]) -> None:
        """One at a time for each place."""
        self._wanted.takes[place] = Asked(taking, done)
        self._hand_over_soon()

    def hold(self, held: list[Taken], until: float) -> None:
        """Renews leases."""
        self._wanted.held, self._wanted.until = [*self._wanted.held, *held], max(until, self._wanted.until)
        self._hand_over_soon()

    def look_again(self) -> None:
        """There may be items that no draft of this process has brought: takes that wait are tried."""
        self._hand_over_soon()

    # --- private: in the thread of those who ask

    def _hand_over_soon(self) -> None:
        if not self._handing:
            self._handing = True
            self._soon(self._hand_over)

    def _hand_over(self) -> None:
        self._handing = False
        wanted, self._wanted = self._wanted, Wanted()
        self._inbox.put(wanted)

    def _tell(self, wanted: Wanted, work: Round, answers: Answers, takes: list[Asked[Taking]]) -> None:
        for draft, receipt in zip(wanted.drafts, answers.receipts, strict=True):
            self._bytes -= len(draft.what.body)
            draft.done(receipt)
        for outcome, settled in zip(wanted.outcomes, answers.settled, strict=True):
            outcome.done(settled)
        for take, taken in zip(takes, answers.taken, strict=True):
            if taken or not take.what.waits:
                take.done(taken)

    def _refuse(self, wanted: Wanted, problem: Problem) -> None:
        for draft in wanted.drafts:
            self._bytes -= len(draft.what.body)
            draft.done(problem)

    # --- private: the thread that writes

    def _run(self) -> None:
        tend_at, latest = 0.0, self._clock.now()
        while not self._stopping or self._again:
            wanted = self._gathered(min(TEND_S, AGAIN_S if self._again else TEND_S))
            if wanted is not None:
                self._linger(wanted)
                began = time.perf_counter()
                self._round(wanted)
                self._took_s += 0.2 * (time.perf_counter() - began - self._took_s)
            now = self._clock.now()
            if now < latest - SET_BACK_S:
                self._set_back(latest - now)
            latest = now
            if not self._stopping and (now >= tend_at or now < tend_at - 2 * TEND_S):
                tend_at = now + (0.0 if self._tend(now) else TEND_S)

    def _gathered(self, timeout_s: float) -> Wanted | None:
        """All that was handed over meanwhile; None: nothing was, for so long."""
        found = Wanted()
        try:
            first = None if self._stopping else self._inbox.get(timeout=timeout_s)
            while first is not None:
                found.add(first)
                if len(found.drafts) >= MOST_DRAFTS:
                    return found
                first = self._inbox.get_nowait()
            self._stopping = True
        except Empty:
            return found if self._again or self._inbox_brought(found) else None
        return found

    def _linger(self, found: Wanted) -> None:
        """Who was answered together asks again about together: a round that begins with the first of them makes the
        others wait for two. And an outcome that nobody waits for goes with the drafts that are on their way."""
        until = time.perf_counter() + min(MOST_LINGER_S, LINGER * self._took_s)
        while len(found.drafts) < self._expected and self._expected >= BUSY and time.perf_counter() < until:
            time.sleep(GATHER_S)
            try:
                while (more := self._inbox.get_nowait()) is not None:
                    found.add(more)
                self._stopping = True
            except Empty:
                continue
            break
        self._expected = max(len(found.drafts), self._expected * (0.9 if found.drafts else 0.5))

    def _inbox_brought(self, found: Wanted) -> bool:
        return bool(found.drafts or found.outcomes or found.takes or found.held or self._parked)

    def _round(self, wanted: Wanted) -> None:
        wanted.outcomes = self._again + wanted.outcomes
        self._again = []
        self._parked = {} if self._stopping else self._parked | wanted.takes
        now, taking = self._clock.now(), self._parked
        most = max(TAKEN_BESIDE, len(wanted.drafts)) if self._expected >= BUSY else MOST_DRAFTS
        work = Round(
            outcomes=[each.what for each in wanted.outcomes], held=wanted.held, until=wanted.until,
            drafts=[each.what for each in wanted.drafts], now=now,
            takes=[
                Take(place=place, owner=self.owner, count=min(most, asked.what.most), until=now + asked.what.lease_s)
                for place, asked in taking.items()
            ],
        )  # fmt: skip
        try:
            answers = self.queues.round(work)
        except Exception as error:  # whatever it is: senders hear it, and what has been worked on is kept for later
            problem = error if isinstance(error, Problem) else Problem(f"the queues failed: {error}")
            said = "a round of %d drafts and %d outcomes failed: %s"
            log.error(said, len(wanted.drafts), len(wanted.outcomes), problem.message)
            self._call(lambda: self._refuse(wanted, problem))
            self._again = [] if self._stopping else wanted.outcomes  # leases end by themselves, and items run again
            if not self._stopping:
                time.sleep(AGAIN_S / 10)  # a disk that is full is not asked without pause
            return
        takes = list(taking.values())
        self._parked = {
            place: asked
            for (place, asked), taken in zip(taking.items(), answers.taken, strict=True)
            if asked.what.waits and not taken
        }
        self._call(lambda: self._tell(wanted, work, answers, takes))

    def _set_back(self, seconds: float) -> None:
        log.warning("the clock was set back by %.0f s: what waits in queues waits no longer for it", seconds)
        try:
            self.queues.set_back(seconds)
        except Exception:  # a disk that is full or busy: then delays last longer, and nothing is lost
            log.exception("delays could not be set back")

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
