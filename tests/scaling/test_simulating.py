"""The simulator, and our rule in it beside others."""

from __future__ import annotations

import math
import random
from statistics import mean

import msgspec
import pytest

from bough.kernel.errors import Invalid, TooLarge
from bough.kernel.scale import USUAL, Scale, Step
from bough.scaling import peers, traces
from bough.scaling.clairvoyant import least_cost
from bough.scaling.models import BOUND, LOAD, Costs, Observation, Outlook, Wish
from bough.scaling.policy import BUSY, Autoscaler, decide
from bough.scaling.replaying import POLICIES, Simulate, replayed
from bough.scaling.simulating import Arrival, Outcome, Policy, Terms, Trace, simulate


class Always:
    def __init__(self, active: int, pool: int = 0) -> None:
        self.wished, self.seen = Wish(active=active, pool=pool), list[Observation]()

    def wish(self, seen: Observation) -> Wish:
        self.seen.append(seen)
        return self.wished


def every(seconds: float, count: int, service_s: float) -> Trace:
    arrivals = [Arrival(number * seconds, service_s) for number in range(count)]
    return Trace(name="even", seconds=math.ceil(seconds * count), arrivals=arrivals)


def traffic(*rates: float, service_s: float = 0.5, seed: int = 1) -> Trace:
    """Poisson, a rate for each second."""
    draw = random.Random(seed)
    counts = [max(0, round(draw.gauss(rate, math.sqrt(rate)))) for rate in rates]
    return traces.of_counts("traffic", counts, service_s=service_s, seed=seed)


def run(trace: Trace, policy: Policy) -> Outcome:
    return simulate(trace, policy, Terms(first=max(1, math.ceil(trace.arrivals[0].service_s * 10))))


def test_one_replica_that_is_just_enough_keeps_nobody_waiting_and_costs_its_seconds() -> None:
    found = simulate(every(0.5, 200, 0.5), Always(1))
    assert (found.late, found.cost, found.waited_s) == (0, 100.0, pytest.approx(0.0))


def test_requests_wait_in_the_order_in_which_they_came_and_late_ones_are_counted() -> None:
    """Ten at once, a second each, one replica: waits are 0 to 9 s; more than 1 s: eight."""
    trace = Trace(name="burst", seconds=20, arrivals=[Arrival(0.0, 1.0)] * 10)
    found = simulate(trace, Always(1))
    assert (found.late, found.waited_s) == (8, 45.0)


def test_where_few_may_wait_whoever_has_waited_longest_gives_up() -> None:
    trace = Trace(name="burst", seconds=20, arrivals=[Arrival(0.0, 1.0)] * 10)
    found = simulate(trace, Always(1), Terms(held=3))
    assert (found.late, found.waited_s) == (1, 3.0), "three were answered: at once, after 1 s and after 2 s"


def test_a_new_replica_costs_while_it_starts_and_answers_after_that() -> None:
    watching = Always(2)
    found = simulate(every(1.0, 100, 0.5), watching, Terms(start_s=30.0))
    assert [each.active for each in watching.seen[28:33]] == [1, 1, 1, 2, 2]
    assert found.cost == 1 + 2 * 99


def test_the_pool_is_started_ahead_costs_little_and_is_there_at_once() -> None:
    class Burst(Always):
        def wish(self, seen: Observation) -> Wish:
            super().wish(seen)
            return Wish(active=4) if seen.at >= 60 else Wish(active=1, pool=3)

    watching = Burst(1)
    found = simulate(every(1.0, 100, 0.5), watching, Terms(start_s=30.0))
    assert [each.active for each in watching.seen[59:62]] == [1, 4, 4]
    assert found.cost == pytest.approx(1 * 60 + 3 * 30 + 0.3 * 29 + 4 * 40, abs=1.0)


def test_a_start_that_is_under_way_goes_on_for_whoever_needs_it() -> None:
    class Mind(Always):
        def wish(self, seen: Observation) -> Wish:
            super().wish(seen)
            many = Wish(active=3) if 60 <= seen.at < 75 else Wish(active=1, pool=1)
            return many if seen.at >= 60 else Wish(active=1)

    watching = Mind(1)
    simulate(every(1.0, 120, 0.5), watching, Terms(start_s=30.0))
    at = {each.at: each for each in watching.seen}
    assert (at[75.0].starting, at[76.0].starting, at[76.0].pool_starting) == (2, 0, 1)
    assert (at[90.0].pool, at[91.0].pool) == (0, 1), "30 s after it was begun"


