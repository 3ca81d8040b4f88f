"""From a job's situation to a decision and the sentence for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from bough.adapters.capacity import ON_DEMAND, SPOT, Lease, Offer, Provider
from bough.adapters.capacity.availability import of_spells
from bough.adapters.capacity.local import LocalProvider
from bough.adapters.capacity.replay import ReplayProvider
from bough.capacity.changeovers import Changeover
from bough.capacity.deciding import Now, asked
from bough.capacity.market import LOCAL, offers_of, usable
from bough.capacity.models import AUTO, KEEP, MOVE, START, WAIT, Decision, Situation
from bough.capacity.planning import plan
from bough.capacity.pools import Pools
from bough.capacity.zones import MarketSeen
from bough.kernel.clock import VirtualClock
from bough.kernel.errors import Conflict, Unavailable
from bough.kernel.platform import PoolSettings

HOUR = 3600.0
Open = Callable[[], Pools]


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def reopen(tmp_path: Path, clock: VirtualClock) -> Open:
    """Spot in one zone, two hours there and one away in turns; on-demand at three times its price; this machine."""
    settings = {
        "spot": PoolSettings(kind="spot", provider="replay", zones={"a": 1.0}, accelerators=["v100"]),
        "sure": PoolSettings(kind="on-demand", zones={"a": 3.0}, accelerators=["v100", "k80"]),
    }
    offers = {name: offers_of(name, pool, settings) for name, pool in settings.items()}

    def open_() -> Pools:
        providers: dict[str, Provider] = {
            "spot": ReplayProvider(
                tmp_path / "spot", clock, offers["spot"], {"a": of_spells([(True, 2.0), (False, 1.0)])}
            ),
            "sure": LocalProvider(tmp_path / "sure", clock, offers["sure"]),
            LOCAL: LocalProvider(tmp_path / LOCAL, clock, [Offer(pool=LOCAL, zone="here", kind=ON_DEMAND)]),
        }
        return Pools(providers, tmp_path / "seen.json", clock, plan)

    return open_


def job(clock: VirtualClock, *, hours: float = 0.0, **other: object) -> Situation:
    """With a deadline after so many hours."""
    usual = {"holder": "jr_1", "capacity": AUTO, "accelerators": ["v100"], "work_left_s": 4 * HOUR}
    deadline = {"deadline": clock.now() + hours * HOUR} if hours else {}
    return msgspec.convert(usual | deadline | other, Situation)


def starts(usual_s: float, most_s: float = 0.0) -> Changeover:
    return Changeover(usual_s=usual_s, most_s=most_s or usual_s, measured=3)


def kind(decision: Decision) -> str:
    return decision.offer.kind if decision.offer is not None else ""


def test_on_demand_is_what_it_gets_when_it_asks_for_it(reopen: Open, clock: VirtualClock) -> None:
    decision = reopen().decide(job(clock, capacity=ON_DEMAND, hours=48.0))
    assert (decision.action, kind(decision)) == (START, ON_DEMAND)
    assert decision.offer is not None and decision.offer.pool == "sure", "pools come before this machine"


def test_the_first_type_of_the_list_that_there_is_is_taken(reopen: Open, clock: VirtualClock) -> None:
    decision = reopen().decide(job(clock, capacity=ON_DEMAND, accelerators=["h100", "k80", "v100"]))
    assert decision.offer is not None and decision.offer.accelerator == "k80"
    one = reopen().decide(job(clock, capacity=ON_DEMAND, accelerators=["V100:1"]))
    assert one.offer is not None and one.offer.accelerator == "v100", "one of them is meant when no number is said"
    nothing = reopen().decide(job(clock, accelerators=["h100"]))
    assert nothing.offer is not None and nothing.offer.pool == LOCAL, "this machine's own devices are looked at there"


def test_with_time_to_spare_it_takes_spot_and_waits_for_it_when_it_is_away(reopen: Open, clock: VirtualClock) -> None:
    decision = reopen().decide(job(clock, hours=48.0))
    assert (decision.action, kind(decision)) == (START, SPOT)
    assert "expected to stay" in decision.why
    assert 3.0 < decision.expected_cost < 12.0
    clock.advance(2.5 * HOUR)
    away = reopen().decide(job(clock, hours=48.0))
    assert (away.action, away.offer) == (WAIT, None)
    assert away.why.startswith("waits for spot")


def test_what_is_available_for_too_short_is_said_to_be_so(reopen: Open, clock: VirtualClock) -> None:
    """A start takes an hour, and twenty minutes are left beside it and the work: too few to lose one."""
    decision = reopen().decide(job(clock, hours=1.4, work_left_s=300.0, changeover=starts(HOUR)))
    assert (decision.action, decision.offer) == (WAIT, None)
    assert decision.why.startswith("waits: what is available is not expected to stay")


def test_without_time_to_spare_the_deadline_wins(reopen: Open, clock: VirtualClock) -> None:
    decision = reopen().decide(job(clock, hours=4.1))
    assert (decision.action, kind(decision), decision.late) == (START, ON_DEMAND, False)
    assert "deadline" in decision.why
    late = reopen().decide(job(clock, hours=3.0))
    assert (kind(late), late.late) == (ON_DEMAND, True)


def test_what_a_start_of_this_job_takes_decides_and_is_said(reopen: Open, clock: VirtualClock) -> None:
    quick = reopen().decide(job(clock, hours=4.39, changeover=starts(10.0)))
    assert kind(quick) == SPOT and "a start taken as 10 s" in quick.why
    slow = reopen().decide(job(clock, hours=4.39, changeover=starts(0.3 * HOUR)))
    assert kind(slow) == ON_DEMAND, "no room for another start after a loss"


def test_what_is_said_of_a_faster_market_is_said_in_the_time_of_the_job(clock: VirtualClock, tmp_path: Path) -> None:
    """Sixty times as fast: an hour of the market is a minute of the job."""
    settings = {
        "spot": PoolSettings(kind="spot", provider="replay", zones={"a": 1.0}, accelerators=["v100"], speed=60.0),
        "sure": PoolSettings(kind="on-demand", zones={"a": 3.0}, accelerators=["v100"], speed=60.0),
    }
    offers = {name: offers_of(name, pool, settings) for name, pool in settings.items()}
    market = ReplayProvider(tmp_path / "spot", clock, offers["spot"], {"a": of_spells([(True, 200.0), (False, 1.0)])})
    providers: dict[str, Provider] = {"spot": market, "sure": LocalProvider(tmp_path / "sure", clock, offers["sure"])}
    pools = Pools(providers, tmp_path / "seen.json", clock, plan)
    decision = pools.decide(job(clock, hours=0.2, work_left_s=300.0, changeover=starts(6.0)))
    assert "(7 min more than the work needs, a start taken as 6 s)" in decision.why, decision.why


def test_the_deadline_is_kept_with_long_starts_and_late_is_only_what_is(reopen: Open, clock: VirtualClock) -> None:
    usual = reopen().decide(job(clock, hours=4.3, changeover=starts(60.0)))
    assert kind(usual) == SPOT
    careful = reopen().decide(job(clock, hours=4.3, changeover=starts(60.0, 0.25 * HOUR)))
    assert (kind(careful), careful.late) == (ON_DEMAND, False)
    assert "deadline" in careful.why


def test_what_makes_steps_already_is_not_counted_as_starting(clock: VirtualClock) -> None:
    offer = Offer(pool="spot", zone="a", kind=SPOT, accelerator="v100", price_per_h=1.0)
    now = Now(at=clock.now(), usable=usable([offer], ["v100"]), offered=frozenset([offer.key]), seen=MarketSeen())
    held = Lease(id="l", holder="jr_1", offer=offer, state="held", acquired_at=clock.now() - 60.0)
    starting = asked(job(clock, hours=9, lease=held, changeover=starts(100.0)), now)
    under_way = asked(job(clock, hours=9, lease=held, changeover=starts(100.0), under_way=True), now)
    assert (starting.changeover_left, under_way.changeover_left) == (pytest.approx(40.0 / HOUR), 0.0)


def test_on_demand_is_left_for_spot_when_there_is_room_for_it(reopen: Open, clock: VirtualClock) -> None:
    pools = reopen()
    held = pools.acquire("jr_1", pools.decide(job(clock, capacity=ON_DEMAND)).offer)  # type: ignore[arg-type]
    clock.advance(600.0)
    decision = pools.decide(job(clock, hours=48.0, lease=held))
    assert (decision.action, kind(decision)) == (MOVE, SPOT)
    tight = pools.decide(job(clock, hours=4.1, lease=held))
    assert tight.action == KEEP


def test_what_runs_on_spot_stays_there_while_it_can(reopen: Open, clock: VirtualClock) -> None:
    pools = reopen()
    held = pools.acquire("jr_1", pools.decide(job(clock, hours=12.0)).offer)  # type: ignore[arg-type]
    clock.advance(1000.0)
    assert pools.decide(job(clock, hours=12.0, lease=held)).action == KEEP
    tight = pools.decide(job(clock, hours=4.1, lease=held))
    assert (tight.action, kind(tight)) == (MOVE, ON_DEMAND), "another loss would be too much"


def test_nothing_is_risked_while_the_work_is_not_known(reopen: Open, clock: VirtualClock) -> None:
    decision = reopen().decide(job(clock, hours=48.0, work_left_s=0.0))
    assert (decision.action, kind(decision)) == (START, ON_DEMAND)
    assert "not known" in decision.why


def test_without_a_deadline_spot_is_taken_or_waited_for_as_asked(reopen: Open, clock: VirtualClock) -> None:
    assert kind(reopen().decide(job(clock))) == SPOT
    clock.advance(2.5 * HOUR)
    assert kind(reopen().decide(job(clock))) == ON_DEMAND
    assert reopen().decide(job(clock, capacity=SPOT)).action == WAIT


def test_a_second_lease_is_refused_even_in_another_pool(reopen: Open, clock: VirtualClock) -> None:
    pools = reopen()
    spot, sure = pools.decide(job(clock, hours=48.0)).offer, pools.decide(job(clock, capacity=ON_DEMAND)).offer
    assert spot is not None and sure is not None
    lease = pools.acquire("jr_1", spot)
    with pytest.raises(Conflict):
        pools.acquire("jr_1", sure)
    assert reopen().leases() == [lease]
    pools.release(lease)
    assert pools.keep(lease).state == "lost"
    assert pools.acquire("jr_1", sure).offer == sure


def test_what_was_seen_of_zones_outlives_the_process(reopen: Open, clock: VirtualClock) -> None:
    pools = reopen()
    for _ in range(100):
        pools.look()
        clock.advance(180.0)
    before = pools.seen(["v100"])[1].zones["spot/a"].available
    pools.close()
    assert reopen().seen(["v100"])[1].zones["spot/a"].available == before
    assert sum(before.ends) >= 1


def test_a_decision_takes_less_than_a_millisecond_once_there_is_a_plan(reopen: Open, clock: VirtualClock) -> None:
    pools = reopen()
    began = time.process_time()
    pools.decide(job(clock, hours=92.0, work_left_s=48 * HOUR))
    assert time.process_time() - began < 2.0
    spent = []
    for _ in range(100):
        clock.advance(1.0)
        began = time.process_time()
        pools.decide(job(clock, hours=92.0, work_left_s=48 * HOUR))
        spent.append(time.process_time() - began)
    assert sorted(spent)[50] < 1e-3


def test_a_job_that_needs_what_nobody_has_is_told(clock: VirtualClock) -> None:
    found = usable([Offer(pool="p", zone="z", kind=ON_DEMAND, accelerator="k80")], ["h100"])
    assert not found.on_demand
    with pytest.raises(Unavailable) as refused:
        Pools({}, Path("/nowhere"), clock, plan).decide(Situation(holder="jr_1"))
    assert refused.value.own_code == "NO_POOL"


@pytest.mark.parametrize(("notice_s", "loss_s"), [(30.0, 0.5), (10.0, 300.0)])
def test_a_notice_that_is_too_short_for_the_disk_counts_as_none(
    clock: VirtualClock, notice_s: float, loss_s: float
) -> None:
    offer = Offer(pool="spot", zone="a", kind=SPOT, accelerator="v100", price_per_h=1.0, notice_s=notice_s)
    now = Now(at=clock.now(), usable=usable([offer], ["v100"]), offered=frozenset([offer.key]), seen=MarketSeen())
    ask = asked(job(clock, hours=9, save_s=0.5, to_disk_s=20.0, interval_s=300.0), now)
    assert ask.loss == pytest.approx(loss_s / HOUR)
