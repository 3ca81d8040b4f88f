"""Who pays for what a process uses. It is written on a unit when that starts, so that it is known as long as the unit
is, whatever becomes of whoever asked for it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

LABEL = "payer"
SERVICE, JOB, BUILD, DATABASE = "service", "job", "build", "database"
GATE, REPLAY, OPTIMIZATION = "gate", "replay", "optimization"


class Payer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A workload: whose usage it is. `cores`: that each of its processes is paid for with while it is there; 0: it pays
    for what its processors work."""

    project: str
    environment: str
    cost_center: str
    kind: str
    workload: str
    tags: dict[str, str] = {}
    cores: float = 0.0


class Meter(msgspec.Struct, frozen=True, kw_only=True):
    """What something that runs has used since it began, in seconds. `key` is another one when it begins anew; `devices`
    are had for `seconds`, and worked for `gpu_s`."""

    key: str
    payer: Payer
    seconds: float = 0.0
    cpu_s: float = 0.0
    gpu_s: float = 0.0
    devices: float = 0.0
    ended: bool = False


def label(payer: Payer) -> dict[str, str]:
    """What a unit says of it, among its labels."""
    return {LABEL: msgspec.json.encode(payer).decode()}


def payer_of(labels: Mapping[str, str]) -> Payer | None:
    return msgspec.json.decode(labels[LABEL], type=Payer) if LABEL in labels else None
