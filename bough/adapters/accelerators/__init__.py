"""Accelerators: what devices a machine has. Whoever places jobs decides who gets which."""

from __future__ import annotations

from typing import Protocol

from bough.kernel.devices import Device


class Accelerators(Protocol):
    def devices(self) -> list[Device]:
        """All devices of this machine; none where there are none, or no driver. May block for a second the first
        time."""
