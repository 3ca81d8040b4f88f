"""What nobody asks for goes to sleep, what branches inherit begins asleep, and both can be woken without us."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from bough.adapters.engine import WOKEN_S
from bough.environments import store
from bough.gateway.models import LaneState
from bough.kernel import catalog
from bough.kernel.reconcile import wake
from bough.runtime.spec import Failure
from bough.serving import store as serving
from tests.plane import Plane

ONE = 'name = "shop"\n[services.churn]\nmodel = "service:Churn"\n'
TWO = ONE + '[services.api]\ncommand = "python app.py"\n'


@pytest.fixture
def plane(tmp_path: Path) -> Plane:
    return Plane(tmp_path)


def services(plane: Plane, environment: str = "try-it") -> dict[str, Any]:
    return {each.service: each for each in plane.call("services.list", project="shop", environment=environment)}


def lane(plane: Plane, idle_s: float, environment: str = "try-it", **fields: Any) -> None:
    """What the gateway says of churn; it is as asleep as the table."""
    deployment = services(plane, environment)["churn"].deployment
    asleep = next(each.asleep for each in plane.routes() if each.deployment == deployment)
    state = {"queued": 0, "in_flight": 0, "links": 1, "idle_s": idle_s, "asleep": asleep} | fields
    plane.lanes = [LaneState(deployment=deployment, **state)]


def branch(plane: Plane) -> None:
    plane.call("environments.create", project="shop", branch="try-it")
    plane.let_pass(1)


def awake(plane: Plane) -> None:
    """A branch with a service of its own, which runs."""
    plane.deploy(ONE)
    plane.deploy(ONE, content="two", environment="try-it")
    assert services(plane)["churn"].state == "ready"


def fall_asleep(plane: Plane) -> None:
    plane.clock.advance(300.0)
    lane(plane, 301.0)
    plane.let_pass(6)
    lane(plane, 306.0)
    plane.let_pass(1)
    assert services(plane)["churn"].state == "asleep"


def test_a_branch_starts_and_builds_nothing_and_can_be_woken(plane: Plane) -> None:
    plane.deploy(TWO)
    running, built = plane.running(), len(plane.built)
    branch(plane)
    assert (plane.running(), len(plane.built)) == (running, built)
    found = services(plane)
    assert {name: (each.state, each.ready) for name, each in found.items()} == {
        "churn": ("asleep", 0),
        "api": ("asleep", 0),
    }
    assert {each.state for each in plane.units() if each.unit not in running} == {"asleep"}
    routes = {each.service: each for each in plane.routes() if each.environment == "try-it"}
    assert all(each.asleep and len(each.targets) == 1 for each in routes.values())
    assert routes["churn"].signature == next(each.signature for each in plane.routes() if each.service == "churn")


def test_the_rows_of_a_branch_are_there_in_the_transaction_that_makes_it(plane: Plane) -> None:
    plane.deploy(TWO)
    plane.call("environments.create", project="shop", branch="try-it")
    assert {each.state for each in services(plane).values()} == {"asleep"}


def test_what_the_gateway_wakes_is_ready_again_and_falls_asleep_again(plane: Plane) -> None:
    plane.deploy(ONE)
    branch(plane)
    unit = services(plane)["churn"].deployment + "-0"
    for _ in range(2):
        plane.engine.wake(unit)
        lane(plane, 0.0)
        plane.let_pass(1)
        assert services(plane)["churn"].state == "ready"
        assert not any(each.asleep for each in plane.routes())
        plane.let_pass(WOKEN_S)
        fall_asleep(plane)
        assert unit not in plane.running()


def test_nobody_sleeps_while_somebody_asks_or_the_gateway_is_silent_and_production_never(plane: Plane) -> None:
    awake(plane)
    for fields in ({"idle_s": 299.0}, {"idle_s": 999.0, "in_flight": 1}, {"idle_s": 999.0, "queued": 1}):
        lane(plane, **fields)  # type: ignore[arg-type]
        plane.let_pass(7)
        assert services(plane)["churn"].state == "ready"
    plane.lanes = None
    plane.let_pass(400)
    assert services(plane)["churn"].state == "ready"
    lane(plane, 1e6, environment="main")
    plane.let_pass(7)
    assert services(plane, "main")["churn"].state == "ready"


def test_a_request_on_the_way_to_sleep_keeps_it_awake(plane: Plane) -> None:
    awake(plane)
    before = plane.running()
    lane(plane, 301.0, asleep=False)  # the gateway has not read the table yet
    plane.let_pass(6)
    assert (services(plane)["churn"].state, plane.running()) == ("asleep", before)
    lane(plane, 0.2)
    plane.let_pass(6)
    assert (services(plane)["churn"].state, plane.running()) == ("ready", before)
    assert not any(each.asleep for each in plane.routes())


def states_of(plane: Plane, environment: str = "try-it") -> list[str]:
    with plane.bough.database.read() as tx:
        return [each.state for each in serving.in_environment(tx, ("shop", environment), ended=True)]


def test_what_a_release_replaces_while_it_falls_asleep_does_not_stay_behind(plane: Plane) -> None:
    awake(plane)
    lane(plane, 301.0)
    plane.before_writing("sleep", lambda: plane.deploy(ONE, content="three", environment="try-it"))
    plane.let_pass(6)
    assert states_of(plane) == ["stopped", "stopped", "ready"] and len(plane.running()) == 2


def test_what_a_release_replaces_while_a_request_wakes_it_does_not_stay_behind(plane: Plane) -> None:
    awake(plane)
    lane(plane, 301.0, asleep=False)
    plane.let_pass(6)
    assert services(plane)["churn"].state == "asleep"
    lane(plane, 0.2)
    plane.before_writing("sleep", lambda: plane.deploy(ONE, content="three", environment="try-it"))
    plane.let_pass(6)
    assert states_of(plane) == ["stopped", "stopped", "ready"] and len(plane.running()) == 2


def test_production_may_be_told_to_sleep_and_a_branch_not_to(plane: Plane) -> None:
    plane.deploy(ONE + "sleep_after_s = 20\n")
    lane(plane, 21.0, environment="main")
    plane.let_pass(6)
    lane(plane, 27.0, environment="main")
    plane.let_pass(1)
    assert services(plane, "main")["churn"].state == "asleep"
    plane.deploy(ONE + "sleep_after_s = 0\n", content="two", environment="try-it")
    lane(plane, 9999.0)
    plane.let_pass(7)
    assert services(plane)["churn"].state == "ready"


def test_a_deploy_to_a_branch_wakes_only_what_it_changes(plane: Plane) -> None:
    plane.deploy(TWO)
    branch(plane)
    before = plane.running()
    release = plane.deploy(TWO.replace("python app.py", "python app.py --new"), environment="try-it")
    assert release.state == "live"
    assert {name: each.state for name, each in services(plane).items()} == {"churn": "asleep", "api": "ready"}
    assert len(plane.running()) == len(before) + 1


def test_what_fails_to_wake_says_why_and_can_be_woken_later(plane: Plane) -> None:
    plane.deploy(ONE)
    branch(plane)
    unit = services(plane)["churn"].deployment + "-0"
    plane.engine.wake(unit)
    plane.engine.crash(unit, code=1)
    plane.let_pass(1)
    found = services(plane)["churn"]
    assert (found.state, found.failure["code"]) == ("asleep", "REPLICA_EXITED")
    assert plane.engine.wake(unit).attempt == 2
    plane.let_pass(1)
    assert (services(plane)["churn"].state, services(plane)["churn"].failure) == ("ready", {})


def test_one_replica_that_is_woken_brings_the_others(plane: Plane) -> None:
    plane.deploy(ONE + "replicas = 3\n")
    branch(plane)
    before = len(plane.running())
    plane.engine.wake(services(plane)["churn"].deployment + "-1")
    plane.let_pass(1)
    assert len(plane.running()) == before + 3


def test_what_has_no_build_left_is_built_and_then_sleeps(plane: Plane) -> None:
    plane.builds_fail = Failure(code="PACKAGE_NOT_FOUND", message="no package nosuch")
    plane.deploy(ONE)
    with plane.bough.database.write() as tx:  # as if it had served once and its build were collected
        tx.exec_driver_sql("UPDATE environment SET live = (SELECT id FROM release)")
        tx.exec_driver_sql("UPDATE release SET state = 'live'")
        store.define_services(tx, store.live(tx, ("shop", "main"))[0], 0.0)  # type: ignore[index]
    plane.builds_fail = None
    plane.call("environments.create", project="shop", branch="try-it")
    assert services(plane)["churn"].state == "building"
    plane.let_pass(3)
    assert services(plane)["churn"].state == "asleep"
    assert plane.running() == []


def test_a_discarded_branch_leaves_no_unit_behind_and_may_come_again(plane: Plane) -> None:
    plane.deploy(TWO)
    before = {each.unit for each in plane.units()}
    branch(plane)
    plane.engine.wake(services(plane)["churn"].deployment + "-0")
    plane.let_pass(1)
    plane.call("environments.discard", project="shop", branch="try-it")
    plane.let_pass(3)
    assert {each.unit for each in plane.units()} == before
    assert {each.environment for each in plane.routes()} == {"main"}
    branch(plane)
    assert {each.state for each in services(plane).values()} == {"asleep"}
    plane.engine.wake(services(plane)["churn"].deployment + "-0")


def test_a_control_plane_that_starts_again_lets_them_sleep(plane: Plane) -> None:
    plane.deploy(ONE)
    branch(plane)
    routes, units = plane.routes(), plane.running()
    plane.bough.start()
    plane.bough.stop()
    assert (plane.routes(), plane.running()) == (routes, units)


def put(plane: Plane, text: str, environment: str = "try-it") -> None:
    file = {"path": "a", "digest": plane.bough.blobs.put(text.encode()), "size": len(text)}
    plane.call("files.commit", project="shop", dataset="words", files=[file], environment=environment)


def views(plane: Plane) -> list[str]:
    """What the views of the branch's service show, oldest first."""
    folder = plane.bough.home.views / services(plane)["churn"].deployment
    found = sorted(folder.glob("*/words/a"), key=lambda path: path.parent.parent.stat().st_ctime_ns)
    return [path.read_text() for path in found]


