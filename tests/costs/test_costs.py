"""Every second is counted once, under the centre of its workload, and the centres sum to the whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bough.adapters.engine.fake import Behaviour
from bough.costs import rules
from bough.costs.models import CostLine, Reading
from bough.entrypoints.cli import costsaying
from bough.entrypoints.cli.session import Session
from bough.kernel.platform import Platform, PoolSettings
from tests.plane import Plane

CORES = {"cores": PoolSettings(kind="on-demand", zones={"a": 8.0}, cpus=8)}  # 1 for a core and an hour
FILE = """name = "shop"
[services.web]
command = "serve"
cost_center = "storefront"
resources = { cpus = 2 }
[services.churn]
model = "service:Churn"
[jobs.nightly]
kind = "etl"
command = "x"
"""


@pytest.fixture
def plane(tmp_path: Path) -> Plane:
    return Plane(tmp_path, platform=Platform(pools=CORES))


def shown(plane: Plane, **fields: Any) -> Any:
    return plane.call("costs.show", project="shop", **fields)


def test_services_and_jobs_are_paid_for_by_their_centres_and_these_sum_to_the_whole(plane: Plane) -> None:
    plane.behaviour["churn"] = Behaviour(cpu=0.5)
    plane.deploy(FILE)
    made = plane.call("jobs.run", project="shop", job="nightly")
    plane.let_pass(2.0)
    plane.engine.crash(made.id + "-0", code=0)
    plane.let_pass(60.0)
    report = shown(plane)
    lines = {line.workload: line for line in report.lines}
    assert {name: line.cost_center for name, line in lines.items()} == {
        "web": "storefront", "churn": "inference", "nightly": "data",
    }  # fmt: skip
    assert lines["web"].cost == pytest.approx(2 * lines["web"].seconds / 3600), "two cores for as long as it ran"
    assert 45 < lines["web"].seconds <= 65 and lines["churn"].cpu_s == pytest.approx(lines["churn"].seconds / 2)
    assert sum(each.cost for each in report.centers) == pytest.approx(report.cost)
    assert sum(each.seconds for each in report.centers) == pytest.approx(report.seconds)
    said = costsaying.report(Session(), msgspec.json.decode(msgspec.json.encode(report)))
    assert all(word in said for word in ("storefront", "inference", "data", "all"))
    of_jobs = plane.call("jobs.costs", project="shop")
    assert [each.cost for each in of_jobs] == pytest.approx([lines["nightly"].cost])
    assert [each.seconds for each in of_jobs] == pytest.approx([lines["nightly"].seconds])


def test_nothing_is_counted_twice_by_a_server_that_starts_again(tmp_path: Path) -> None:
    plane = Plane(tmp_path, platform=Platform(pools=CORES))
    plane.deploy(FILE)
    plane.let_pass(40.0)
    again = Plane(tmp_path, platform=Platform(pools=CORES), after=plane)
    again.bough.start()
    again.bough.stop()
    again.let_pass(40.0)
    (web,) = [line for line in shown(again).lines if line.workload == "web"]
    ran = next(each for each in again.units() if each.labels["service"] == "web")
    assert 0 < web.seconds <= again.clock.now() - ran.started_at


def test_a_service_of_another_centre_is_paid_for_by_that_one_from_then_on(plane: Plane) -> None:
    plane.deploy(FILE)
    plane.let_pass(40.0)
    before = {line.cost_center: line for line in shown(plane).lines if line.workload == "web"}
    plane.deploy(FILE.replace("storefront", "shop-eu"))
    plane.let_pass(40.0)
    after = {line.cost_center: line for line in shown(plane).lines if line.workload == "web"}
    assert set(before) == {"storefront"} and set(after) == {"storefront", "shop-eu"}
    assert after["shop-eu"].seconds > 0 and after["storefront"].seconds <= before["storefront"].seconds + 20
    only = shown(plane, center="shop-eu")
    assert [each.cost_center for each in only.centers] == ["shop-eu"]


def test_what_was_counted_stays_when_its_environment_goes(plane: Plane) -> None:
    plane.deploy(FILE)
    plane.call("environments.create", project="shop", branch="feature")
    plane.deploy(FILE, content="two", environment="feature")
    plane.let_pass(40.0)
    kept = shown(plane, environment="feature").cost
    plane.call("environments.discard", project="shop", branch="feature")
    plane.let_pass(5.0)
    assert shown(plane, environment="feature").cost >= kept > 0


def test_a_meter_that_shows_less_than_before_adds_nothing() -> None:
    before, after = Reading(seconds=30.0, cpu_s=9.0), Reading(seconds=31.0, cpu_s=0.0)
    assert rules.grown(before, after) == Reading(seconds=1.0)
    assert rules.together(before, after) == Reading(seconds=31.0, cpu_s=9.0)


LINES = st.lists(
    st.builds(
        CostLine, cost_center=st.sampled_from("abc"), environment=st.just("main"), kind=st.just("service"),
        workload=st.text("xyz", max_size=2), seconds=st.floats(0, 1e6), cpu_s=st.just(0.0), gpu_s=st.just(0.0),
        cost=st.floats(0, 1e6),
    )
)  # fmt: skip


@given(LINES)
def test_centres_always_sum_to_the_whole(lines: list[CostLine]) -> None:
    found = rules.report(lines, 0.0)
    assert sum(each.cost for each in found.centers) == pytest.approx(found.cost)
    assert sum(each.seconds for each in found.centers) == pytest.approx(found.seconds)
    assert found.cost == pytest.approx(sum(each.cost for each in lines))
    assert sum(each.share for each in found.centers) == pytest.approx(1.0 if found.cost else 0.0)
