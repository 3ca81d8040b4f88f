"""Ratios that a person relies on, with models whose cost is known because they sleep. Figures: bench/RESULTS.md."""

from __future__ import annotations

import json
import time
from typing import Any

from tests.journeys.machine import Machine, kill

CALL_S, LOAD_S = 0.03, 2.0
MODELS = f"""
import time

import bough


class Alone:
    def predict(self, n: int) -> int:
        time.sleep({CALL_S})
        return n


class Together:
    @bough.batch(max_size=32)
    def predict(self, items: list[int]) -> list[int]:
        time.sleep({CALL_S})  # whatever the number of items, as a matrix product on an accelerator
        return items


class Slow:
    def load(self) -> None:
        time.sleep({LOAD_S})

    def predict(self, n: int) -> int:
        return n
"""


def test_batching_doubles_the_throughput_of_a_batchable_model_within_the_same_p95(machine: Machine) -> None:
    """The budget is what the same clients wait for without batching: a busy machine stretches both."""
    toml = "".join(f'[services.{name.lower()}]\nmodel = "service:{name}"\n' for name in ("Alone", "Together"))
    machine.deploy(machine.project("batching", toml, service_py=MODELS))
    alone, together = (measure(machine, name, connections=16) for name in ("alone", "together"))
    assert alone["failed"] == together["failed"] == 0
    assert together["p95_ms"] <= alone["p95_ms"], (alone, together)
    assert together["per_second"] >= 2 * alone["per_second"], (alone, together)


def measure(machine: Machine, service: str, connections: int) -> dict[str, Any]:
    load = machine.load(f"/v1/{service}/predict", 7, connections=connections, expect="7")
    time.sleep(3.0)
    return load.stop()


def test_a_warm_start_takes_at_most_a_fifth_of_a_cold_one(machine: Machine) -> None:
    """Cold: a process that imports and loads. Warm: a replica that was killed, until the next answer."""
    machine.deploy(machine.project("warmth", '[services.slow]\nmodel = "service:Slow"\n', service_py=MODELS))
    shown = machine.bough("services", "show", "--project", "warmth", "slow")
    states = {
        each["data"]["state"]: each["at"]
        for each in machine.bough("events", "--limit", "1000")
        if each["subject"] == shown["deployment"]
    }
    cold_s = states["ready"] - states["starting"]
    assert cold_s >= LOAD_S
    assert machine.predict("slow", 1) == 1
    warm = [warm_s(machine, shown["replicas"][0]["unit"]) for _ in range(3)]
    assert min(warm) <= 0.2 * cold_s, "at best: another program may have had the machine"


def warm_s(machine: Machine, unit: str) -> float:
    kill(machine.pid_of(unit))
    began = time.monotonic()
    assert machine.predict("slow", 2) == 2
    return time.monotonic() - began


def test_a_mock_has_the_schema_of_its_service_and_takes_as_long_as_it_is_told(machine: Machine) -> None:
    toml = (
        '[services.real]\nmodel = "service:Together"\n'
        '[services.mocked]\nmodel = "service:Together"\nmock = true\nmock_latency_ms = 150\n'
    )
    machine.deploy(machine.project("mocking", toml, service_py=MODELS))
    schemas = [json.loads(machine.ask(f"/v2/models/{name}")[1]) for name in ("real", "mocked")]
    assert schemas[0]["inputs"] == schemas[1]["inputs"] and schemas[0]["outputs"] == schemas[1]["outputs"]
    began = time.monotonic()
    first = machine.predict("mocked", 5)
    assert isinstance(first, int) and time.monotonic() - began >= 0.15
    assert machine.predict("mocked", 5) == first
    assert machine.ask("/v1/mocked/predict", "no number")[0] == machine.ask("/v1/real/predict", "no number")[0] == 422
