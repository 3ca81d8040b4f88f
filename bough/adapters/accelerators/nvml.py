"""NVIDIA's devices, asked of the driver's own library (NVML)."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from typing import Any

from bough.kernel.devices import Device

log = logging.getLogger("bough.accelerators")
# What people call them, in names such as "NVIDIA A100-SXM4-80GB" or "Tesla T4".
_KIND = re.compile(r"\b(?:RTX\s*)?(?P<kind>[A-Z]{1,3}\d{1,4}[A-Z]{0,2}|\d{4}(?:\s?Ti)?)\b", re.IGNORECASE)


class NvmlAccelerators:
    def __init__(self) -> None:
        self._found: list[Device] | None = None

    def devices(self) -> list[Device]:
        """Asked once: devices do not come and go while a machine runs."""
        if self._found is None:
            self._found = visible(_ask(), os.environ)
        return list(self._found)


def visible(devices: list[Device], environment: Mapping[str, str]) -> list[Device]:
    """Those that CUDA_VISIBLE_DEVICES, if it is set, leaves to us, in its order: by number, or by the beginning of the
    id; as with CUDA, the first that is not there ends the list."""
    said = environment.get("CUDA_VISIBLE_DEVICES")
    if said is None:
        return devices
    found: list[Device] = []
    for word in filter(None, (each.strip() for each in said.split(","))):
        if word.isdigit():
            named = devices[int(word) : int(word) + 1]
        else:
            named = [each for each in devices if each.id.startswith(word)]
        if len(named) != 1 or named[0] in found:
            break
        found += named
    return found


def kind_of(name: str) -> str:
    """`h100` of "NVIDIA H100 80GB HBM3"."""
    found = _KIND.search(name)
    return re.sub(r"\s", "", found["kind"]).lower() if found else "gpu"


def _ask() -> list[Device]:
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no driver: a machine without devices
        return []
    try:
        return [_device(pynvml, number) for number in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError as error:
        log.warning("the driver of the accelerators answers with an error: %s", error)
        return []
    finally:
        pynvml.nvmlShutdown()


def _device(pynvml: Any, number: int) -> Device:
    handle = pynvml.nvmlDeviceGetHandleByIndex(number)
    name = _text(pynvml.nvmlDeviceGetName(handle))
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle).total >> 20
    return Device(id=_text(pynvml.nvmlDeviceGetUUID(handle)), kind=kind_of(name), name=name, memory_mb=int(memory))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