def test_a_replica_that_is_given_up_finishes_what_it_has() -> None:
    trace = Trace(name="long", seconds=100, arrivals=[Arrival(59.5, 10.0), Arrival(59.6, 10.0)])
    found = simulate(trace, Always(1), Terms(first=2))
    assert found.late == 0 and found.cost == pytest.approx(61 + 100 + 8.5, abs=1.5)


def test_nobody_undercuts_the_clairvoyant() -> None:
    trace = traffic(*[20.0] * 300, *[60.0] * 300)
    least = least_cost(trace)
    assert trace.work_s <= least + 1.0
    for policy in (Autoscaler(Scale(max=100)), peers.KnativeKpa(), peers.RayServe()):
        found = run(trace, policy)
        assert found.violations > 0.05 or found.cost > 0.99 * least


def test_smooth_traffic_costs_little_more_than_the_clairvoyant_and_hardly_anybody_is_late() -> None:
    trace = traffic(*(120.0 + 40.0 * math.sin(second / 600) for second in range(2400)))
    found = simulate(trace, Autoscaler(Scale(max=1000, warm=0)), Terms(first=70))
    assert found.violations < 0.01
    assert found.cost < 1.12 * least_cost(trace)


def bursts() -> Trace:
    draw, rates = random.Random(5), list[float]()
    while len(rates) < 3600:
        rates += [6.0] * int(draw.uniform(100, 250)) + [36.0] * int(draw.uniform(40, 120))
    return traffic(*rates[:3600])


def test_bursts_cost_less_than_with_the_usual_rule_and_make_fewer_people_wait() -> None:
    trace = bursts()
    usual = run(trace, peers.KnativeKpa())
    alone, pooled = (run(trace, Autoscaler(Scale(max=1000, warm=warm))) for warm in (0, -1))
    assert alone.cost < 0.97 * usual.cost and alone.late < usual.late
    assert pooled.cost < usual.cost and pooled.late < usual.late / 10


def test_with_a_pool_the_margin_of_long_requests_waits_in_it() -> None:
    """Eight requests of 6 s at a time: without a pool five spare replicas answer for whoever comes next."""
    trace = traffic(*[1.3] * 3600, service_s=6.0)
    alone, pooled = (
        run(trace, Autoscaler(Scale(max=1000, warm=warm, late_cost=cost))) for warm, cost in ((0, USUAL), (-1, 0.0))
    )
    assert pooled.violations < 0.01
    assert mean(each[0] for each in pooled.curve) < 0.8 * mean(each[0] for each in alone.curve)


def decided(scale: Scale, *, load: float = 4.0, service_s: float = 0.5, lately: int = 0, **seen: float) -> Wish:
    outlook = Outlook(
        rate=load / service_s, service_s=service_s, load=load, ahead=load, kept=load, jump=0.0, peak=1.0,
        in_flight=load, lately=lately,
    )  # fmt: skip
    observed = Observation(at=100.0, arrived=round(load / service_s), in_flight=load)
    return decide(scale, Costs(activation_s=0.05), msgspec.structs.replace(observed, **seen), outlook)


def test_a_decision_at_the_most_names_what_asked_for_more_and_at_the_least_the_bound() -> None:
    """Whether more money or less work is the answer depends on what it was that asked."""
    assert decided(Scale(max=30, warm=0)).why == LOAD
    assert decided(Scale(max=3, warm=0)).why == f"{LOAD}, at max"
    assert decided(Scale(min=9, max=9, warm=0)).why == BOUND


def test_what_is_there_stays_in_the_pool_for_as_long_as_it_was_needed_lately_and_nothing_is_started_for_it() -> None:
    scale = Scale(max=100)
    usual = decided(scale, active=5, pool=20)
    stays = decided(scale, active=5, pool=20, lately=22)
    assert usual.active == stays.active and usual.active + usual.pool < 12
    assert stays.active + stays.pool == 22
    few = decided(scale, active=5, pool=7, lately=22)
    assert few.active + few.pool == 12
    assert usual.needed == stays.needed == few.needed, "so what stays is not needed by itself"


