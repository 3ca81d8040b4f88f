"""What is killed comes back, and nobody who asks notices."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.depth import times
from tests.journeys.machine import Machine, kill, wait_until

# It takes a while and no processor, as one that asks a database: whatever is killed, somebody waits for it, and what
# brings it back has the machine.
SERVICE = """
import os, time

class Double:
    def predict(self, n: int) -> dict:
        if n == 666:
            os._exit(3)
        time.sleep(0.005)
        return {"twice": n * 2}
"""
TOML = '\n[services.double]\nmodel = "service:Double"\n'
KILLS = times("BOUGH_KILLS", quick=2, deep=3)  # of the server


def start(machine: Machine, name: str, extra: str = "replicas = 2\n") -> Path:
    project = machine.project(name, TOML.replace("double", name) + extra, service_py=SERVICE)
    machine.deploy(project)
    assert machine.predict(name, 21) == {"twice": 42}
    return project


def test_kill_9_of_the_server_under_load_fails_no_request(machine: Machine) -> None:
    start(machine, "server-dies")
    load = machine.load("/v1/server-dies/predict", 4, expect='"twice":8')
    time.sleep(0.5)
    for _ in range(KILLS):
        before = machine.part("server")
        kill(before)
        wait_until(lambda: machine.part("server") != before, "the keeper starts the server again")  # noqa: B023
        machine.bough("status", "--project", "server-dies")
    found = load.stop()
    assert found["failed"] == 0, found
    assert found["requests"] > 100


def test_kill_9_of_replicas_under_load_fails_no_request(machine: Machine) -> None:
    start(machine, "replica-dies")
    load = machine.load("/v1/replica-dies/predict", 4, expect='"twice":8')
    for _ in range(5):
        time.sleep(0.4)
        mine = machine.bough("services", "show", "--project", "replica-dies", "replica-dies")
        alive = [each for each in mine["replicas"] if each["state"] == "ready"]
        unit = alive[0]["unit"]
        pid = next(p for p in machine.replicas() if unit in _unit_of(machine, p))
        kill(pid)
    time.sleep(0.5)
    found = load.stop()
    assert found["failed"] == 0, found
    assert found["requests"] > 100


def test_a_single_replica_that_is_killed_comes_back_while_its_requests_wait(machine: Machine) -> None:
    start(machine, "only-one", "")
    load = machine.load("/v1/only-one/predict", 4, expect='"twice":8')
    for _ in range(3):
        time.sleep(0.5)
        pid = next(p for p in machine.replicas() if _service_of(machine, p) == "only-one")
        kill(pid)
    time.sleep(1.0)
    found = load.stop()
    assert found["failed"] == 0, found


def test_a_request_that_kills_its_replica_is_given_up_and_takes_no_other_with_it(machine: Machine) -> None:
    start(machine, "poison")
    load = machine.load("/v1/poison/predict", 4, connections=16, expect='"twice":8')
    time.sleep(0.5)
    status, answer = machine.ask("/v1/poison/predict", 666)
    assert status == 502
    assert b"REPLICA_LOST" in answer
    time.sleep(1.0)
    found = load.stop()
    assert found["failed"] == 0, found


def test_without_any_control_plane_the_data_plane_serves_and_heals(our_machine: Machine) -> None:
    """Keeper and server are dead: a killed replica and a killed gateway still come back to their work."""
    start(our_machine, "orphan", "")
    for part in ("keeper", "server"):
        kill(our_machine.part(part))
    load = our_machine.load("/v1/orphan/predict", 4, expect='"twice":8')
    time.sleep(0.5)
    kill(next(p for p in our_machine.replicas() if _service_of(our_machine, p) == "orphan"))
    time.sleep(1.5)
    found = load.stop()
    our_machine.up()
    assert found["failed"] == 0, found
    assert found["requests"] > 100


def test_kill_9_of_the_gateway_and_the_next_one_serves(machine: Machine) -> None:
    start(machine, "gateway-dies")
    for _ in range(3):
        before = machine.part("gateway")
        kill(before)
        wait_until(lambda: _answers(machine, "gateway-dies"), "the next gateway serves")


def test_kill_9_of_everything_then_up_brings_the_same_releases_back(our_machine: Machine) -> None:
    start(our_machine, "alpha")
    start(our_machine, "beta")
    before = [our_machine.bough("releases", "--project", name) for name in ("alpha", "beta")]
    for pid in our_machine.processes():
        kill(pid)
    wait_until(lambda: not our_machine.processes(), "all are dead")
    our_machine.up()
    for name in ("alpha", "beta"):
        wait_until(lambda: _answers(our_machine, name), f"{name} answers again")  # noqa: B023
    assert [our_machine.bough("releases", "--project", name) for name in ("alpha", "beta")] == before


def test_followed_logs_miss_and_double_no_line_over_kill_9_of_the_server(machine: Machine) -> None:
    talks = SERVICE.replace("        return", '        print(f"got {n}", flush=True)\n        return')
    project = machine.project("talkative", '\n[services.talkative]\nmodel = "service:Double"\n', service_py=talks)
    machine.deploy(project)
    words = [sys.executable, "-m", "bough.entrypoints.cli.main", "logs", "talkative", "--follow", "--json"]
    with subprocess.Popen(words, cwd=project, env=machine.environment, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout
        for round in range(KILLS):
            for n in range(round * 20, round * 20 + 20):
                machine.predict("talkative", n)
            before = machine.part("server")
            kill(before)
            wait_until(lambda: machine.part("server") != before, "the keeper starts the server again")  # noqa: B023
        read = [json.loads(next(reader.stdout))["text"] for _ in range(20 * KILLS)]
        reader.terminate()
    assert read == [f"got {n}" for n in range(20 * KILLS)]


def test_releases_under_load_lose_no_request(machine: Machine) -> None:
    project = start(machine, "rolling")
    load = machine.load("/v1/rolling/predict", 4, expect='"twice":8')
    for number in range(3):
        (project / "service.py").write_text(SERVICE + f"\n# release {number}\n")
        machine.deploy(project)
    (project / "service.py").write_text(SERVICE + "\nraise RuntimeError('broken on purpose')\n")
    failed = machine.deploy(project, code=8)
    assert "broken on purpose" in str(failed)
    machine.bough("rollback", "--project", "rolling")
    time.sleep(0.5)
    found = load.stop()
    assert found["failed"] == 0, found


def test_down_and_up_again_keeps_everything(our_machine: Machine) -> None:
    start(our_machine, "calm")
    our_machine.bough("down")
    our_machine.up()
    wait_until(lambda: _answers(our_machine, "calm"), "calm answers again")


def _answers(machine: Machine, service: str) -> bool:
    try:
        return machine.ask(f"/v1/{service}/predict", 2, timeout_s=5.0) == (200, b'{"twice":4}')
    except OSError:
        return False


def _unit_of(machine: Machine, pid: int) -> str:
    found = [path for path in (machine.home / "units").glob("dep_*/*/pid.json") if f'"pid":{pid},' in path.read_text()]
    return str(found[0].parent.parent.name) if found else ""


def _service_of(machine: Machine, pid: int) -> str:
    unit = _unit_of(machine, pid)
    specs = sorted((machine.home / "units" / unit).glob("*/spec.json")) if unit else []
    return (
        next((line for line in (str(spec.read_text()) for spec in specs)), "")
        .partition('"service":"')[2]
        .partition('"')[0]
    )


@pytest.mark.parametrize("part", ["node", "keeper"])
def test_kill_9_of_the_node_or_the_keeper_stops_nothing(machine: Machine, part: str) -> None:
    start(machine, f"{part}-dies")
    load = machine.load(f"/v1/{part}-dies/predict", 4, expect='"twice":8')
    time.sleep(0.3)
    kill(machine.part(part))
    time.sleep(0.7)
    machine.up()
    found = load.stop()
    assert found["failed"] == 0, found
