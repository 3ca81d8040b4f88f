"""How long a unit's accelerators have worked for it, asked of NVIDIA's driver (NVML) once a second."""

from __future__ import annotations

import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs 3 ms
    from collections.abc import Sequence
    from typing import Any

_LIBRARY = "libnvidia-ml.so.1"
_RATES_BYTES = 8  # nvmlUtilization_t: percent of the last period in which kernels ran, and in which memory was moved
_SAMPLE_BYTES = 32  # nvmlProcessUtilizationSample_t: pid, microseconds (from 8 on), percent of kernels (16), …
_NOT_FOUND = 6  # NVML_ERROR_NOT_FOUND: nothing has run
_SAMPLES = 256  # of which the driver may tell at once


class GpuMeter:
    """`used_s`: device-seconds, cumulative: a second in which kernels ran half of the time on each of two devices is
    one. Of a device that the unit has alone it is what the device did; of a shared one what the driver says that the
    unit's processes did or, where it does not tell processes apart, the unit's share of all."""

    def __init__(self, devices: Sequence[str], share: float) -> None:
        import ctypes  # dear, and needed by units with accelerators only

        self.used_s = 0.0
        self._share = share
        self._looked_at = time.monotonic()
        self._ctypes = ctypes
        self._nvml, self._handles = _open(ctypes, devices)
        self._seen_us = [int(time.time() * 1e6)] * len(self._handles)

    def sample(self, pids: Sequence[int]) -> None:
        now = time.monotonic()
        elapsed_s, self._looked_at = now - self._looked_at, now
        for place, handle in enumerate(self._handles):
            busy = self._own(place, handle, pids) if self._share < 1.0 else self._whole(handle)
            self.used_s += busy * elapsed_s

    def _whole(self, handle: Any) -> float:
        rates = self._ctypes.create_string_buffer(_RATES_BYTES)
        failed = self._nvml.nvmlDeviceGetUtilizationRates(handle, rates)
        return 0.0 if failed else _number(rates.raw[:4]) / 100.0

    def _own(self, place: int, handle: Any, pids: Sequence[int]) -> float:
        told, count = self._ctypes.create_string_buffer(_SAMPLE_BYTES * _SAMPLES), self._ctypes.c_uint(_SAMPLES)
        since = self._ctypes.c_ulonglong(self._seen_us[place])
        failed = self._nvml.nvmlDeviceGetProcessUtilization(handle, told, self._ctypes.byref(count), since)
        if failed == _NOT_FOUND:
            return 0.0
        if failed:
            return self._share * self._whole(handle)
        samples = [told.raw[at : at + _SAMPLE_BYTES] for at in range(0, count.value * _SAMPLE_BYTES, _SAMPLE_BYTES)]
        self._seen_us[place] = max([self._seen_us[place], *(_number(each[8:16]) for each in samples)])
        return min(1.0, sum(_number(each[16:20]) for each in samples if _number(each[:4]) in pids) / 100.0)


def _number(raw: bytes) -> int:
    return int.from_bytes(raw, sys.byteorder)


def _open(ctypes: Any, devices: Sequence[str]) -> tuple[Any, list[Any]]:
    """The driver's library and a handle for each device it knows; none where there is no driver."""
    try:
        nvml = ctypes.CDLL(_LIBRARY)
    except OSError:
        return None, []
    if nvml.nvmlInit_v2():
        return nvml, []
    found = []
    for id in devices:
        handle = ctypes.c_void_p()
        if not nvml.nvmlDeviceGetHandleByUUID(id.encode(), ctypes.byref(handle)):
            found.append(handle)
    return nvml, found
