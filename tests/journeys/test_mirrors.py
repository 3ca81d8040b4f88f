"""A model experiment on production's requests: branch, change the model, mirror, replay, read what differs."""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec

from bough.gateway.control_client import state_of
from bough.gateway.models import Table
from bough.kernel.platform import Home
from tests.journeys.machine import Machine

TOML = """
[services.price]
model = "service:Price"

[services.price.keep]
requests = 1000
drop = ["note"]
"""
SERVICE = """
class Price:
    def predict(self, item: dict) -> dict:
        return {{"price": item["rooms"] * {each}, "rooms": item["rooms"]}}
"""


def test_a_change_is_seen_on_productions_requests_before_anybody_gets_it(machine: Machine) -> None:
    project = machine.project("homes", TOML, service_py=SERVICE.format(each=100))
    machine.deploy(project)
    machine.bough("branch", "create", "dearer", cwd=project)
    (project / "service.py").write_text(SERVICE.format(each=110))
    machine.deploy(project, "-e", "dearer")

    mirror = machine.bough("mirror", "main", "--to", "dearer", "--sample", "50%", "--for", "10m", cwd=project)
    again = machine.bough("mirror", "main", "--to", "dearer", cwd=project, code=5)
    assert again["error"]["code"] == "MIRROR_RUNNING"
    wait(lambda: machine.asked("mirrors.report", id=mirror["id"])["state"] == "running")
    wait(lambda: mirrored(machine))
    for n in range(40):
        asked = {"rooms": n % 5, "note": "call Ada"}
        assert machine.predict("price.homes", asked) == {"price": n % 5 * 100, "rooms": n % 5}
    found = wait(lambda: compared(machine, mirror["id"], seen=40))
    (service,) = found["services"]
    assert (service["compared"], service["seen"], service["same"]) == (20, 40, 4)
    assert [(each["path"], each["different"]) for each in service["fields"]] == [(".price", 16)]
    assert service["source"]["errors"] == service["target"]["errors"] == 0
    machine.bough("mirrors", "stop", mirror["id"], cwd=project)
    assert machine.bough("mirrors", "list", cwd=project)[0]["state"] == "stopped"

    replay = machine.bough("replay", "--to", "dearer", "--last", "30", cwd=project)
    wait(lambda: machine.asked("replays.show", id=replay["id"])["state"] != "running")
    done = machine.bough("replays", "show", replay["id"], cwd=project)
    assert done["state"] == "done", done
    (service,) = machine.bough("mirrors", "report", replay["id"], cwd=project)["services"]
    assert (service["compared"], service["same"]) == (30, 6)
    assert 0 <= service["target"]["cpu_s_per_1000"] < 100

    text = machine.run("mirrors", "report", replay["id"], cwd=project).stdout
    assert "30 of 30 compared; 6 the same (20.0 %)" in text and ".price" in text
    page = project / "comparison.html"
    machine.bough("mirrors", "page", replay["id"], "--to", str(page), cwd=project)
    assert "p95" in page.read_text() and ".price" in page.read_text()
    kept = b"".join(each.read_bytes() for each in (machine.home / "traffic").rglob("*.jsonl"))
    assert b"Ada" not in kept

    machine.bough("branch", "discard", "dearer", cwd=project)
    refused = machine.bough("replay", "--to", "dearer", cwd=project, code=4)
    assert refused["error"]["code"] == "ENVIRONMENT_NOT_FOUND"
    nothing = machine.bough("mirror", "main", "--to", "main", cwd=project, code=2)
    assert nothing["error"]["code"] == "MIRROR_SELF"


def mirrored(machine: Machine) -> bool:
    """The gateway has the table that says so."""
    home = Home(machine.home)
    table, state = msgspec.json.decode(home.table.read_bytes(), type=Table), state_of(home.gateway_socket)
    there = any(each.mirrors for each in table.routes)
    return there and state is not None and state.generation >= table.generation


def compared(machine: Machine, id: str, *, seen: int) -> Any:
    found = machine.asked("mirrors.report", id=id)
    return found if found["services"] and found["services"][0]["seen"] >= seen else None


def wait(until: Any, seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := until()):
        assert time.monotonic() < deadline, json.dumps(found)
        time.sleep(0.05)
    return found
