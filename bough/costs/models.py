"""Usage as data. Seconds; costs are in the currency of the price book."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

DAY_S = 86_400
CENTER, KIND, ENVIRONMENT, PROJECT, WORKLOAD, DAY = "center", "kind", "environment", "project", "workload", "day"
TAG = "tag:"  # followed by the name of one
GROUPINGS = (CENTER, KIND, ENVIRONMENT, PROJECT, WORKLOAD, DAY)


class Prices(msgspec.Struct, frozen=True, kw_only=True):
    """Of an hour, by the price book; 0: it does not say. A device's is asked for when one is used: to find out which
    there are may take a second."""

    core_hour: float
    device_hour: Callable[[], float]


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """`seconds` that machines (of a job) or processes (of everything else) were there; of these, `cpu_s` of processors
    and `gpu_s` of devices were worked."""

    seconds: float = 0.0
    cpu_s: float = 0.0
    gpu_s: float = 0.0
    cost: float = 0.0


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """Of a meter: what it has shown since it began."""

    seconds: float = 0.0
    cpu_s: float = 0.0
    gpu_s: float = 0.0


class CostLine(msgspec.Struct, frozen=True, kw_only=True):
    project: str
    cost_center: str
    environment: str
    kind: str  # service, job, database, build, gate, replay, optimization
    workload: str
    tags: dict[str, str]
    seconds: float
    cpu_s: float
    gpu_s: float
    cost: float


class CostGroup(msgspec.Struct, frozen=True, kw_only=True):
    name: str  # empty: of those that have no such tag
    workloads: int
    seconds: float
    cpu_s: float
    gpu_s: float
    cost: float
    share: float  # of all costs


class CostReport(msgspec.Struct, frozen=True, kw_only=True):
    """`lines` sum to `groups`, and those to `seconds`, `cpu_s`, `gpu_s` and `cost`, whatever they are grouped `by`."""

    since: float  # the beginning of a day, UTC
    by: str
    seconds: float
    cpu_s: float
    gpu_s: float
    cost: float
    groups: list[CostGroup]
    lines: list[CostLine]
