"""Tracking as data. Times are seconds since the epoch, exact to the millisecond."""

from __future__ import annotations

import math
from typing import Any, Literal

import msgspec

ACTIVE, DELETED = "active", "deleted"
STATUSES = ("running", "scheduled", "finished", "failed", "killed")


# A number as JSON can carry it.
Number = float | Literal["NaN", "Infinity", "-Infinity"]
_NUMBERS: dict[str, float] = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def number(value: Number) -> float:
    return _NUMBERS[value] if isinstance(value, str) else value


def shown(value: float) -> Number:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """`id` is a number, counted in its project; 0 is the one that every project has."""

    id: str
    project: str
    name: str
    state: str
    location: str
    created_at: float
    updated_at: float
    tags: dict[str, str] = {}


class Metric(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One point. `timestamp_ms` is when it was measured, as the program said."""

    key: str
    value: Number
    timestamp_ms: int = 0
    step: int = 0
    model: str = ""  # the logged model that it tells of, and the data it was measured on
    dataset: str = ""
    dataset_digest: str = ""


class RunInput(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a run read: `kind` is dataset, table, feature_view, model or other; `version` tells one state of it from the
    next: a change of the catalog, a digest. `source` says where it lies, as JSON or a URL."""

    kind: str
    name: str
    version: str = ""
    context: str = ""  # training, validation, …
    source_type: str = ""
    source: str = ""
    schema: str = ""
    profile: str = ""
    tags: dict[str, str] = {}


class RunOutput(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a run made besides artifacts: a logged model, by its id."""

    model: str
    step: int = 0


class Source(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What ran, and on what: the commit (`dirty` with changes that it does not hold), digests of bundle and Python
    environment, the program, the machine."""

    commit: str = ""
    dirty: bool = False
    repository: str = ""
    program: str = ""
    bundle: str = ""
    python_environment: str = ""
    hardware: dict[str, Any] = {}


class Run(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`metrics` are the latest point of each key. `seconds` is how long it took, once it has ended."""

    id: str
    name: str
    project: str
    environment: str
    experiment: str
    experiment_id: str
    by: str
    status: str
    state: str
    started_at: float
    location: str
    ended_at: float = 0.0
    seconds: float = 0.0
    source: Source = Source()
    params: dict[str, str] = {}
    metrics: list[Metric] = []
    tags: dict[str, str] = {}
    inputs: list[RunInput] = []
    outputs: list[RunOutput] = []


class RunPage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    runs: list[Run]
    next_page: str = ""


class ExperimentPage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    experiments: list[Experiment]
    next_page: str = ""


class MetricPage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    metrics: list[Metric]
    next_page: str = ""


class RunMetric(msgspec.Struct, frozen=True, kw_only=True):
    """A point with the run that it belongs to."""

    run: str
    key: str
    value: Number
    timestamp_ms: int
    step: int


class Artifact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file, or a folder that files lie in (without a digest)."""

    path: str
    folder: bool = False
    size: int = 0
    digest: str = ""


class RunMetricOfModel(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A point that a run measured of a logged model."""

    run: str
    key: str
    value: Number
    timestamp_ms: int
    step: int
    dataset: str = ""
    dataset_digest: str = ""


class LoggedModel(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`status` is pending, ready or failed (its files did not arrive)."""

    id: str
    name: str
    project: str
    experiment_id: str
    status: str
    created_at: float
    updated_at: float
    location: str
    kind: str = ""
    run: str = ""
    by: str = ""
    message: str = ""
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    metrics: list[RunMetricOfModel] = []


class LoggedModelPage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    models: list[LoggedModel]
    next_page: str = ""
