"""Every second is counted once, under the centre of its workload, and the centres sum to the whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bough.adapters.accelerators.fake import FakeAccelerators
from bough.adapters.engine.fake import Behaviour
from bough.costs import rules
from bough.costs.models import GROUPINGS, CostLine, Prices, Reading
from bough.entrypoints.cli import costsaying
from bough.entrypoints.cli.session import Session
from bough.kernel.errors import Exhausted, Invalid
from bough.kernel.paying import DATABASE, SERVICE, Meter, Payer, label
from bough.kernel.platform import Platform, PoolSettings
from bough.runtime.spec import UnitSpec
from tests.plane import ADMIN, Plane

CORES = {"cores": PoolSettings(kind="on-demand", zones={"a": 8.0}, cpus=8)}  # 1 for a core and an hour
WEB = Payer(project="p", environment="e", cost_center="c", kind=SERVICE, workload="web")
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
    return plane.bough.operations.call("costs.show", {"project": "shop", **fields}, ADMIN)


def test_services_and_jobs_are_paid_for_by_their_centres_and_these_sum_to_the_whole(plane: Plane) -> None:
    plane.behaviour["churn"] = Behaviour(cpu=0.5)
    plane.deploy(FILE)
    made = plane.call("jobs.run", project="shop", job="nightly")
    plane.let_pass(2.0)
    plane.engine.crash(made.id + "-0", code=0)
    plane.let_pass(60.0)
    report = shown(plane)
    lines = {line.workload: line for line in report.lines if line.kind != "build"}
    assert {name: line.cost_center for name, line in lines.items()} == {
        "web": "storefront", "churn": "inference", "nightly": "data",
    }  # fmt: skip
    assert lines["web"].cost == pytest.approx(2 * lines["web"].seconds / 3600), "two cores for as long as it ran"
    assert 45 < lines["web"].seconds <= 65 and lines["churn"].cpu_s == pytest.approx(lines["churn"].seconds / 2)
    assert sum(each.cost for each in report.groups) == pytest.approx(report.cost)
    assert sum(each.seconds for each in report.groups) == pytest.approx(report.seconds)
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
    (web,) = [line for line in shown(again).lines if (line.kind, line.workload) == (SERVICE, "web")]
    ran = next(each for each in again.units() if each.labels["service"] == "web")
    assert 0 < web.seconds <= again.clock.now() - ran.started_at


def test_a_service_of_another_centre_is_paid_for_by_that_one_from_then_on(plane: Plane) -> None:
    plane.deploy(FILE)
    plane.let_pass(40.0)
    before = {line.cost_center: line for line in shown(plane).lines if (line.kind, line.workload) == (SERVICE, "web")}
    plane.deploy(FILE.replace("storefront", "shop-eu"))
    plane.let_pass(40.0)
    after = {line.cost_center: line for line in shown(plane).lines if (line.kind, line.workload) == (SERVICE, "web")}
    assert set(before) == {"storefront"} and set(after) == {"storefront", "shop-eu"}
    assert after["shop-eu"].seconds > 0 and after["storefront"].seconds <= before["storefront"].seconds + 20
    only = shown(plane, center="shop-eu")
    assert [each.name for each in only.groups] == ["shop-eu"]


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
    before, after = Reading(seconds=30.0, cpu_s=9.0), Meter(key="a/1", payer=WEB, seconds=31.0, cpu_s=0.0)
    assert rules.grown(before, after) == Reading(seconds=1.0)
    assert rules.together(before, after) == Reading(seconds=31.0, cpu_s=9.0)


SUMMED = ("seconds", "cpu_s", "gpu_s", "cost")
AMOUNTS = st.floats(0, 1e6)
LINES = st.lists(
    st.tuples(
        st.integers(20_000, 20_003),
        st.builds(
            CostLine, project=st.sampled_from("pq"), cost_center=st.sampled_from("abc"),
            environment=st.sampled_from("mn"),
            kind=st.sampled_from([SERVICE, DATABASE]), workload=st.text("xyz", max_size=2),
            tags=st.dictionaries(st.sampled_from(["team", "tier"]), st.sampled_from("uv")), seconds=AMOUNTS,
            cpu_s=AMOUNTS, gpu_s=AMOUNTS, cost=AMOUNTS,
        ),
    )
)  # fmt: skip


@given(LINES, st.sampled_from([*GROUPINGS, "tag:team", "tag:nobody-has-it"]))
def test_whatever_it_is_grouped_by_groups_and_lines_sum_to_the_whole(
    found: list[tuple[int, CostLine]], by: str
) -> None:
    report = rules.report(found, 0.0, by)
    for name in SUMMED:
        whole = sum(getattr(line, name) for _, line in found)
        assert getattr(report, name) == pytest.approx(whole)
        assert sum(getattr(each, name) for each in report.groups) == pytest.approx(whole)
        assert sum(getattr(each, name) for each in report.lines) == pytest.approx(whole)
    assert sum(each.share for each in report.groups) == pytest.approx(1.0 if report.cost else 0.0)
    assert len({each.name for each in report.groups}) == len(report.groups)


def test_cores_that_are_kept_and_devices_are_paid_for_while_they_are_there_and_else_what_was_worked() -> None:
    prices = Prices(core_hour=0.1, device_hour=lambda: 3.0)
    kept = Meter(key="a/1", payer=msgspec.structs.replace(WEB, cores=2.0), devices=0.5)
    hour = Reading(seconds=3600.0, cpu_s=36.0, gpu_s=360.0)
    assert rules.usage(kept, hour, prices).cost == pytest.approx(2 * 0.1 + 0.5 * 3.0)
    worked = Meter(key="b/1", payer=WEB)
    assert rules.usage(worked, hour, prices).cost == pytest.approx(0.01 * 0.1)


def test_a_device_costs_what_the_price_book_says_of_its_kind() -> None:
    pools = [
        PoolSettings(kind="on-demand", zones={"a": 24.0}, accelerators=["h100:8"]),
        PoolSettings(kind="on-demand", zones={"a": 1.0, "b": 1.5}, accelerators=["t4"]),
        PoolSettings(kind="spot", zones={"a": 0.1}, accelerators=["h100"]),
    ]
    assert rules.device_hour(pools, {"h100"}) == 3.0
    assert rules.device_hour(pools, ["a10"]) == 1.0
    assert rules.device_hour([], []) == 0.0


def test_a_build_is_paid_for_by_the_workload_that_asked_for_it_and_grouped_by_its_tags(plane: Plane) -> None:
    plane.build_s = 2.0
    plane.deploy(FILE.replace("cost_center", 'tags = { team = "shop" }\ncost_center'))
    plane.let_pass(20.0)
    builds = [line for line in shown(plane).lines if line.kind == "build"]
    assert {(line.workload, line.cost_center) for line in builds} == {("web", "storefront"), ("churn", "inference")}
    assert [line.seconds for line in builds] == pytest.approx([2.0, 2.0], abs=0.2)
    by_team = shown(plane, by="tag:team")
    of_web = [line for line in by_team.lines if line.workload == "web"]
    assert {line.kind for line in of_web} == {SERVICE, "build"} and all(
        line.tags == {"team": "shop"} for line in of_web
    )
    assert {each.name: each.cost for each in by_team.groups}["shop"] == pytest.approx(sum(each.cost for each in of_web))


@pytest.mark.parametrize("disk", ["", "full"])
def test_what_ends_and_is_forgotten_between_two_looks_is_counted_once(plane: Plane, disk: str) -> None:
    """Also where it cannot be written down at first."""

    def full() -> None:
        refused.append(True)
        raise Exhausted("the disk is full", code="DISK_FULL", hint="make room")

    refused = list[bool]()
    plane.deploy(FILE)
    plane.let_pass(20.0)
    payer = msgspec.structs.replace(WEB, project="shop", environment="main", kind="gate", workload="churn")
    plane.engine.script("gr_1-gates", Behaviour(cpu=1.0))
    plane.engine.apply(UnitSpec(unit="gr_1-gates", attempt=1, kind="job", argv=["x"], labels=label(payer)))
    plane.let_pass(4.0)
    plane.engine.crash("gr_1-gates", code=0)
    ended = next(each for each in plane.engine.snapshot() if each.unit == "gr_1-gates")
    plane.bough.works.read_to_the_end.forget("gr_1-gates")
    if disk:
        plane.before_writing("costs", full)
    plane.let_pass(40.0)
    assert bool(refused) == bool(disk)
    (gates,) = [line for line in shown(plane).lines if line.kind == "gate"]
    assert ended.exit is not None and gates.seconds == pytest.approx(ended.exit.at - ended.started_at)
    assert gates.cpu_s == pytest.approx(gates.seconds)


def test_a_grouping_that_nobody_knows_is_refused_with_those_that_there_are(plane: Plane) -> None:
    with pytest.raises(Invalid) as raised:
        shown(plane, by="mood")
    assert raised.value.own_code == "GROUPING_UNKNOWN" and "tag:NAME" in raised.value.hint


def test_a_service_on_a_device_pays_for_it_beside_its_cores(tmp_path: Path) -> None:
    pools = CORES | {"cards": PoolSettings(kind="on-demand", zones={"a": 36.0}, accelerators=["h100:2"])}
    devices = FakeAccelerators("h100:1")
    plane = Plane(tmp_path, platform=Platform(pools=pools), accelerators=devices)
    plane.deploy(FILE.replace("resources = { cpus = 2 }", "resources = { cpus = 2, gpus = 0.5 }"))
    plane.let_pass(40.0)
    (web,) = [line for line in shown(plane).lines if (line.kind, line.workload) == (SERVICE, "web")]
    assert web.seconds > 20 and web.cost == pytest.approx(web.seconds / 3600 * (2 * 1.0 + 0.5 * 18.0))
