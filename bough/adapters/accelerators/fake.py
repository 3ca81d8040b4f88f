"""Devices that are only said to be there: for tests, and for trying out a plan on a machine without any."""

from __future__ import annotations

from collections.abc import Sequence

from bough.kernel.devices import Device
from bough.kernel.jobs import accelerator


class FakeAccelerators:
    """`FakeAccelerators("h100:2", "a100:4")`"""

    def __init__(self, *said: str) -> None:
        self._devices = _devices(said)

    def devices(self) -> list[Device]:
        return list(self._devices)


def _devices(said: Sequence[str]) -> list[Device]:
    found: list[Device] = []
    for each in map(accelerator, said):
        found += [Device(id=str(len(found) + at), kind=each.kind) for at in range(each.count)]
    return found
