"""Accelerators of a machine, as data."""

from __future__ import annotations

import msgspec


class Device(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`id` is what CUDA_VISIBLE_DEVICES takes; `kind` a short lower-case name such as h100."""

    id: str
    kind: str
    name: str = ""
    memory_mb: int = 0


def share_of(gpus: float) -> float:
    """Of each device that a process has which asks for so many."""
    return gpus if 0.0 < gpus < 1.0 else 1.0
