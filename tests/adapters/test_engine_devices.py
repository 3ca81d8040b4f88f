"""Accelerators: who gets which, over every engine; and the rule by itself."""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bough.adapters.accelerators.fake import FakeAccelerators
from bough.adapters.accelerators.nvml import visible
from bough.adapters.engine import Attempt, devices
from bough.kernel.devices import Device, share_of
from bough.kernel.errors import Invalid
from bough.runtime import gpumeter
from bough.runtime.gpumeter import GpuMeter
from bough.runtime.spec import UnitSpec
from tests.adapters import engine_rigs as rigs
from tests.adapters.engine_rigs import Rig

FOUR = FakeAccelerators("t4:4").devices()


@pytest.fixture(params=["fake", "local", "remote"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    with rigs.rig(request.param) as under_test:
        yield under_test


@pytest.fixture(params=["local"])
def real(request: pytest.FixtureRequest) -> Iterator[Rig]:
    with rigs.rig(request.param) as under_test:
        yield under_test


def labels(deployment: str, service: str = "api") -> dict[str, str]:
    return {"project": "shop", "environment": "main", "service": service, "deployment": deployment}


def waits(attempt: Attempt) -> bool:
    return attempt.state == "starting" and bool(attempt.waits)


def test_two_units_have_a_device_each_and_the_third_waits_until_one_has_ended(rig: Rig) -> None:
    for unit in "abc":
        rig.engine.apply(rig.spec(unit, rigs.runs(), gpus=1.0, labels={"service": unit, "project": "p"}))
    first, second = rig.until("a", "running"), rig.until("b", "running")
    assert sorted(first.devices + second.devices) == ["0", "1"]
    third = rig.until("c", waits)
    assert "waits for 1 GPU, held by a of p/, b of p/" in third.waits
    rig.engine.stop("a", 1)
    assert rig.until("c", "running").devices == first.devices and rig.look("c").waits == ""


def test_one_that_is_killed_gives_its_device_back(rig: Rig) -> None:
    rig.engine.apply(rig.spec("a", rigs.exits(1), gpus=2.0))
    rig.until("a", "exited")
    rig.engine.apply(rig.spec("b", rigs.runs(), gpus=2.0))
    assert rig.until("b", "running").devices == ["0", "1"]


def test_shares_of_one_device_fill_it_before_the_next(rig: Rig) -> None:
    for unit in "abcd":
        rig.engine.apply(rig.spec(unit, rigs.runs(), gpus=0.5))
    assert [rig.until(unit, "running").devices for unit in "abcd"] == [["0"], ["0"], ["1"], ["1"]]
    rig.engine.apply(rig.spec("e", rigs.runs(), gpus=0.2))
    rig.until("e", waits)


def test_who_asks_for_much_is_not_overtaken(rig: Rig) -> None:
    rig.engine.apply(rig.spec("a", rigs.runs(), gpus=1.0))
    rig.until("a", "running")
    rig.engine.apply(rig.spec("big", rigs.runs(), gpus=2.0))
    rig.until("big", waits)
    rig.engine.apply(rig.spec("small", rigs.runs(), gpus=1.0))
    rig.until("small", waits)
    rig.engine.stop("a", 1)
    rig.until("big", "running")
    rig.engine.stop("big", 1)
    rig.until("small", "running")


def test_one_that_waits_can_be_stopped_and_holds_nobody_up(rig: Rig) -> None:
    rig.engine.apply(rig.spec("a", rigs.runs(), gpus=1.0))
    rig.until("a", "running")
    rig.engine.apply(rig.spec("big", rigs.runs(), gpus=2.0))
    rig.until("big", waits)
    rig.engine.stop("big", 1)
    rig.until("big", "exited")
    rig.engine.apply(rig.spec("small", rigs.runs(), gpus=1.0))
    rig.until("small", "running")


def test_one_that_asks_for_more_than_there_are_ends_at_once_and_says_so(rig: Rig) -> None:
    rig.engine.apply(rig.spec("a", rigs.runs(), gpus=3.0))
    ended = rig.exited("a")
    assert ended.failure.code == "DEVICES_TOO_FEW"
    assert "asks for 3 GPUs, and this machine has 2 t4" in ended.failure.message


def test_a_release_that_takes_over_may_use_the_devices_of_the_one_before(rig: Rig) -> None:
    rig.engine.apply(rig.spec("old-0", rigs.runs(), gpus=2.0, labels=labels("old")))
    rig.until("old-0", "running")
    rig.engine.apply(rig.spec("new-0", rigs.runs(), gpus=2.0, labels=labels("new")))
    assert rig.until("new-0", "running").devices == ["0", "1"]
    rig.engine.apply(rig.spec("other-0", rigs.runs(), gpus=1.0, labels=labels("other", "rank")))
    rig.engine.stop("old-0", 1)
    rig.until("old-0", "exited")
    assert waits(rig.look("other-0"))


def test_a_unit_takes_the_devices_that_somebody_chose_for_it(rig: Rig) -> None:
    rig.engine.apply(rig.spec("a", rigs.runs(), gpus=1.0, devices=["1"]))
    assert rig.until("a", "running").devices == ["1"]
    rig.engine.apply(rig.spec("b", rigs.runs(), gpus=0.5, devices=["1"]))
    rig.until("b", waits)
    rig.engine.stop("a", 1)
    assert rig.until("b", "running").devices == ["1"]


def test_what_sleeps_has_none_and_gets_one_when_it_is_woken(rig: Rig) -> None:
    rig.engine.apply(rig.spec("a", rigs.runs(), gpus=2.0))
    rig.until("a", "running")
    rig.engine.sleep("a", 1)
    rig.until("a", "asleep")
    rig.engine.apply(rig.spec("b", rigs.runs(), gpus=1.0))
    rig.until("b", "running")
    assert waits(rig.engine.wake("a"))
    rig.engine.stop("b", 1)
    assert rig.until("a", "running").devices == ["0", "1"]


def test_after_a_restart_of_the_engine_everybody_has_what_he_had(real: Rig) -> None:
    for unit in "abc":
        real.engine.apply(real.spec(unit, rigs.runs(), gpus=1.0))
    before = [real.until(unit, "running").devices for unit in "ab"]
    real.until("c", waits)
    real.restart()
    assert [real.until(unit, "running").devices for unit in "ab"] == before
    real.until("c", waits)
    real.engine.stop("b", 1)
    assert real.until("c", "running").devices == before[1]


def test_a_process_sees_its_devices_and_one_without_sees_none(real: Rig) -> None:
    said = rigs.python("import os; print(os.environ.get('CUDA_VISIBLE_DEVICES'), os.environ.get('BOUGH_GPU_SHARE'))")
    for unit, gpus in (("two", 2.0), ("part", 0.25), ("none", 0.0)):
        real.engine.apply(UnitSpec(unit=unit, attempt=1, kind="job", argv=said, gpus=gpus))
        real.exited(unit)
    assert [real.output(unit).decode().rstrip("\n") for unit in ("two", "part", "none")] == [
        "0,1 None",
        "0 0.25",
        " None",
    ]


def test_replicas_on_different_devices_share_a_zygote_that_loads_nothing_onto_one(real: Rig) -> None:
    for unit in "ab":
        real.engine.apply(real.model(unit, "tells", gpus=1.0))
    seen = {tuple(real.until(unit, "ready").devices) for unit in "ab"}
    assert seen == {("0",), ("1",)} and len(real.inner.zygotes()) == 1


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from([0.2, 0.5, 1.0, 2.0, 3.0]), st.sampled_from("abc"), st.sampled_from("12"))))
def test_nobody_has_more_of_a_device_than_there_is(asked: list[tuple[float, str, str]]) -> None:
    holders: list[devices.Holder] = []
    for place, (gpus, service, deployment) in enumerate(asked):
        spec = UnitSpec(
            unit=f"u{place}", attempt=1, kind="replica", gpus=gpus, labels=labels(service + deployment, service)
        )
        found = devices.place(spec, FOUR, holders)
        if found is not None:
            assert len(found) == len(set(found)) == -int(-gpus // 1)
            holders.append((spec, found))
    for device, one in itertools.product("0123", itertools.product("12", repeat=3)):
        living = {service + deployment for service, deployment in zip("abc", one, strict=True)}
        load = sum(
            share_of(spec.gpus) for spec, has in holders if device in has and spec.labels["deployment"] in living
        )
        assert load <= 1.0 + 1e-6


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(Invalid, match="this machine has none"):
        devices.place(UnitSpec(unit="a", attempt=1, kind="job", gpus=1.0), [], [])
    with pytest.raises(Invalid):
        devices.place(UnitSpec(unit="a", attempt=1, kind="job", gpus=1.0, devices=["9"]), FOUR, [])


@pytest.mark.parametrize(
    ("said", "ids"),
    [(None, ["GPU-a1", "GPU-b2"]), ("", []), ("1,0", ["GPU-b2", "GPU-a1"]), ("GPU-b", ["GPU-b2"]),
     ("0,7,1", ["GPU-a1"]), ("GPU-", []), ("0,0", ["GPU-a1"]), ("-1", [])],
)  # fmt: skip
def test_what_the_machine_hides_is_not_given_away(said: str | None, ids: list[str]) -> None:
    both = [Device(id="GPU-a1", kind="t4"), Device(id="GPU-b2", kind="t4")]
    there = {} if said is None else {"CUDA_VISIBLE_DEVICES": said}
    assert [each.id for each in visible(both, there)] == ids


class Driver:
    """NVML as far as a meter asks it, with the layout that NVIDIA's header gives its structures."""

    def __init__(self) -> None:
        self.device, self.samples, self.asked_since = 0, list[tuple[int, int, int]](), list[int]()

    def nvmlDeviceGetUtilizationRates(self, handle: Any, rates: Any) -> int:
        rates.raw = struct.pack("=II", self.device, 99)
        return 0

    def nvmlDeviceGetProcessUtilization(self, handle: Any, into: Any, count: Any, since: Any) -> int:
        self.asked_since.append(since.value)
        if not self.samples:
            return 6  # NVML_ERROR_NOT_FOUND
        parts = [struct.pack("=I4xQIIII", pid, at, percent, 1, 2, 3) for pid, at, percent in self.samples]
        into[: 32 * len(parts)] = b"".join(parts)
        count._obj.value = len(parts)
        return 0


def test_a_meter_adds_up_what_its_device_or_its_processes_did(monkeypatch: pytest.MonkeyPatch) -> None:
    driver, now = Driver(), [100.0]
    monkeypatch.setattr(gpumeter, "_open", lambda ctypes, devices: (driver, [1]))
    monkeypatch.setattr(gpumeter.time, "monotonic", lambda: now[0])
    whole, part = GpuMeter(["GPU-1"], 1.0), GpuMeter(["GPU-1"], 0.5)
    driver.device, driver.samples = 80, [(7, 5_000_000_000_000_000, 30), (8, 4_000_000_000_000_000, 20), (9, 1, 50)]
    now[0] += 2.0
    whole.sample([7, 8])
    part.sample([7, 8])
    assert (round(whole.used_s, 6), round(part.used_s, 6)) == (1.6, 1.0)
    driver.device, driver.samples = 0, []
    now[0] += 2.0
    whole.sample([7, 8])
    part.sample([7, 8])
    assert (round(whole.used_s, 6), round(part.used_s, 6)) == (1.6, 1.0)
    assert driver.asked_since[1] == 5_000_000_000_000_000


def test_a_meter_without_a_driver_measures_nothing_and_breaks_nothing() -> None:
    meter = GpuMeter(["GPU-of-nowhere"], 0.5)
    meter.sample([os.getpid()])
    assert meter.used_s == 0.0
