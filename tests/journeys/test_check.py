"""`bough check container`, on the FastAPI example and on services that break what they promise."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.journeys.machine import Machine

EXAMPLE = Path(__file__).parents[2] / "examples" / "fastapi-app"


def test_the_fastapi_example_keeps_the_container_contract(machine: Machine) -> None:
    copy = machine.home.parent / "checked"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    found = machine.bough("check", "container", "--slow", "/count?to=100000", cwd=copy)["services"]
    assert [each["service"] for each in found] == ["web"]
    states = {each["name"]: each["state"] for each in found[0]["promises"]}
    assert states.pop("drain") in ("kept", "unproven")  # how long the answer takes is the machine's affair
    assert set(states.values()) == {"kept"}


def test_a_broken_contract_ends_with_8_and_names_the_promise(machine: Machine) -> None:
    project = machine.project("deaf", '[services.deaf]\ncommand = "sleep 60"\n')
    error = machine.bough("check", "container", "--start-s", "0.2", cwd=project, code=8)["error"]
    assert error["code"] == "CONTRACT_BROKEN"
    assert "deaf: port" in error["message"] and "deaf: exit_status" in error["message"]
    assert error["fields"]["services"][0]["promises"][0]["hint"]


def test_what_has_no_container_is_refused(machine: Machine) -> None:
    project = machine.project("modelled", '[services.it]\nmodel = "service:Model"\n', service_py="class Model: ...\n")
    assert machine.bough("check", "container", cwd=project, code=2)["error"]["code"] == "NO_WEB_SERVICE"
    error = machine.bough("check", "container", "--service", "nobody", cwd=project, code=4)["error"]
    assert error["code"] == "SERVICE_NOT_FOUND"


def test_a_service_may_be_named_instead_of_a_folder(machine: Machine) -> None:
    services = "".join(f'[services.{name}]\ncommand = "sleep 60"\npath = "web"\n' for name in ("web", "other"))
    project = machine.project("named", services)
    (project / "web").mkdir()
    (project / "web" / "app.py").write_text("")

    def checked(*words: str, cwd: Path) -> list[str]:
        error = machine.bough("check", "container", *words, "--start-s", "0.2", cwd=cwd, code=8)["error"]
        return [each["service"] for each in error["fields"]["services"]]

    assert checked("other", cwd=project) == ["other"]
    assert checked("web", cwd=project) == ["web"], "that folder has no project of its own"
    assert checked(str(project / "web"), "--service", "other", cwd=machine.home.parent) == ["other"]
    assert checked(str(project), cwd=machine.home.parent) == ["web", "other"]
    error = machine.bough("check", "container", "nobody", cwd=project, code=4)["error"]
    assert (error["code"], "neither a folder 'nobody' nor a service" in error["message"]) == ("SERVICE_NOT_FOUND", True)


LEARNER = """
import random
from bough import checkpoint

random.seed(3)
data = checkpoint.Samples(100, batch_size=4, seed=1)
state = {"data": data, "weight": 0.0}
with checkpoint.open() as ckpt:
    rows = None
    for step in ckpt.steps(40, state):
        rows = rows or iter(data)
        state["weight"] += sum(next(rows)) * 0.01 + random.random()
"""


def test_a_job_proves_that_it_goes_on_after_interruptions(machine: Machine) -> None:
    settings = '[jobs.learn]\nkind = "train"\ncommand = "python train.py"\n'
    project = machine.project("learner", settings, train_py=LEARNER, service_py="")
    found = machine.bough("check", "resume", "learn", "--interruptions", "3", cwd=project)
    assert found["passed"] and {each["state"] for each in found["promises"]} == {"kept"}
    (project / "train.py").write_text(LEARNER.replace('"data": data, ', ""))
    error = machine.bough("check", "resume", "learn", "--interruptions", "3", cwd=project, code=8)["error"]
    assert error["code"] == "RESUME_BROKEN" and "samples" in error["message"]
    assert machine.bough("check", "resume", "nobody", cwd=project, code=4)["error"]["code"] == "JOB_NOT_FOUND"
