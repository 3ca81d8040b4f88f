"""Plans are made beside the decisions: which plan answers, and what happens while there is none."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from pathlib import Path

import pytest

from bough.adapters.capacity import ON_DEMAND, SPOT, Offer, Provider
from bough.adapters.capacity.availability import of_spells
from bough.adapters.capacity.local import LocalProvider
from bough.adapters.capacity.replay import ReplayProvider
from bough.capacity.deciding import LOOK_S, Now, decide
from bough.capacity.market import offers_of, usable
from bough.capacity.models import AUTO, START, WAIT, Situation
from bough.capacity.planning import Plan, plan
from bough.capacity.pools import Pools
from bough.capacity.rules import NONE, Ask, Market, Planner
from bough.capacity.zones import MarketSeen, look_at_all
from bough.kernel.clock import VirtualClock
from bough.kernel.platform import PoolSettings

HOUR = 3600.0
UP: MarketSeen = look_at_all(MarketSeen(), {"a": True}, 0.0)
ASK = Ask(time_left=40.0, work_left=20.0, changeover=0.1, on_demand=3.0, spot={"a": 1.0}, tick=0.05)


class Begun:
    """Planning that ends when the test says so."""

    def __init__(self) -> None:
        self.asked: list[Market] = []
        self.coming: list[Future[Plan]] = []

    def __call__(self, market: Market, time_h: float, slack_h: float) -> Future[Plan]:
        self.asked.append(market)
        self.coming.append(Future())
        return self.coming[-1]

    def end(self) -> None:
        self.coming[-1].set_result(plan(self.asked[-1], 40.0, 20.0, steps=40))


@pytest.fixture
def begun() -> Begun:
    return Begun()


@pytest.fixture
def planner(begun: Begun) -> Planner:
    return Planner(begun, first_s=0.0)


def test_until_its_first_plan_is_there_a_job_stays_as_it_is(begun: Begun, planner: Planner) -> None:
    for running in (NONE, ON_DEMAND):
        choice = planner.choose(ASK._replace(running=running), UP)
        assert (choice.kind, choice.coming) == (running, True)
    begun.end()
    choice = planner.choose(ASK, UP)
    assert (choice.kind, choice.coming) == (SPOT, False)


def test_the_plan_before_answers_until_the_next_is_there(begun: Begun, planner: Planner) -> None:
    planner.choose(ASK, UP)
    begun.end()
    before = planner.choose(ASK, UP).cost
    dearer = ASK._replace(spot={"a": 1.2})
    assert [planner.choose(dearer, UP).cost for _ in range(2)] == [before] * 2
    assert len(begun.asked) == 2, "one is made at a time"
    begun.end()
    assert planner.choose(dearer, UP).cost > 1.05 * before
    assert len(begun.asked) == 2, "a plan for these prices is there"


def test_a_plan_that_fails_leaves_the_one_before(begun: Begun, planner: Planner) -> None:
    planner.choose(ASK, UP)
    begun.end()
    before = planner.choose(ASK, UP)
    planner.choose(ASK._replace(time_left=38.5), UP)
    begun.coming[-1].set_exception(MemoryError("no room"))
    assert planner.choose(ASK, UP) == before


def test_without_any_plan_a_failure_means_on_demand_until_one_can_be_made(begun: Begun, planner: Planner) -> None:
    planner.choose(ASK, UP)
    begun.coming[-1].set_exception(MemoryError("no room"))
    choice = planner.choose(ASK, UP)
    assert (choice.kind, choice.failure) == (ON_DEMAND, "MemoryError: no room")
    planner.choose(ASK._replace(running=ON_DEMAND), UP)
    begun.end()
    choice = planner.choose(ASK._replace(running=ON_DEMAND), UP)
    assert (choice.kind, choice.failure) == (SPOT, "")


def test_the_deadline_needs_no_plan(begun: Begun, planner: Planner) -> None:
    choice = planner.choose(ASK._replace(time_left=20.1), UP)
    assert (choice.kind, choice.forced) == (ON_DEMAND, True)
    assert not begun.asked


class Slow:
    """Planning that waits, once it is told to hold, until it is let go."""

    def __init__(self) -> None:
        self.free, self.entered = threading.Event(), threading.Event()
        self.free.set()
        self.threads: list[str] = []

    def __call__(self, market: Market, time_h: float, slack_h: float) -> Plan:
        self.threads.append(threading.current_thread().name)
        self.entered.set()
        self.free.wait(30.0)
        return plan(market, time_h, slack_h)


def pools(folder: Path, clock: VirtualClock, slow: Slow) -> Pools:
    settings = {
        "spot": PoolSettings(kind="spot", provider="replay", zones={"a": 1.0}),
        "sure": PoolSettings(kind="on-demand", zones={"a": 3.0}),
    }
    offers = {name: offers_of(name, pool, settings) for name, pool in settings.items()}
    providers: dict[str, Provider] = {
        "spot": ReplayProvider(folder / "spot", clock, offers["spot"], {"a": of_spells([(True, 9.0), (False, 1.0)])}),
        "sure": LocalProvider(folder / "sure", clock, offers["sure"]),
    }
    return Pools(providers, folder / "seen.json", clock, slow)


def job(clock: VirtualClock) -> Situation:
    return Situation(holder="jr_1", capacity=AUTO, work_left_s=20 * HOUR, deadline=clock.now() + 40 * HOUR)


def test_a_decision_neither_makes_a_plan_nor_waits_for_another_one(tmp_path: Path) -> None:
    clock, slow = VirtualClock(), Slow()
    every = pools(tmp_path, clock, slow)
    asked = job(clock)
    assert every.decide(asked).action == START, "the first plan is waited for"
    clock.advance(2 * HOUR)
    slow.free.clear()
    slow.entered.clear()
    assert every.decide(asked).action == START
    assert slow.entered.wait(30.0), "a new plan is being made"
    assert every.decide(asked).action == START
    slow.free.set()
    every.close()
    assert len(slow.threads) == 2 and all(name.startswith("planning") for name in slow.threads)


def test_nobody_else_waits_while_a_job_waits_for_its_first_plan(tmp_path: Path) -> None:
    clock, slow = VirtualClock(), Slow()
    every = pools(tmp_path, clock, slow)
    slow.free.clear()
    found: list[str] = []
    first = threading.Thread(target=lambda: found.append(every.decide(job(clock)).action))
    first.start()
    assert slow.entered.wait(30.0)
    every.look()
    simple = Situation(holder="jr_2", capacity=ON_DEMAND)
    assert every.decide(simple).action == START
    assert not found
    slow.free.set()
    first.join(30.0)
    assert found == [START]
    every.close()


def test_what_has_no_plan_yet_is_asked_for_again_soon(begun: Begun, planner: Planner) -> None:
    clock = VirtualClock()
    spot = Offer(pool="spot", zone="a", kind=SPOT, price_per_h=1.0)
    sure = Offer(pool="sure", zone="a", kind=ON_DEMAND, price_per_h=3.0)
    seen = look_at_all(MarketSeen(), {"spot/a": True}, clock.now() / HOUR)
    now = Now(at=clock.now(), usable=usable([spot, sure], []), offered=frozenset([spot.key, sure.key]), seen=seen)
    decision = decide(job(clock), now, lambda: planner)
    assert (decision.action, decision.why, decision.again_s) == (WAIT, "waits: its plan is being made", LOOK_S[0])
    begun.coming[-1].set_exception(MemoryError("no room"))
    decision = decide(job(clock), now, lambda: planner)
    assert (decision.action, decision.offer) == (START, sure)
    assert decision.why == "on-demand, because no plan could be made (MemoryError: no room)"
