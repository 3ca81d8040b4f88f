"""How much a handler gets, and when a round of writes begins."""

from __future__ import annotations

import threading

import pytest

from bough.adapters.queue import BACK, Answers, Draft, Outcome, Round, Taken
from bough.adapters.queue.memory import MemoryQueues
from bough.kernel.clock import SystemClock
from bough.kernel.errors import Busy
from bough.kernel.queue import Queue
from bough.queues import rounds, rules
from bough.queues.models import HandlerState

SETTINGS = Queue(handler="h")


def test_a_handler_gets_what_it_ends_in_a_tenth_of_a_second_and_no_more_than_it_lets_wait() -> None:
    def window(rate: float, most: int = 512) -> int:
        return rules.window(SETTINGS, HandlerState(replicas=1, batch=8, most=most), rate)

    assert window(0.0) == 16
    assert window(3000.0) == 300
    assert window(50_000.0) == 512
    assert window(50_000.0, most=0) == rules.MOST_IN_FLIGHT


def test_more_replicas_are_wanted_for_what_they_would_be_given() -> None:
    assert rules.ready(SETTINGS, 500, 16) == 500
    assert rules.ready(SETTINGS, -3, 16) == 0, "what is known of others' writes comes late"
    bounded = Queue(handler="h", concurrency=20)
    assert [rules.ready(bounded, 500, at) for at in (0, 16, 20, 25)] == [20, 4, 0, 0]


class Slow(MemoryQueues):
    """A disk that takes its time; keeps how many drafts each round had."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.go = threading.Semaphore(0)

    def round(self, work: Round) -> Answers:
        self.go.acquire()
        if work.drafts:
            self.sizes.append(len(work.drafts))
        return super().round(work)


def test_what_comes_while_a_round_is_on_its_way_goes_with_the_next_one() -> None:
    queues, heard = Slow(), threading.Semaphore(0)
    made = rounds.Rounds(queues, SystemClock(), "me", lambda go: go(), lambda go: go())
    made.start()
    for number in range(101):
        made.put([Draft(place=("p", "e", "q"), body=b"%d" % number)], lambda receipt: heard.release())
    for _ in range(101):
        queues.go.release()
    for _ in range(101):
        assert heard.acquire(timeout=100)
    made.stop()
    assert sum(queues.sizes) == 101 and len(queues.sizes) <= 3


def test_items_that_are_put_together_are_taken_together_or_refused_together() -> None:
    """Whoever is refused puts all of them again."""
    queues, put = Slow(), list[object]()
    made = rounds.Rounds(queues, SystemClock(), "me", lambda go: go(), lambda go: go())
    half = b"x" * (rounds.MOST_BYTES // 2 + 1)
    made.put([Draft(place=("p", "e", "q"), body=half) for _ in range(3)], put.append)
    with pytest.raises(Busy):
        made.put([Draft(place=("p", "e", "q"), body=b"1")], put.append)
    made.start()
    queues.go.release()
    made.stop()
    assert queues.sizes == [3] and len(put) == 3


def test_what_the_last_round_gave_to_somebody_who_stops_goes_back() -> None:
    queues, place = MemoryQueues(), ("p", "e", "q")
    made = rounds.Rounds(queues, SystemClock(), "me", lambda go: go(), lambda go: go())

    def give_back(taken: list[Taken]) -> None:
        for each in taken:
            made.settle(Outcome(taken=each, state=BACK, at=0.0), lambda settled: None)

    made.take(place, rounds.Taking(5, 30.0, waits=True), give_back)
    made.put([Draft(place=place, body=b"1")], lambda receipt: None)
    made.start()
    made.stop()
    made.finish()
    assert queues.tally()[place].waiting == 1


def test_a_rate_falls_while_nothing_ends() -> None:
    """A queue that has been empty for a minute handles nothing, whatever it did before."""
    rate = rules.Rate()
    for tenth in range(100):
        rate.count(4, 1000.0 + tenth / 10)
    assert rate.at(1010.0) == pytest.approx(40.0, rel=0.1)
    assert 0.0 < rate.at(1020.0) < 25.0 and rate.at(1070.0) < 0.05
    assert rules.Rate().at(1000.0) == 0.0