def seen_when_woken(plane: Plane) -> str:
    """What the unit would find in its dataset if it were woken now."""
    spec = plane.engine.next_spec(services(plane)["churn"].deployment + "-0")
    return (Path(spec.environment["BOUGH_DATA"]) / "words/a").read_text()


def settle(plane: Plane) -> None:
    """Views are laid out in a thread: real time passes, too."""
    for _ in range(20):
        plane.let_pass(0.1)
        time.sleep(0.01)


def with_data(plane: Plane) -> None:
    plane.call("projects.create", name="shop")
    put(plane, "one", "main")
    plane.deploy(ONE + 'data = ["words"]\n', seconds=0.1)
    settle(plane)
    branch(plane)
    settle(plane)


def test_what_sleeps_is_woken_with_the_data_of_then(plane: Plane) -> None:
    with_data(plane)
    assert (seen_when_woken(plane), views(plane)) == ("one", ["one"])
    for text in ("two", "three"):
        put(plane, text)
        settle(plane)
        assert (seen_when_woken(plane), views(plane)) == (text, [text])  # and no earlier view is left
    put(plane, "elsewhere", "main")
    settle(plane)
    assert (seen_when_woken(plane), views(plane)) == ("three", ["three"])
    plane.call("environments.reset", project="shop", branch="try-it")
    settle(plane)
    assert seen_when_woken(plane) == "elsewhere"