@pytest.mark.parametrize(
    ("signal", "seen", "need"),
    [
        ("load", {"load": 4.0}, 4.0),
        ("queue", {"load": 1.0, "queued": 60, "oldest_s": 5.0}, 5.0),
        ("in_flight", {"load": 9.0}, 9.0),
        ("cpu", {"cpu": 1.0}, 4 / BUSY),
        ("gpu", {"gpu": 1.0}, 4 / BUSY),
        ("latency", {"latency_s": 0.5}, 5.0),
    ],
)
def test_each_signal_asks_for_replicas_and_of_all_the_largest_need_wins(
    signal: str, seen: dict[str, float], need: float
) -> None:
    alone = decided(Scale(max=100, warm=0, latency=0.2, signals=(signal,)), **({"active": 4, "load": 1.0} | seen))
    assert alone.active >= need > 1 and set(alone.needs) - {"kept", "forecast", "jump"} == {signal}
    every = decided(Scale(max=100, warm=0, latency=0.2), **({"active": 4, "load": 1.0} | seen))
    assert set(every.needs) >= {"load", "in_flight", signal} and every.active >= alone.active
    assert every.needs[every.why] == max(every.needs.values())
    busy = decided(Scale(max=100, warm=0, latency=0.2), **({"load": 1.0} | seen | {"active": 40, "cpu": 1.0}))
    assert (busy.why, busy.active) == ("cpu", 47)


def test_no_more_replicas_are_used_than_requests_wait() -> None:
    long = {"service_s": 10.0, "active": 4, "queued": 3, "oldest_s": 0.9}
    assert decided(Scale(max=100), pool=50, **long).active == 7
    calm = decided(Scale(max=100, warm=0), service_s=10.0, active=4)
    assert decided(Scale(max=100, warm=0), **long).active <= calm.active + 3
    short = {"service_s": 0.01, "active": 4, "queued": 100, "oldest_s": 0.9}
    assert decided(Scale(max=100), pool=50, **short).active == 6, "two work off a second's work in half a second"


def test_who_may_wait_until_the_next_decision_needs_no_margin() -> None:
    patient, hasty = (decided(Scale(max=100, target=target), active=5, pool=9) for target in (2.0, 0.2))
    assert (patient.active, patient.needs["now"]) == (4, 4.0)
    assert hasty.active > 5
    free, bound = (decided(Scale(max=100, target=2.0, warm=warm), service_s=10.0, active=9) for warm in (-1, 1))
    assert free.active == 4 and free.pool > 3
    assert (bound.active, bound.pool) == (free.active + free.pool - 1, 1), "one can wait, so the rest of it answers"


def test_what_waits_is_not_load() -> None:
    """The same arrivals with a thousand times the queue ask for bounded help, and none once it is worked off."""
    calm, behind = Autoscaler(Scale(max=1000, warm=0)), Autoscaler(Scale(max=1000, warm=0))
    usual = Observation(at=0.0, arrived=10, begun=10, service_s=0.5, in_flight=5.0, active=7)
    for second in range(120):
        wish = calm.wish(usual)
        late = behind.wish(Observation(
            at=float(second), arrived=10, begun=10, service_s=0.5, in_flight=5.0, active=7, queued=1000, oldest_s=60.0,
        ))  # fmt: skip
    assert calm.outlook and behind.outlook and calm.outlook.load == behind.outlook.load
    assert wish.active < late.active < 50
    assert behind.wish(usual).active == wish.active


def test_bounds_hold_whatever_the_traffic() -> None:
    found = run(bursts(), Autoscaler(Scale(min=2, max=9, buffer=3)))
    assert max(sum(each) for each in found.curve) <= 9 and min(each[0] for each in found.curve) >= 2


def test_the_same_traffic_gives_the_same_curve() -> None:
    assert run(bursts(), Autoscaler(Scale(max=99))).curve == run(bursts(), Autoscaler(Scale(max=99))).curve


