"""Usage as data. Seconds; costs are in the currency of the price book."""

from __future__ import annotations

import msgspec

SERVICE, JOB = "service", "job"
DAY_S = 86_400


class Payer(msgspec.Struct, frozen=True, kw_only=True):
    """A workload: whose usage it is. `cores`: that each of its processes is paid for with."""

    project: str
    environment: str
    cost_center: str
    kind: str
    workload: str
    cores: float = 1.0


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """`seconds` that machines (of a job) or replicas (of a service) were there; of these, `cpu_s` of processors and
    `gpu_s` of devices were worked."""

    seconds: float = 0.0
    cpu_s: float = 0.0
    gpu_s: float = 0.0
    cost: float = 0.0


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """A meter, of one attempt of a unit: what it has shown since it began."""

    seconds: float = 0.0
    cpu_s: float = 0.0
    gpu_s: float = 0.0


class CostLine(msgspec.Struct, frozen=True, kw_only=True):
    cost_center: str
    environment: str
    kind: str  # service, job
    workload: str
    seconds: float
    cpu_s: float
    gpu_s: float
    cost: float


class CenterTotal(msgspec.Struct, frozen=True, kw_only=True):
    cost_center: str
    workloads: int
    seconds: float
    cost: float
    share: float  # of all costs


class CostReport(msgspec.Struct, frozen=True, kw_only=True):
    """`lines` sum to `centers`, and those to `seconds` and `cost`."""

    since: float  # the beginning of a day, UTC
    seconds: float
    cost: float
    centers: list[CenterTotal]
    lines: list[CostLine]