def test_a_view_stays_while_something_runs_in_it_and_the_next_start_sees_the_new_one(plane: Plane) -> None:
    with_data(plane)
    plane.engine.wake(services(plane)["churn"].deployment + "-0")
    put(plane, "two")
    settle(plane)
    assert sorted(views(plane)) in (["one"], ["one", "two"])
    fall_asleep(plane)
    settle(plane)
    assert seen_when_woken(plane) == "two" and "two" in views(plane)


def test_data_that_are_gone_and_come_back_are_shown_again(plane: Plane) -> None:
    with_data(plane)
    plane.call("files.remove", project="shop", path="words", environment="try-it")
    settle(plane)
    assert services(plane)["churn"].failure["code"] == "DATASET_NOT_FOUND"
    put(plane, "back")
    settle(plane)
    assert seen_when_woken(plane) == "back"


def test_data_that_change_all_the_time_are_not_laid_out_each_time(plane: Plane) -> None:
    with_data(plane)
    made, woken = set(views(plane)), set[str]()
    for number in range(40):
        put(plane, f"{number}")
        plane.let_pass(0.1)
        time.sleep(0.02)
        made |= set(views(plane))
        woken.add(seen_when_woken(plane))
    assert 3 <= len(woken) <= len(made) <= 7
    settle(plane)
    assert seen_when_woken(plane) == "39"


def test_a_server_that_begins_again_looks_at_the_data_of_what_sleeps(plane: Plane) -> None:
    """No event tells it what changed while it was down, or is lost."""
    with_data(plane)
    with plane.bough.database.write() as tx:
        layer = catalog.layer_of(tx, "shop", "try-it")
        value = {"digest": plane.bough.blobs.put(b"quietly"), "size": 7}
        catalog.commit(tx, layer, [catalog.Write(catalog.FILE, "words/a", value)], at=0.0, by="t", why="")
    settle(plane)
    assert seen_when_woken(plane) == "one"
    plane.let_pass(60.0)
    settle(plane)
    assert seen_when_woken(plane) == "quietly"


def test_replicas_that_traffic_had_asked_for_go_as_soon_as_the_service_sleeps(plane: Plane) -> None:
    """The gateway is given a second to read that they get no more requests; nobody waits for the next look, a minute
    later."""
    plane.deploy(ONE + "sleep_after_s = 20\nscale = { min = 0, max = 3 }\n")
    deployment = services(plane, "main")["churn"].deployment
    with plane.bough.database.write() as tx:
        serving.scaled(tx, deployment, plane.clock.now(), 3, 0)
        wake(tx, serving.KIND, deployment)
    plane.let_pass(2)
    assert len(plane.running()) == 3
    lane(plane, 27.0, environment="main", asleep=True)
    plane.let_pass(7)
    assert services(plane, "main")["churn"].state == "asleep"
    assert plane.running() == []
