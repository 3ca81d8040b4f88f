"""What a model must show before it is used, and how it comes into use: `[models.NAME]` in bough.toml.

These tables are part of a release, so a policy changes as code does: with a deploy, and in a protected environment with
an approver.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

Percent = Annotated[float, msgspec.Meta(gt=0, le=100)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
Watch = Annotated[float, msgspec.Meta(ge=0, le=30 * 86_400)]


class _Table(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    pass


class MetricGate(_Table, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Bounds for a metric that the version was registered with. `worse` and `better` compare with the champion's."""

    min: float | None = None
    max: float | None = None
    worse: float | None = None  # by at most so much may it be worse than the champion's
    higher_is_better: bool = True


class Gates(_Table, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """All of them must pass."""

    metrics: dict[str, MetricGate] = {}
    signature: bool = False  # inputs and outputs must be what the champion's callers send and read
    max_size_mb: NotNegative = 0.0
    scan: bool = False  # no pickle may name what is not on the list of what models need
    allow: list[str] = []  # further names for that list: module.name, module.*

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


class ModelPolicy(_Table, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`[models.NAME]`."""

    gates: Gates = Gates()
    promotion: PromotionPolicy = PromotionPolicy()
