"""Releases come to life as a whole or not at all, and come back after anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bough.adapters.engine import EXITED
from bough.adapters.engine.fake import Behaviour
from bough.app import Bough
from bough.data.views import Views
from bough.kernel.context import Context
from bough.kernel.errors import Conflict, Invalid
from bough.kernel.platform import Platform
from bough.runtime.spec import Failure
from tests.plane import Plane

ONE = 'name = "shop"\n[services.churn]\nmodel = "service:Churn"\n'
TWO = ONE + '[services.api]\ncommand = "python app.py"\n'


@pytest.fixture
def plane(tmp_path: Path) -> Plane:
    return Plane(tmp_path)


def test_a_release_is_live_once_every_service_answers(plane: Plane) -> None:
    plane.behaviour["api"] = Behaviour(ready_after_s=5.0)
    release = plane.deploy(TWO, seconds=3)
    assert release.state == "starting"
    assert plane.routes() == []
    plane.let_pass(6)
    assert plane.release(release).state == "live"
    assert {route.service for route in plane.routes()} == {"churn", "api"}


def test_deploying_the_same_again_is_the_same_release_and_builds_nothing(plane: Plane) -> None:
    first = plane.deploy(ONE)
    assert plane.create(ONE).id == first.id
    assert len(plane.built) == 1


def test_a_second_release_restarts_only_what_changed(plane: Plane) -> None:
    plane.deploy(TWO)
    before = set(plane.running())
    plane.deploy(TWO.replace("python app.py", "python app.py --new"))
    churn, api = (next(route for route in plane.routes() if route.service == name) for name in ("churn", "api"))
    assert churn.targets[0].unit in before
    assert api.targets[0].unit not in before
    assert len(plane.running()) == 2


def test_more_replicas_are_added_beside_the_running_ones(plane: Plane) -> None:
    plane.deploy(ONE)
    first = plane.running()
    release = plane.deploy(ONE + "replicas = 3\n")
    assert release.state == "live"
    assert set(first) < set(plane.running())
    assert len(plane.routes()[0].targets) == 3
    plane.deploy(ONE)
    assert plane.running() == first


def test_a_release_that_cannot_load_fails_and_the_old_one_serves_on(plane: Plane) -> None:
    good = plane.deploy(ONE)
    routes, units = plane.routes(), plane.running()
    failure = Failure(code="LOAD_FAILED", message="no such file: model.skops", hint="commit the model")
    plane.behaviour["churn"] = Behaviour(ready_after_s=None, exit_after_s=0.1, code=1, failure=failure)
    bad = plane.deploy(ONE, content="two")
    assert bad.state == "failed"
    assert (bad.failure["code"], bad.failure["service"]) == ("LOAD_FAILED", "churn")
    assert plane.release(good).state == "live"
    assert plane.routes() == routes
    assert plane.running() == units


def test_a_release_whose_replicas_keep_dying_is_given_up(plane: Plane) -> None:
    plane.behaviour["churn"] = Behaviour(ready_after_s=None, exit_after_s=0.05, code=3)
    release = plane.deploy(ONE, seconds=6)
    assert release.state == "failed"
    assert release.failure["code"] == "REPLICA_EXITED"
    assert plane.running() == []


def test_a_release_that_is_never_ready_fails_when_its_time_is_over(plane: Plane) -> None:
    plane.behaviour["churn"] = Behaviour(ready_after_s=None)
    made = plane.create(ONE + "health_timeout_s = 8\n")
    plane.let_pass(9)
    assert plane.release(made).state == "starting"
    plane.let_pass(9)
    assert plane.release(made).failure["code"] == "NOT_READY_IN_TIME"


def test_a_build_that_fails_fails_the_release_and_can_be_tried_again(plane: Plane) -> None:
    plane.builds_fail = Failure(code="PACKAGE_NOT_FOUND", message="no package nosuch", hint="check requirements.txt")
    assert plane.deploy(ONE).failure["code"] == "PACKAGE_NOT_FOUND"
    plane.builds_fail = None
    assert plane.deploy(ONE).state == "live"


def test_a_load_that_failed_can_be_tried_again(plane: Plane) -> None:
    failure = Failure(code="LOAD_FAILED", message="the database does not answer")
    plane.behaviour["churn"] = Behaviour(ready_after_s=None, exit_after_s=0.1, code=1, failure=failure)
    assert plane.deploy(ONE).failure["code"] == "LOAD_FAILED"
    plane.behaviour["churn"] = Behaviour()
    plane.engine.script(plane.units()[0].unit, Behaviour())
    assert plane.deploy(ONE).state == "live"


def test_a_service_that_fails_keeps_the_others_of_its_release_from_going_live(plane: Plane) -> None:
    plane.deploy(ONE)
    plane.behaviour["api"] = Behaviour(ready_after_s=None, exit_after_s=0.05, code=1)
    assert plane.deploy(TWO, seconds=6).state == "failed"
    assert [route.service for route in plane.routes()] == ["churn"]


def test_a_newer_release_overtakes_one_that_is_still_starting(plane: Plane) -> None:
    plane.behaviour["churn"] = Behaviour(ready_after_s=60.0)
    slow = plane.deploy(ONE)
    plane.behaviour["churn"] = Behaviour()
    fast = plane.deploy(ONE, content="two")
    assert (plane.release(slow).state, plane.release(fast).state) == ("overtaken", "live")
    assert len(plane.running()) == 1


def test_rollback_brings_back_the_same_manifest_without_building(plane: Plane) -> None:
    first = plane.deploy(ONE)
    second = plane.deploy(ONE, content="two")
    built = len(plane.built)
    back = plane.call("releases.rollback", project="shop")
    plane.let_pass(3)
    assert plane.release(back).state == "live"
    assert (back.digest, back.rolled_back_to) == (first.digest, 1)
    assert len(plane.built) == built
    assert plane.release(second).state == "superseded"
    again = plane.call("releases.rollback", project="shop", to=2)
    plane.let_pass(3)
    assert plane.release(again).digest == second.digest


def test_rollback_takes_back_a_deployment_at_the_moment_of_its_end(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever winds it down has looked at it before, and must not write over what was decided since."""
    plane.deploy(ONE)
    back: list[Any] = []
    remove = Views.remove

    def removing(views: Views, owner: str) -> None:
        remove(views, owner)
        if not back:
            back.append(plane.call("releases.rollback", project="shop"))
            plane.bough.loop.run_until_idle()  # as another thread does

    monkeypatch.setattr(Views, "remove", removing)
    plane.deploy(ONE, content="two")
    plane.let_pass(3)
    assert plane.release(back[0]).state == "live" and len(plane.running()) == 1


