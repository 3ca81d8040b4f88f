"""Optimizations as data."""

from __future__ import annotations

import msgspec

from bough.kernel.policy import Metric

RUNNING, DONE, REFUSED, FAILED = "running", "done", "refused", "failed"
QUANTIZE, DISTILL = "quantize", "distill"
BEFORE, AFTER, BEST, DYNAMIC, STATIC = "before", "after", "best", "dynamic", "static"

METHODS = (BEST, DYNAMIC, STATIC)


class Judging(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How contenders are compared. Without a label, the answers of the version before are what is right."""

    data: str  # DATASET/PATH: CSV, JSON lines, Parquet or NPZ
    label: str = ""
    hidden: list[str] = []
    answer: str = ""
    metric: Metric = "accuracy"
    max_loss: float = 0.01
    rows: int = 2000
    core_hour: float = 0.0  # price of a core for an hour; 0: none is known


class Contender(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was measured of one. `loss` is the point and `worst` the end of its interval that counts; `cost` is that of
    1,000 answers in batches, -1 where nobody said what a core costs."""

    name: str  # before, dynamic, static, after
    score: float
    bytes: int
    p50_ms: float
    p95_ms: float
    core_s: float  # for 1,000 answers in batches
    cost: float = -1.0
    loss: float = 0.0
    worst: float = 0.0
    passed: bool = True
    said: str = ""


class Optimization(msgspec.Struct, frozen=True, kw_only=True):
    """`model` is the version before, `becomes` the model of which the result is a version, `version` its number."""

    id: str
    project: str
    environment: str
    kind: str  # quantize, distill
    model: str  # NAME/NUMBER
    parent: str  # id of that version
    becomes: str
    method: str
    calibration: str
    judging: Judging
    aliases: list[str]
    student: str  # digest of the list of a student's files; empty: the contenders are made from the version before
    run: str  # the tracked run that made the student
    state: str
    by: str
    started_at: float
    contenders: list[Contender] = []
    chosen: str = ""
    said: str = ""
    version: int = 0
    finished_at: float = 0.0

    @property
    def place(self) -> tuple[str, str]:
        return self.project, self.environment
