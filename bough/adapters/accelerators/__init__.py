"""Accelerators: what devices a machine has. Whoever places jobs decides who gets which."""

from __future__ import annotations

from typing import Protocol

import msgspec


class Device(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`id` is what CUDA_VISIBLE_DEVICES takes; `kind` a short lower-case name such as h100."""

    id: str
    kind: str
    name: str = ""
    memory_mb: int = 0


class Accelerators(Protocol):
    def devices(self) -> list[Device]:
        """All devices of this machine; none where there are none, or no driver. May block for a second the first
        time."""
