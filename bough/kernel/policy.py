"""What a model must show before it is used, and how it comes into use: `[models.NAME]` in bough.toml.

These tables are part of a release, so a policy changes as code does: with a deploy, and in a protected environment with
an approver.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Percent = Annotated[float, msgspec.Meta(gt=0, le=100)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
Metric = Literal["accuracy", "f1", "auc", "rmse", "mae"]
Watch = Annotated[float, msgspec.Meta(ge=0, le=30 * 86_400)]


class _Table(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    pass


class MetricGate(_Table, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Bounds for a metric that the version was registered with. `worse` and `better` compare with the champion's."""

    min: float | None = None
    max: float | None = None
    worse: float | None = None  # by at most so much may it be worse than the champion's
    higher_is_better: bool = True


class EvaluationGate(_Table, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Candidate and champion answer the same rows; the difference of their metric is held against `worse` with a
    bootstrap interval. `groups`: columns whose values must not differ by more than `max_gap` in that metric."""

    data: str  # DATASET/PATH, or a file of the service's bundle: CSV, JSON lines or Parquet
    label: str  # column with the right answer; all others are the input, but for those in `hidden`
    hidden: list[str] = []
    answer: str = ""  # what of an answer is compared, where it is an object: its key, with dots
    metric: Metric = "accuracy"
    min: float | None = None
    max: float | None = None
    worse: float | None = None  # the whole interval must be above: champion's minus so much
    confidence: Annotated[float, msgspec.Meta(ge=0.5, lt=1)] = 0.95
    rounds: Annotated[int, msgspec.Meta(ge=100, le=100_000)] = 1000  # of the bootstrap
    seed: int = 0
    groups: list[str] = []
    max_gap: NotNegative = 0.1
    rows: Count = 10_000  # at most


class DataGate(_Table, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The candidate's training data held against the champion's, column by column."""

    rows: Count = 100_000  # a sample of so many of each
    max_missing: Share = 0.05  # share of values that may be missing beyond the champion's
    max_psi: NotNegative = 0.2  # population stability index
    max_ks: Share = 0.2  # Kolmogorov-Smirnov distance, of numbers
    outside: Share = 0.01  # share of values outside the champion's range
    ignore: list[str] = []


class LoadGate(_Table, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A real replica is asked `requests` times. 0 bounds nothing."""

    data: str = ""  # as for `evaluation`: every row is an input; empty: made from what the model takes
    requests: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 500
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 8
    p50_ms: NotNegative = 0.0
    p95_ms: NotNegative = 0.0
    p99_ms: NotNegative = 0.0
    min_per_s: NotNegative = 0.0
    max_error_rate: Share = 0.0


class Gates(_Table, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """All of them must pass."""

    metrics: dict[str, MetricGate] = {}
    signature: bool = False  # inputs and outputs must be what the champion's callers send and read
    max_size_mb: NotNegative = 0.0
    scan: bool = False  # no pickle may name what is not on the list of what models need
    allow: list[str] = []  # further names for that list: module.name, module.*

    evaluation: EvaluationGate | None = None
    data: DataGate | None = None
    load: LoadGate | None = None
    checks: list[str] = []  # own functions, FILE.py:FUNCTION, of the service's bundle

    @property
    def empty(self) -> bool:
        return self == Gates()


class PromotionPolicy(_Table, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """How a version becomes the champion."""

    steps: tuple[Percent, ...] = (100.0,)  # shares of the requests, one after the other
    watch_s: Watch = 0.0  # how long each step is watched; 0: not at all
    shadow_s: Watch = 0.0  # before the steps: for so long it gets copies of all requests
    min_requests: Count = 20  # fewer say nothing about errors and latency
    max_error_rate: Share = 0.01
    max_p95_ms: NotNegative = 0.0  # 0: no bound
    max_p95_ratio: NotNegative = 2.0  # of the present champion's; 0: no bound
    max_cost_ratio: NotNegative = 0.0  # processor seconds per request, of the present champion's; 0: no bound
    approvals: Annotated[int, msgspec.Meta(ge=-1, le=100)] = -1  # -1: one in a protected environment, else none
    approvers: list[str] = []  # who may approve; empty: everyone with the role approver
    four_eyes: bool = True  # who asked for the promotion, or registered the version, does not approve it
    expire_h: Annotated[float, msgspec.Meta(gt=0, le=8760)] = 168.0  # hours that an approval holds
    signed: bool = False  # the version must be signed by a trusted signer
    sticky: str = ""  # key, request, header:NAME: what decides who is answered by the candidate


class PreviewPolicy(_Table, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What holds in environments that are neither production nor protected: less, as a rule."""

    gates: Gates = Gates()
    approvals: Count = 0


class ModelPolicy(_Table, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`[models.NAME]`. `previews` counts as production's live release has it: a pull request cannot lower it."""

    gates: Gates = Gates()
    promotion: PromotionPolicy = PromotionPolicy()
    previews: PreviewPolicy | None = None

    @property
    def of_previews(self) -> ModelPolicy | None:
        """As it holds in previews; None where nothing does."""
        if self.previews is None:
            return None
        promotion = msgspec.structs.replace(self.promotion, approvals=self.previews.approvals)
        return ModelPolicy(gates=self.previews.gates, promotion=promotion)
