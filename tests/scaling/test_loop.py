"""The rule at work on a control plane: what the gateway says becomes replicas, decisions and a table."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bough.adapters.engine.fake import Behaviour
from bough.gateway.models import LaneState, Route
from bough.gateway.telemetry.metrics import LATENCY_S
from bough.kernel.scale import USUAL, Slot, floor_of
from bough.queues.models import QueueState
from bough.scaling import rules, scaled, store
from bough.scaling.models import Minute
from bough.serving import store as serving
from tests.plane import Plane

FILE = 'name = "shop"\n[services.churn]\nmodel = "service:Churn"\nscale = {{ {} }}\n'


@pytest.fixture
def plane(tmp_path: Path) -> Plane:
    return Plane(tmp_path)


class Traffic:
    """A gateway that says so much; each request takes `service_s` of a replica."""

    def __init__(self, plane: Plane, service_s: float = 0.5) -> None:
        self.plane, self.service_s = plane, service_s
        self.arrived, self.idle_s = 0, 0.0
        self.buckets = [0] * (len(LATENCY_S) + 1)

    def second(self, requests: int, *, queued: int = 0, taken: int = 0, asleep: bool | None = None) -> None:
        self.arrived += requests
        self.idle_s = 0.0 if requests else self.idle_s + 1.0
        seen = route(self.plane)
        shown = seen.asleep if asleep is None else asleep
        self.plane.lanes = [LaneState(
            deployment=seen.deployment, queued=queued, in_flight=min(requests, 4), links=1, arrived=self.arrived,
            begun=self.arrived, answered=self.arrived, busy_s=self.arrived * self.service_s, taken=taken,
            oldest_s=2.0 if queued else 0.0, idle_s=self.idle_s, asleep=shown,
            buckets=[each * self.arrived for each in self.buckets],
        )]  # fmt: skip
        self.plane.let_pass(0.1)
        self.plane.clock.advance(0.9)

    def seconds(self, count: int, requests: int) -> None:
        for _ in range(count):
            self.second(requests)


def service(plane: Plane) -> Any:
    return plane.call("services.show", project="shop", service="churn")


def deployment(plane: Plane) -> str:
    return str(service(plane).deployment)


def route(plane: Plane) -> Route:
    return plane.routes()[0]


def shown(plane: Plane) -> Any:
    return plane.call("scale.show", project="shop", service="churn")


def test_replicas_follow_traffic_up_and_down_within_bounds_and_nothing_is_deployed_anew(plane: Plane) -> None:
    plane.deploy(FILE.format("max = 6, warm = 0"))
    before = deployment(plane)
    traffic = Traffic(plane)
    traffic.seconds(20, 6)
    assert service(plane).wanted >= 4
    traffic.seconds(20, 60)
    assert service(plane).wanted == 6 and len(plane.running()) == 6
    traffic.seconds(80, 0)
    assert service(plane).wanted == 1
    assert (len(plane.running()), deployment(plane)) == (1, before)


def test_every_change_is_kept_with_its_inputs_and_its_reason(plane: Plane) -> None:
    plane.deploy(FILE.format("max = 6"))
    traffic = Traffic(plane)
    traffic.seconds(20, 6)
    found = shown(plane)
    assert found.decisions and found.curve
    for each in found.decisions:
        assert each.why in each.needs or each.why == "bound"
    last = found.decisions[-1]
    assert last.needs["load"] > 2.0, "six requests of half a second each"
    assert last.needs["now"] <= last.active + rules.ROUNDING
    assert last.needs[last.why] <= last.active + last.pool + rules.ROUNDING
    assert (found.active, found.pool) == (last.active, last.pool)


def test_the_warm_pool_runs_is_marked_and_becomes_active_by_a_line_in_the_table(plane: Plane) -> None:
    plane.deploy(FILE.format("max = 8, buffer = 2"))
    traffic = Traffic(plane)
    traffic.seconds(5, 1)
    first = route(plane)
    warm = [each.unit for each in first.targets if each.warm]
    assert len(warm) >= 2 and set(warm) <= set(plane.running())
    traffic.seconds(10, 8)
    active = [each.unit for each in route(plane).targets if not each.warm]
    assert set(active) & set(warm)
    attempts = {each.unit: each.attempt for each in plane.units()}
    assert all(attempts[unit] == 1 for unit in warm), "they were used as they were"


def test_what_the_gateway_took_from_the_pool_by_itself_stays_active(plane: Plane) -> None:
    plane.deploy(FILE.format("max = 8, buffer = 3"))
    traffic = Traffic(plane, service_s=0.01)
    traffic.seconds(3, 1)
    traffic.second(1, queued=5, taken=2)
    assert shown(plane).active >= 3


def test_cpu_gpu_and_latency_ask_for_replicas_that_the_load_alone_does_not(plane: Plane) -> None:
    plane.behaviour["churn"] = Behaviour(cpu=1.0)
    plane.deploy(FILE.format("max = 6, warm = 0, latency = 0.2"))
    traffic = Traffic(plane, service_s=0.001)
    traffic.seconds(5, 1)
    found = shown(plane).decisions
    assert found[0].why == "cpu" and found[0].needs["cpu"] > 1 and found[0].seen.cpu > 0.9
    plane.behaviour["churn"] = Behaviour()
    slow = [0] * len(LATENCY_S) + [0]
    slow[LATENCY_S.index(0.5)] = 1
    traffic.buckets = slow
    traffic.seconds(3, 1)
    assert shown(plane).decisions[-1].needs["latency"] > 1
    assert shown(plane).decisions[-1].seen.latency_s == 0.5
    plane.behaviour["churn"] = Behaviour(gpu=1.0)
    plane.deploy(FILE.format("max = 6, warm = 0"), content="on a device")
    traffic.buckets = [0] * (len(LATENCY_S) + 1)
    traffic.seconds(5, 1)
    last = shown(plane).decisions[-1]
    assert last.why in ("gpu", "bound") and last.needs["gpu"] > 1 and last.seen.gpu > 0.9 and "cpu" not in last.needs


def test_replicas_follow_the_items_of_a_queue_and_go_when_none_waits_any_more(plane: Plane) -> None:
    """The lane is given a few of them at a time, and says nothing of those that wait behind."""
    plane.deploy(FILE.format("min = 0, max = 6, warm = 0") + "sleep_after_s = 20\n")
    traffic = Traffic(plane)

    def waiting(ready: int) -> None:
        seen = QueueState(
            project="shop", environment="main", queue="orders", service="churn", deployment=deployment(plane),
            depth=500, ready=ready, age_s=5.0,
        )  # fmt: skip
        plane.queues = [seen, QueueState(**{**msgspec.structs.asdict(seen), "deployment": "another", "ready": 500})]

    waiting(0)
    traffic.seconds(8, 1)
    assert service(plane).wanted <= 2, "delayed ones, and those of another service, need nobody yet"
    waiting(500)
    traffic.seconds(3, 1)
    last = shown(plane).decisions[-1]
    assert (service(plane).wanted, last.needs["queue"] > 6, last.seen.queued, last.seen.oldest_s) == (6, True, 500, 5.0)
    assert len(plane.running()) == 6
    plane.queues = []
    traffic.seconds(60, 0)
    assert (service(plane).state, plane.running()) == ("asleep", [])


def test_a_gateway_that_is_silent_changes_nothing(plane: Plane) -> None:
    plane.deploy(FILE.format("max = 6, warm = 0"))
    Traffic(plane).seconds(20, 6)
    before = service(plane).wanted
    plane.lanes = None
    plane.clock.advance(120)
    plane.let_pass(2)
    assert service(plane).wanted == before > 1


def test_without_max_a_service_keeps_its_replicas(plane: Plane) -> None:
    plane.deploy('name = "shop"\n[services.churn]\nmodel = "service:Churn"\nreplicas = 2\n')
    Traffic(plane).seconds(20, 200)
    assert service(plane).wanted == 2 and not shown(plane).decisions


def test_other_bounds_are_taken_without_new_processes(plane: Plane) -> None:
    plane.deploy(FILE.format("max = 6, warm = 0"))
    traffic = Traffic(plane)
    traffic.seconds(30, 60)
    before = deployment(plane)
    plane.deploy(FILE.format("max = 3, warm = 0"))
    traffic.seconds(3, 60)
    assert (service(plane).wanted, deployment(plane)) == (3, before)


def test_advice_is_simulated_from_the_traffic_that_was_kept(plane: Plane) -> None:
    plane.deploy(FILE.format("max = 12"))
    traffic = Traffic(plane)
    traffic.seconds(130, 6)
    found = plane.call("scale.advise", project="shop", service="churn")
    assert sum(each.chosen for each in found.proposals) == 1
    assert {each.late_cost for each in found.proposals} == {0.0, 3.0, 10.0, 100.0}, "what is set now among others"
    assert 500 < found.requests <= 130 * 6 and found.service_s == pytest.approx(0.5)
    assert found.setting.startswith("scale = {") and "max = 12" in found.setting


def test_advice_says_so_where_max_is_what_makes_people_wait(plane: Plane) -> None:
    """A proposal by which many are late, without a word of it, would be followed."""
    plane.deploy(FILE.format("max = 2, warm = 0"))
    traffic = Traffic(plane)
    traffic.seconds(130, 12)
    found = plane.call("scale.advise", project="shop", service="churn")
    tried = [(each.max, each.late <= 0.01) for each in found.proposals]
    assert not any(good for most, good in tried if most == 2) and any(good for most, good in tried if most > 2)
    [chosen] = [each for each in found.proposals if each.chosen]
    assert chosen.late <= 0.01 and chosen.max > 2 and f"max = {chosen.max}" in found.setting


def test_advice_is_of_the_busiest_hours_and_says_of_how_many(plane: Plane) -> None:
    plane.deploy(FILE.format("max = 4"))
    now = int(plane.clock.now() // 60)
    with plane.bough.database.write() as tx:
        for hour, count in ((30, 1), (20, 9), (1, 1)):
            minute = Minute(minute=now - hour * 60, counts=[count] + [0] * 59, service_s=0.1, late=0, slots=1)
            store.passed(tx, ("shop", "main", "churn"), minute)
    found = plane.call("scale.advise", project="shop", service="churn", hours=48.0)
    assert (found.requests, found.hours, round(found.looked_at)) == (9, 6.0, 29)
    found = plane.call("scale.advise", project="shop", service="churn", hours=2.0)
    assert (found.requests, found.hours) == (1, found.looked_at)


def test_advice_lets_what_may_sleep_sleep_on(plane: Plane) -> None:
    plane.deploy(FILE.format("min = 0, max = 8"))
    Traffic(plane).seconds(130, 4)
    found = plane.call("scale.advise", project="shop", service="churn")
    assert {each.min for each in found.proposals} == {0}
    assert "min = 0" in found.setting


def test_a_wake_is_among_the_decisions_so_that_the_curve_and_the_budget_know_of_it(plane: Plane) -> None:
    plane.deploy(FILE.format("min = 0, max = 1") + "sleep_after_s = 20\n")
    traffic = Traffic(plane)
    traffic.seconds(3, 1)
    traffic.seconds(40, 0)
    assert service(plane).state == "asleep"
    assert shown(plane).decisions[-1].why == "asleep"
    assert (shown(plane).active, shown(plane).pool) == (0, 0)
    plane.engine.wake(deployment(plane) + "-0")
    traffic.seconds(4, 1)
    assert service(plane).state == "ready"
    found = shown(plane)
    assert [(each.why, each.active) for each in found.decisions] == [("asleep", 0), ("woken", 1)]
    assert found.curve[-1].active == 1


@pytest.mark.parametrize(("scale", "there"), [("min = 0, max = 3", (1, 0)), ("min = 0, max = 3, buffer = 1", (1, 1))])
def test_what_may_sleep_and_is_awake_is_not_decided_on_again_and_again(
    plane: Plane, scale: str, there: tuple[int, int]
) -> None:
    """One answers as long as it is awake. A wish for none would never come true, and be written down each second."""
    plane.deploy(FILE.format(scale))
    traffic = Traffic(plane)
    traffic.seconds(2, 1)
    traffic.seconds(100, 0)
    found = shown(plane)
    traffic.seconds(30, 0)
    assert service(plane).state == "ready"
    assert len(shown(plane).decisions) == len(found.decisions) < 10
    assert (shown(plane).active, shown(plane).pool) == there


def test_a_service_that_may_sleep_learns_how_long_it_is_quiet_and_is_awake_before_the_next_call(plane: Plane) -> None:
    plane.deploy(FILE.format("min = 0"))
    traffic = Traffic(plane)
    states: list[str] = []
    for _ in range(9):  # a call every 40 minutes
        traffic.seconds(1, 1)
        for minutes in (15, 15, *[1] * 10):
            traffic.idle_s += 60.0 * minutes - 3
            plane.clock.advance(60.0 * minutes - 3)
            traffic.seconds(3, 0)  # the gateway and the loops agree within seconds
            states.append(service(plane).state)
    assert states[-1] == "ready", "it is awake when the next call is due"
    assert states[-12:].count("asleep") > 5, "and asleep most of the time before"


def test_what_a_release_replaces_while_it_is_made_ready_for_its_next_call_does_not_stay_behind(plane: Plane) -> None:
    plane.deploy(FILE.format("min = 0"))
    traffic = Traffic(plane)
    before = deployment(plane)

    def quiet(minutes: float) -> None:
        traffic.idle_s += 60.0 * minutes - 3
        plane.clock.advance(60.0 * minutes - 3)
        traffic.seconds(3, 0)

    for _ in range(9):  # a call every 40 minutes
        traffic.seconds(1, 1)
        quiet(20)
        quiet(20)
    traffic.seconds(1, 1)
    quiet(20)
    assert service(plane).state == "asleep"

    def replaced() -> bool:
        return service(plane).state == "asleep" and bool(plane.deploy(FILE.format("min = 0"), content="two"))

    plane.before_writing("idleness", replaced)
    for minutes in (17, 1, 1):
        quiet(minutes)
        plane.let_pass(5)
    with plane.bough.database.read() as tx:
        assert serving.get(tx, before).state == "stopped"  # type: ignore[union-attr]
    assert len(plane.running()) == 1


def test_a_budget_bounds_the_replicas_and_is_remembered_when_the_server_begins_anew(tmp_path: Path) -> None:
    plane = Plane(tmp_path)
    plane.clock.advance(86_400 - plane.clock.now() % 86_400)  # a day begins
    plane.deploy(FILE.format("max = 9, warm = 0, budget = 27"))
    traffic = Traffic(plane)
    traffic.seconds(30, 30)
    assert shown(plane).active == 4, "24 hours of one, and 3 more"
    plane.clock.advance(3600)
    traffic.plane = plane = Plane(tmp_path, after=plane)
    traffic.seconds(3, 30)
    plane.clock.advance(60)
    traffic.seconds(3, 30)
    assert shown(plane).active == 1, "3 hours of 3 more are spent"
    assert (shown(plane).decisions[-1].why, shown(plane).decisions[-1].needs["budget"]) == ("budget", 1)
    plane.clock.advance(86_400)
    traffic.seconds(30, 30)
    assert shown(plane).active > 1, "another day"


def test_a_schedule_wakes_a_service_that_sleeps_and_lets_it_sleep_again_after_its_hours(plane: Plane) -> None:
    def hour(after_s: float) -> str:
        return time.strftime("%H:%M", time.localtime(plane.clock.now() + after_s))

    slot = f'{{at = "{hour(7200)}", until = "{hour(10_800)}", min = 2}}'
    plane.deploy(FILE.format(f"min = 0, max = 4, warm = 0, schedule = [{slot}]"))
    traffic = Traffic(plane)
    traffic.second(1)

    def pass_quietly(seconds: float) -> None:
        traffic.idle_s += seconds - 10
        plane.clock.advance(seconds - 10)
        traffic.seconds(10, 0)

    pass_quietly(3600)
    pass_quietly(1800)
    assert (service(plane).state, plane.running()) == ("asleep", [])
    pass_quietly(1900)
    assert service(plane).state == "ready" and len(plane.running()) == 2, "nobody has asked"
    pass_quietly(1000)
    assert len(plane.running()) == 2
    pass_quietly(3600)
    pass_quietly(600)
    assert (service(plane).state, plane.running()) == ("asleep", [])


def test_schedules_hold_on_their_days_and_times_and_over_midnight() -> None:
    day = time.mktime((2026, 11, 27, 9, 0, 0, 0, 0, -1))  # a Friday
    office = Slot(days="mon-fri", at="08:00", until="18:00", min=4)
    night = Slot(days="fri", at="22:00", until="06:00", min=2)
    assert floor_of((office, night), day) == 4
    assert floor_of((office, night), day + 10 * 3600) == 0
    assert floor_of((office, night), day + 14 * 3600) == 2
    assert floor_of((office, night), day + 20 * 3600) == 2, "Saturday morning belongs to Friday's night"
    assert floor_of((office, night), day + 24 * 3600) == 0


def test_a_service_that_nobody_asks_is_looked_at_no_more_than_each_half_minute(plane: Plane) -> None:
    plane.deploy(FILE.format("max = 6, warm = 0"))
    traffic = Traffic(plane)
    traffic.seconds(100, 0)
    before = plane.asked_gateway
    traffic.seconds(300, 0)
    assert plane.asked_gateway - before <= 10


def test_the_first_request_after_a_rest_is_seen_in_its_second(plane: Plane) -> None:
    plane.deploy(FILE.format("max = 6, warm = 0"))
    traffic = Traffic(plane)
    traffic.seconds(120, 0)
    traffic.seconds(4, 60)
    found = shown(plane)
    assert found.active == 6
    assert found.decisions[-1].at > plane.clock.now() - 5


@pytest.mark.parametrize("scale", ["max = 6, warm = 0", "max = 6", "max = 6, budget = 20.0"])
def test_a_rest_changes_no_decision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scale: str) -> None:
    """Beside one that is looked at every second."""

    def decided(folder: Path) -> list[tuple[float, int, int, str]]:
        plane = Plane(folder)
        plane.deploy(FILE.format(scale))
        traffic, begin = Traffic(plane), plane.clock.now()
        for seconds, requests in ((20, 12), (80, 0), (8, 30), (150, 0), (2, 4), (700, 0), (2, 30), (40, 0)):
            traffic.seconds(seconds, requests)
        return [(round(each.at - begin), each.active, each.pool, each.why) for each in shown(plane).decisions]

    rested = decided(tmp_path / "rested")
    monkeypatch.setattr(scaled, "SILENT_S", 10_000_000)
    assert rested == decided(tmp_path / "looked at")
    assert len(rested) > 3


def test_the_weight_of_a_late_request_is_among_a_decisions_inputs(plane: Plane) -> None:
    plane.deploy(FILE.format("max = 6, warm = 0"))
    Traffic(plane).seconds(20, 6)
    assert [each.late_cost for each in shown(plane).decisions] == [USUAL] * len(shown(plane).decisions)
    plane.deploy(FILE.format("max = 6, warm = 0, late_cost = 25"), content="two")
    Traffic(plane).seconds(20, 6)
    assert shown(plane).decisions[-1].late_cost == 25.0