def test_traces_are_counts_or_requests_and_anything_else_is_refused() -> None:
    counts = traces.read("a", "count\n2\n0\n1\n", service_s=0.1, slots=1)
    assert (counts.seconds, [int(each.at) for each in counts.arrivals]) == (3, [0, 0, 2])
    timed = traces.read("b", "ms,context\n500,9\n1500,8\n", service_s=0.1, slots=1)
    assert [(each.at, each.service_s) for each in timed.arrivals] == [(0.5, 0.1), (1.5, 0.1)]
    pairs = traces.read("c", "0.5,2\n1.5,3\n", service_s=0.1, slots=1)
    assert [each.service_s for each in pairs.arrivals] == [2.0, 3.0]
    for text in ("", "count\n", "1\nmany\n", "-1,2\n", "0,0\n", "0,1e300\n", "fn,minutes\n1,2\n"):
        with pytest.raises(Invalid):
            traces.read("d", text, service_s=0.1, slots=1)


@pytest.mark.parametrize("heading", ["second,count", "timestamp,requests", "requests,time"])
def test_counts_beside_their_seconds_are_so_many_requests_each(heading: str) -> None:
    """Not one request for each line; times since 1970 count from the first, and seconds without a line are silent."""
    first = 1_700_000_000 if "time" in heading else 0
    rows = [(first, 5), (first + 2, 7), (first + 2, 1)]
    text = "\n".join(f"{b},{a}" if heading.startswith("requests") else f"{a},{b}" for a, b in rows)
    found = traces.read("a", f"{heading}\n{text}\n", service_s=0.1, slots=1)
    assert found.seconds == 3
    assert [int(each.at) for each in found.arrivals] == [0] * 5 + [2] * 8


def test_no_line_of_a_trace_is_passed_over() -> None:
    """A mark at the beginning of the file is no heading; fractions add up; what is no count is told with its line."""
    assert len(traces.read("a", "\ufeff5\n6\n", service_s=0.1, slots=1).arrivals) == 11
    assert len(traces.read("a", "0.4\n" * 10, service_s=0.1, slots=1).arrivals) == 4
    for wrong in ("-5", "nan", "inf", "1e999", "2;3"):
        with pytest.raises(Invalid, match="line 4"):
            traces.read("a", f"# of May\n1\n\n{wrong}\n", service_s=0.1, slots=1)


def test_traces_beyond_all_bounds_are_refused_before_they_take_memory() -> None:
    for text in ("1\n" * (traces.MOST_REQUESTS + 1), "1e9\n", "1e8,1\n", "second,count\n1e8,1\n", "0\n" * 1_000_001):
        with pytest.raises(TooLarge):
            traces.read("a", text, service_s=0.1, slots=1)


@pytest.mark.parametrize("policy", [each for each in POLICIES if each != "bough"])
def test_other_rules_keep_the_bounds_and_refuse_what_they_do_not_know(policy: str) -> None:
    """A bound that is given and not followed would make a comparison a lie."""
    text = "20\n" * 120
    bounded = replayed(Simulate(trace=text, service_s=1.0, start_s=1.0, policy=policy, scale=Scale(min=2, max=5)))
    assert max(each.active for each in bounded.curve[5:]) == 5
    step = Step(signal="queue", reaches=10.0, add=2)
    for scale, name in (
        (Scale(max=5, steps=(step,)), "steps"), (Scale(signals=()), "signals"), (Scale(warm=3), "warm"),
        (Scale(late_cost=7.0), "late_cost"),
    ):  # fmt: skip
        with pytest.raises(Invalid, match=f"{policy} .*{name}") as raised:
            replayed(Simulate(trace=text, policy=policy, scale=scale))
        assert raised.value.own_code == "POLICY_SETTINGS"


class Written:
    """Another policy, and what it saw and wished."""

    def __init__(self, policy: Policy) -> None:
        self.policy, self.rows = policy, list[tuple[Observation, Wish]]()

    def wish(self, seen: Observation) -> Wish:
        wish = self.policy.wish(seen)
        self.rows.append((seen, wish))
        return wish


def test_nothing_is_given_up_that_has_a_backlog_to_work_off() -> None:
    """A crowd comes, for as long as a start takes nobody can help, and whoever then does stays until all is done."""
    load, written = 80.0, Written(Autoscaler(Scale(max=1000, warm=0)))
    simulate(traffic(*[20.0] * 300, *[160.0] * 100), written, Terms(first=14))
    behind = [
        (seen, wish) for seen, wish in written.rows if load < seen.active < load + seen.queued * seen.service_s / 4
    ]
    assert len(behind) > 5
    assert all(wish.active >= seen.active for seen, wish in behind)