def test_a_replica_that_dies_after_the_clock_was_set_back_by_days_is_started_again_at_once(plane: Plane) -> None:
    plane.deploy(ONE)
    (unit,) = plane.running()
    plane.engine.crash(unit)
    plane.let_pass(3)
    plane.clock.advance(-3 * 86_400.0)
    for _ in range(2):
        plane.engine.crash(unit)
        plane.let_pass(5)
        assert plane.running() == [unit]


def test_a_rollout_has_the_time_that_has_passed_and_not_what_the_clock_says(plane: Plane) -> None:
    plane.behaviour["churn"] = Behaviour(ready_after_s=6.0)
    slow = plane.create(ONE + "health_timeout_s = 8\n")
    plane.let_pass(3)
    plane.set_clock(3 * 86_400.0)
    plane.let_pass(6)
    assert plane.release(slow).state == "live"
    plane.behaviour["churn"] = Behaviour(ready_after_s=None)
    never = plane.create(ONE + "health_timeout_s = 8\n", content="two")
    plane.let_pass(3)
    plane.set_clock(-3 * 86_400.0)
    plane.let_pass(15)
    assert plane.release(never).failure["code"] == "NOT_READY_IN_TIME"


def test_rollback_skips_releases_that_never_served(plane: Plane) -> None:
    first = plane.deploy(ONE)
    plane.behaviour["churn"] = Behaviour(ready_after_s=None, exit_after_s=0.05, code=1)
    plane.deploy(ONE, content="bad", seconds=6)
    plane.behaviour["churn"] = Behaviour()
    plane.deploy(ONE, content="three")
    assert plane.call("releases.rollback", project="shop").digest == first.digest


def test_there_is_nothing_to_roll_back_before_the_second_release(plane: Plane) -> None:
    with pytest.raises(Conflict) as caught:
        plane.call("releases.rollback", project="shop")
    assert caught.value.own_code == "NOTHING_LIVE"
    plane.deploy(ONE)
    with pytest.raises(Conflict) as caught:
        plane.call("releases.rollback", project="shop")
    assert caught.value.own_code == "NOTHING_BEFORE"


def test_a_crashed_replica_comes_back_and_restarts_are_spaced(plane: Plane) -> None:
    plane.deploy(ONE)
    unit = plane.running()[0]
    starts = []
    for _ in range(6):
        plane.engine.crash(unit)
        began = plane.clock.now()
        while not plane.running():
            plane.let_pass(0.1)
        starts.append(plane.clock.now() - began)
    assert starts == sorted(starts)
    assert starts[0] < 0.5 < starts[-1]
    plane.let_pass(60)
    plane.engine.crash(unit)
    plane.let_pass(0.5)
    assert plane.running() == [unit]


def test_a_control_plane_that_starts_again_changes_nothing(plane: Plane, tmp_path: Path) -> None:
    plane.deploy(TWO)
    routes, units = plane.routes(), plane.running()
    plane.bough.database.close()
    plane.bough = Bough(tmp_path / "home", Platform(), engine=plane.engine, clock=plane.clock)
    plane.let_pass(3)
    assert (plane.routes(), plane.running()) == (routes, units)


