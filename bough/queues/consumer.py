"""Hands the items of one queue to its handler, and writes down what came of them.

It takes when somebody says that there may be something (`poke`) or an item has ended, as much as the handler has room
for; a take that brings fewer than it asked for means that the queue is empty, and then it is quiet until poked. One
that is not answered for in time is not its matter: the lane has a time limit, and the lease ends if this process does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from bough.adapters.queue import BACK, DELAYED, DONE, Outcome, Taken, Tally
from bough.kernel.queue import Queue
from bough.queues import rules
from bough.queues.models import Ending, HandlerState, QueueRoute, QueueState
from bough.queues.rounds import Rounds, Taking


class Hand(Protocol):
    """The way to the handler."""

    def state(self) -> HandlerState | None:
        """None: there is no such service now."""

    def give(self, taken: Taken, alone: bool, done: Callable[[Ending], None]) -> None:
        """`done` is called once, perhaps before this returns. `alone`: in no batch with others."""


class Timer(Protocol):
    def cancel(self) -> None: ...


class Hours(Protocol):
    """The times that a consumer lives by: injected, so that tests need not wait. `now` since the epoch; `later` calls
    once after so many seconds."""

    def now(self) -> float: ...

    def later(self, seconds: float, function: Callable[[], None]) -> Timer: ...


class Consumer:
    """Of one queue; all calls in one thread."""

    def __init__(self, route: QueueRoute, rounds: Rounds, hand: Hand, hours: Hours) -> None:
        self.route = route
        self.depth = 0  # waiting, delayed or behind, as far as this process knows
        self.held = 0  # of them delayed or behind, as they were last counted
        self.unsure = False  # how many that are may have changed since
        self.oldest_at = 0.0
        self.accepted = self.done = self.dead = 0
        self.changed: Callable[[str], None] = lambda id: None  # an item has another state now
        self._rounds, self._hand, self._hours = rounds, hand, hours
        self._at: dict[str, Taken] = {}  # at the handler
        self._asked = 0  # of a take under way
        self._first_at = 0.0  # when the batch that is held open began
        self._failures = 0
        self._wait: Timer | None = None
        self._rate = rules.Rate()
        self._soon_set = self._stopped = False

    def update(self, route: QueueRoute) -> None:
        self.route = route
        self.poke()

    @property
    def settings(self) -> Queue:
        return self.route.settings

    @property
    def in_flight(self) -> int:
        return len(self._at)

    @property
    def wanted(self) -> int:
        """Items that it takes as soon as they are there."""
        return self._asked

    def state(self) -> QueueState:
        route, now, handler = self.route, self._hours.now(), self._hand.state()
        age_s = max(0.0, now - self.oldest_at) if self.oldest_at and self.depth else 0.0
        return QueueState(
            project=route.project, environment=route.environment, queue=route.queue, service=route.service,
            depth=max(0, self.depth), age_s=round(age_s, 3), in_flight=len(self._at), rate=round(self._rate.at(now), 1),
            accepted=self.accepted, done=self.done, dead=self.dead, deployment=handler.deployment if handler else "",
            ready=0 if self._failures else rules.ready(self.settings, self.depth - self.held, len(self._at)),
        )  # fmt: skip

    def poke(self) -> None:
        """There may be items."""
        if self._asked:
            self._rounds.look_again()
        self._soon()

    def arrived(self, *, held: bool = False) -> None:
        """An item has come; `held`: it may have to wait for its time, or for another one of its key."""
        self.accepted += 1
        self.depth += 1
        self.unsure = self.unsure or held
        if not self._first_at:
            self._first_at = self._hours.now()
        if not self._asked:
            self._soon()

    def counted(self, tally: Tally) -> None:
        """What there is by the store, whoever has written it."""
        self.held = tally.behind + tally.delayed
        self.depth = tally.waiting + self.held
        self.unsure = False

    def hold(self) -> None:
        """Renews what is at the handler."""
        if self._at:
            self._rounds.hold(list(self._at.values()), self._hours.now() + self.settings.visibility_s)

    def stop(self) -> None:
        """Takes no more."""
        self._stopped = True
        self._cancel_wait()

    def give_back(self) -> None:
        """What is still at the handler goes back, for another consumer."""
        for taken in self._at.values():
            outcome = Outcome(taken=taken, state=BACK, at=self._hours.now())
            self._rounds.settle(outcome, lambda settled: None)
        self._at.clear()

    # --- private

    def _soon(self) -> None:
        """After all else that has come with what just came: what has ended together is replaced together."""
        if not (self._soon_set or self._asked or self._wait is not None or self._stopped):
            self._soon_set = True
            self._hours.later(0.0, self._pull)

    def _pull(self) -> None:
        self._soon_set = False
        if self._stopped or self._asked or self._wait is not None:
            return
        handler = self._hand.state()
        if handler is None:
            return  # poked again when the table changes
        room = rules.window(self.settings, handler, self._rate.value) - len(self._at)
        if self._failures:
            room = 1 - len(self._at)  # until one has gone through, no more are put at risk of waiting in vain
        if room <= 0:
            return
        held_open = self.settings.batch.max_wait_ms > 0
        if held_open:
            now = self._hours.now()
            if held := rules.hold_s(self.settings, self.depth, now - (self._first_at or now)):
                self._wait = self._hours.later(held, self._waited)
                return
        self._first_at = 0.0
        self._asked = room
        taking = Taking(room, self.settings.visibility_s, waits=not held_open)
        self._rounds.take(self.route.place, taking, self._taken)

    def _taken(self, taken: list[Taken]) -> None:
        self._asked = 0
        self.depth = max(0, self.depth - len(taken))
        if self._stopped:
            for each in taken:
                self._rounds.settle(Outcome(taken=each, state=BACK, at=self._hours.now()), lambda settled: None)
            return
        for each in taken:
            self._at[each.id] = each
            self.changed(each.id)
        for each in taken:
            if rules.used_up(self.settings, each):
                said = "its consumers ended, or hung, before anybody answered for it"
                self._settle(rules.dead(self.settings, each, 0, said, self._hours.now()))
            else:
                self._hand.give(each, each.attempt > 1, lambda ending, each=each: self._answered(each, ending))  # type: ignore[misc]
        if taken or not self.settings.batch.max_wait_ms:
            self._soon()

    def _answered(self, taken: Taken, ending: Ending) -> None:
        if self._at.get(taken.id) is not taken:
            return
        outcome = rules.outcome(self.settings, taken, ending, self._hours.now())
        if outcome.state == BACK:
            self._failures += 1
            if self._wait is None and not self._stopped:
                self._wait = self._hours.later(rules.pause_s(self._failures), self._waited)
        elif ending.status:
            self._failures = 0
        self._settle(outcome)

    def _settle(self, outcome: Outcome) -> None:
        self._rounds.settle(outcome, lambda settled: self._settled(outcome, settled))

    def _settled(self, outcome: Outcome, settled: bool) -> None:
        self._at.pop(outcome.taken.id, None)
        if settled and outcome.state in (DONE, "dead"):
            if outcome.state == DONE:
                self.done += 1
            else:
                self.dead += 1
            self._rate.count(1, self._hours.now())
        elif settled:
            self.depth += 1
            self.held += outcome.state == DELAYED
        self.unsure = self.unsure or bool(outcome.taken.key)
        self.changed(outcome.taken.id)
        if self._asked:
            if outcome.taken.key or outcome.state == BACK:
                self._rounds.look_again()  # the next one of its key has come to the front, or it has itself
        elif self.depth > 0 or not self.settings.batch.max_wait_ms:
            self._soon()

    def _waited(self) -> None:
        self._wait = None
        self._first_at = 0.0 if self._failures else 1.0  # a batch that was held open long enough
        self.poke()

    def _cancel_wait(self) -> None:
        if self._wait is not None:
            self._wait.cancel()
            self._wait = None
