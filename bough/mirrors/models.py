"""Replays and comparisons as data."""

from __future__ import annotations

from typing import Any

import msgspec

from bough.gateway.taps.pairs import AnswerDifference

REPLAYING, REPLAYED, FAILED = "running", "done", "failed"


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """`count` kept requests of `environment`, sent to `target`. `cpu_before` and `cpu_after`: seconds of CPU per side
    and service."""

    id: str
    project: str
    environment: str
    target: str
    service: str
    count: int
    tolerance: float
    both: bool  # asked of the environment itself again, in place of the answers that were kept
    state: str
    by: str
    started_at: float
    finished_at: float = 0.0
    why: str = ""
    cpu_before: dict[str, float] = {}
    cpu_after: dict[str, float] = {}


class ComparedSide(msgspec.Struct, frozen=True, kw_only=True):
    """Latencies in milliseconds, of answers that came; `errors`: statuses from 500 on, and no answer at all.
    `cpu_s_per_1000` is -1 where nobody knows."""

    environment: str
    answers: int
    errors: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_s_per_1000: float = -1.0


class FieldDifferences(msgspec.Struct, frozen=True, kw_only=True):
    """Of one place in the answers, indices left out. Of numbers also how far they are apart."""

    path: str
    different: int
    mean: float = 0.0
    largest: float = 0.0


class Example(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    at: float
    differences: list[AnswerDifference]


class ServiceComparison(msgspec.Struct, frozen=True, kw_only=True):
    """`seen` requests, of which `left_out` could not be copied."""

    service: str
    seen: int
    compared: int
    left_out: int
    same: int
    source: ComparedSide
    target: ComparedSide
    statuses: dict[str, int]  # "200 -> 500": how often
    fields: list[FieldDifferences]
    examples: list[Example]


class TrafficReport(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    kind: str  # mirror, replay
    project: str
    source: str
    target: str
    state: str
    started_at: float
    ended_at: float
    services: list[ServiceComparison]
    details: dict[str, Any] = {}


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """`measured`: by name, what is known of its requests: how many, the share of errors, latencies in milliseconds."""

    project: str
    name: str
    by: str
    at: float
    measured: dict[str, dict[str, float]]


class BaselineChange(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of one name. `change_percent` is 0 where the baseline's is."""

    name: str
    metric: str
    baseline: float
    now: float
    change_percent: float
