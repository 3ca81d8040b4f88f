"""Services and jobs that ask for accelerators, on one machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from bough.adapters.accelerators.fake import FakeAccelerators
from bough.adapters.engine.fake import Behaviour
from bough.kernel.errors import Invalid
from tests.plane import Plane

TOML = """name = "lab"
[services.api]
model = "service:Api"
health_timeout_s = 5
resources = { gpus = 1 }
"""
OTHER = TOML.replace('"lab"', '"other"').replace("services.api", "services.rank")
JOB = """
[jobs.fit]
command = "python fit.py"
resources = { gpus = 1, cpus = 0.1 }
"""


@pytest.fixture
def plane(tmp_path: Path) -> Plane:
    return Plane(tmp_path, accelerators=FakeAccelerators("t4:1"))


def devices(plane: Plane) -> dict[str, list[str]]:
    return {each.labels.get("service", each.labels.get("job", "")): each.devices for each in plane.units()}


def test_a_second_service_fails_in_words_and_a_release_of_the_first_takes_over(plane: Plane) -> None:
    assert plane.deploy(TOML).state == "live"
    failed = plane.deploy(OTHER, seconds=15.0)
    assert failed.state == "failed"
    assert failed.failure["code"] == "DEVICES_BUSY" and "held by api of lab/main" in failed.failure["message"]
    assert plane.deploy(TOML, content="two").state == "live"
    running = {each.unit: each.devices for each in plane.units() if each.state == "ready"}
    assert list(running.values()) == [["0"]]


def test_what_a_release_waits_for_is_told_while_it_waits(plane: Plane) -> None:
    plane.deploy(TOML)
    made = plane.create(OTHER)
    plane.let_pass(2.0)
    shown = plane.call("services.list", project="other") or []
    waiting = [each.waits for each in plane.units() if each.waits]
    assert shown == [] and waiting == ["waits for 1 GPU, held by api of lab/main"]
    stream = plane.call("releases.follow", id=made.id)
    notes = [next(each.text for each in stream if each.kind == "note")]
    assert notes == waiting


def test_more_than_the_machine_has_fails_at_once(plane: Plane) -> None:
    release = plane.deploy(TOML.replace("gpus = 1", "gpus = 2"))
    assert release.state == "failed" and release.failure["code"] == "DEVICES_TOO_FEW"


def test_a_job_waits_for_the_device_of_a_service_and_a_service_for_that_of_a_job(plane: Plane) -> None:
    plane.engine.script_by(lambda spec: Behaviour(exit_after_s=30.0) if spec.unit.startswith("jr_") else None)
    plane.deploy(TOML + JOB)
    run = plane.call("jobs.run", project="lab", job="fit")
    plane.let_pass(3.0)
    assert plane.call("jobs.show", id=run.id).run.said == "waits for 0.1 cpus, 1 GPU of this machine"
    plane.deploy(TOML.replace("gpus = 1", "gpus = 0") + JOB)
    assert plane.call("jobs.show", id=run.id).run.state == "running"
    failed = plane.deploy(TOML, content="two", seconds=13.0)
    assert "held by the job fit" in failed.failure["message"]
    plane.let_pass(20.0)
    assert plane.deploy(TOML, content="three").state == "live"


def test_shares_of_two_services_are_on_one_device(plane: Plane) -> None:
    plane.deploy(TOML.replace("gpus = 1", "gpus = 0.5"))
    assert plane.deploy(OTHER.replace("gpus = 1", "gpus = 0.5")).state == "live"
    assert devices(plane) == {"api": ["0"], "rank": ["0"]}


@pytest.mark.parametrize(
    ("resources", "said"),
    [("{ gpus = 1.5 }", "neither whole ones nor a share"), ('{ accelerators = ["t4"] }', "only jobs choose")],
)
def test_what_makes_no_sense_is_refused_with_its_line(plane: Plane, resources: str, said: str) -> None:
    with pytest.raises(Invalid, match=said) as refused:
        plane.create(TOML.replace("{ gpus = 1 }", resources))
    assert refused.value.detail().fields["line"] == 5