def test_a_machine_that_lost_everything_gets_the_same_releases_back(plane: Plane) -> None:
    plane.deploy(TWO)
    routes = plane.routes()
    for unit in plane.running():
        plane.engine.crash(unit)
    plane.let_pass(3)
    assert [each.state for each in plane.units() if each.state == EXITED] == []
    assert {route.service for route in plane.routes()} == {route.service for route in routes}


def test_environments_do_not_see_each_other(plane: Plane) -> None:
    plane.deploy(ONE)
    staging = plane.deploy(ONE + "[environments.staging.services.churn]\nreplicas = 2\n", environment="staging")
    assert staging.number == 2  # the first is what it inherited
    assert {(route.environment, len(route.targets)) for route in plane.routes()} == {("main", 1), ("staging", 2)}


def test_a_release_needs_its_files(plane: Plane) -> None:
    with pytest.raises(Invalid) as caught:
        plane.call("releases.create", file=ONE, bundles={})
    assert caught.value.own_code == "BUNDLE_MISSING"
    with pytest.raises(Invalid) as caught:
        plane.call("releases.create", file=ONE, bundles={".": "0" * 64})
    assert caught.value.own_code == "BLOBS_MISSING"


def test_a_bad_project_file_is_refused_with_its_line(plane: Plane) -> None:
    with pytest.raises(Invalid) as caught:
        plane.create(ONE + "replica = 2\n")
    assert caught.value.fields["line"] == 4
    assert "did you mean 'replicas'" in caught.value.message


def test_who_follows_a_release_to_which_requests_come_already_is_told_so_at_once(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A branch's release has one event: that it is routed."""
    plane.deploy(ONE)
    plane.call("environments.create", project="shop", branch="trial")
    plane.let_pass(1.0)
    (release,) = plane.call("releases.list", project="shop", environment="trial")
    pauses: list[float] = []

    def pause(_: Context, seconds: float) -> None:
        pauses.append(seconds)
        assert len(pauses) < 3

    monkeypatch.setattr(Context, "pause", pause)
    said = list(plane.call("releases.follow", id=release.id))
    assert (said[-1].kind, said[-1].state) == ("done", "live")


def test_routes_follow_settings_that_need_no_restart(plane: Plane) -> None:
    plane.deploy(ONE)
    units = plane.running()
    plane.deploy(ONE + "timeout_s = 3\nqueue_size = 7\n")
    assert (plane.routes()[0].timeout_s, plane.routes()[0].queue_size) == (3.0, 7)
    assert plane.running() == units


def test_the_older_project_keeps_the_bare_name_and_the_other_gets_an_address_of_its_own(plane: Plane) -> None:
    plane.deploy(ONE)
    plane.clock.advance(1.0)
    plane.deploy(ONE.replace("shop", "attic"))
    plane.deploy(ONE.replace("shop", "attic") + "timeout_s = 3\n", environment="staging")
    assert {(each.project, each.environment): each.bare for each in plane.routes()} == {
        ("shop", "main"): True,
        ("attic", "main"): False,
        ("attic", "staging"): True,
    }
    places = ({"project": "shop"}, {"project": "attic"}, {"project": "attic", "environment": "staging"})
    assert [plane.call("services.list", **place)[0].url.removeprefix("http://127.0.0.1:7400") for place in places] == [
        "/v1/churn/predict",
        "/v1/churn.attic/predict",
        "/v1/churn--staging.attic/predict",
    ]


def test_status_shows_what_serves_and_what_is_on_its_way(plane: Plane) -> None:
    plane.deploy(ONE)
    plane.behaviour["churn"] = Behaviour(ready_after_s=60.0)
    plane.deploy(ONE, content="two")
    status = plane.call("environments.status", project="shop")
    assert (status.release, status.rollout["state"]) == (1, "starting")
    assert [(each.service, each.ready, each.wanted) for each in status.services] == [("churn", 1, 1)]
    assert status.services[0].url == "http://127.0.0.1:7400/v1/churn/predict"


@pytest.mark.parametrize(("file", "warned"), [("m.joblib", True), ("m.skops", False)])
def test_a_model_that_can_run_code_is_warned_of_while_it_is_deployed(plane: Plane, file: str, warned: bool) -> None:
    release = plane.deploy(f'name = "shop"\n[services.churn]\nfile = "{file}"\ntrust = true\n')
    notes = [each.text for each in plane.call("releases.follow", id=release.id) if each.kind == "note"]
    assert release.state == "live" and bool(notes) == warned
    assert all("m.joblib is a pickle" in text and "skops.io.dump(model, 'm.skops')" in text for text in notes)
