"""A budget tells of itself before and when it is spent; then nothing of its environment grows, and nothing ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bough.kernel import events
from bough.kernel.platform import Platform, PoolSettings
from tests.plane import Plane
from tests.scaling.test_loop import Traffic, service, shown

CORES = {"cores": PoolSettings(kind="on-demand", zones={"a": 8.0}, cpus=8)}  # 1 for a core and an hour
FILE = """name = "shop"
[services.churn]
model = "service:Churn"
scale = { max = 9, warm = 0 }
[jobs.nightly]
command = "x"
"""
MONTH_S = 31 * 86_400


@pytest.fixture
def plane(tmp_path: Path) -> Plane:
    return Plane(tmp_path, platform=Platform(pools=CORES))


def give(plane: Plane, budget: float) -> None:
    plane.call("environments.change", project="shop", branch="main", budget=budget)


def state(plane: Plane) -> Any:
    (found,) = plane.call("costs.budgets", project="shop")
    return found


def told(plane: Plane) -> list[str]:
    with plane.bough.database.read() as tx:
        return [each.name for each in events.read(tx, limit=10_000) if each.name in ("budget.near", "budget.reached")]


def spend(plane: Plane, traffic: Traffic, requests: int, until: str) -> None:
    for _ in range(600):
        if state(plane).state == until:
            return
        traffic.second(requests)
    raise AssertionError(f"after ten minutes {state(plane)}")


def test_it_is_told_once_before_it_is_spent_and_once_when_it_is_and_anew_when_it_is_raised(plane: Plane) -> None:
    plane.deploy(FILE)
    traffic = Traffic(plane)
    give(plane, 0.2)  # 720 s of a core
    assert (state(plane).state, told(plane)) == ("within", [])
    spend(plane, traffic, 1, "near")
    assert 0.8 <= state(plane).spent / 0.2 < 1.0
    traffic.seconds(2, 1)
    assert told(plane) == ["budget.near"]
    spend(plane, traffic, 1, "reached")
    traffic.seconds(40, 1)
    assert told(plane) == ["budget.near", "budget.reached"]
    give(plane, state(plane).spent * 1.1)
    traffic.seconds(2, 1)
    assert told(plane) == ["budget.near", "budget.reached", "budget.near"], "of the new one, which is nearly spent"
    give(plane, 1000.0)
    assert state(plane).state == "within"
    traffic.seconds(300, 1)  # after which one replica does
    plane.clock.advance(MONTH_S)
    traffic.seconds(2, 1)
    assert state(plane).spent < 1000.0 and told(plane)[3:] == [], "another month"


def test_at_the_limit_a_service_keeps_what_it_has_and_does_not_grow_until_the_budget_is_raised(plane: Plane) -> None:
    plane.deploy(FILE)
    traffic = Traffic(plane)
    traffic.seconds(70, 2)
    had = service(plane).replicas
    give(plane, 0.001)
    traffic.seconds(60, 30)
    last = shown(plane).decisions[-1]
    assert (last.why, last.needs["environment_budget"]) == ("environment_budget", len(had))
    assert len(service(plane).replicas) == len(had) >= 1
    refusals = [each for each in shown(plane).decisions if each.why == "environment_budget"]
    assert len(refusals) == 1, "it is said once, not every second"
    give(plane, 1000.0)
    traffic.seconds(30, 30)
    assert shown(plane).active > len(had)


def test_at_the_limit_what_is_not_needed_is_given_up_and_the_least_stays(plane: Plane) -> None:
    plane.deploy(FILE.replace("max = 9", "min = 2, max = 9, cooldown = 5"))
    traffic = Traffic(plane)
    traffic.seconds(70, 20)
    assert shown(plane).active > 2
    give(plane, 0.001)
    traffic.seconds(2000, 0)
    assert shown(plane).active == 2
    traffic.seconds(60, 20)
    assert shown(plane).active == 2


def test_at_the_limit_jobs_wait_with_a_reason_and_begin_when_it_is_raised(plane: Plane) -> None:
    plane.deploy(FILE)
    give(plane, 0.001)
    plane.let_pass(20.0)
    made = plane.call("jobs.run", project="shop", job="nightly")
    plane.let_pass(5.0)
    waits = plane.call("jobs.show", id=made.id).run
    assert waits.state == "queued" and "bough branch change main --budget" in waits.said
    give(plane, 1000.0)
    plane.let_pass(3.0)
    assert plane.call("jobs.show", id=made.id).run.state == "running"


def test_a_job_that_runs_goes_on_when_the_budget_is_spent(plane: Plane) -> None:
    plane.deploy(FILE)
    made = plane.call("jobs.run", project="shop", job="nightly")
    plane.let_pass(3.0)
    give(plane, 0.001)
    plane.let_pass(30.0)
    assert (state(plane).state, plane.call("jobs.show", id=made.id).run.state) == ("reached", "running")


def test_the_budget_of_one_environment_holds_no_other(plane: Plane) -> None:
    plane.deploy(FILE)
    plane.call("environments.create", project="shop", branch="feature")
    give(plane, 0.001)
    plane.let_pass(20.0)
    made = plane.call("jobs.run", project="shop", job="nightly", environment="feature")
    plane.let_pass(5.0)
    assert plane.call("jobs.show", id=made.id).run.state == "running"
