"""Promotions and approvals as data."""

from __future__ import annotations

from typing import Any

import msgspec

from bough.environments.models import ModelPin
from bough.kernel.policy import PromotionPolicy as Policy

# gating ── passed ──> waiting ── approved ──> verifying ──> preparing ──> shadowing ──> rolling ──> done
#    └── failed, refused, beyond its bounds, or somebody says so, at any point before the end ──> aborted
GATING, WAITING, VERIFYING = "gating", "waiting", "verifying"
PREPARING, SHADOWING, ROLLING = "preparing", "shadowing", "rolling"
DONE, ABORTED = "done", "aborted"
ENDED = (DONE, ABORTED)
CHAMPION = "champion"


class Tally(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What deployments have answered in one step. `raw`: the counters as the gateway last gave them, by deployment,
    with when that gateway began: another one counts from 0 again."""

    requests: int = 0
    errors: int = 0
    buckets: list[int] = []
    cpu_s: float = 0.0
    raw: dict[str, Any] = {}


class Watch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step as it is watched. `watched_s` counts what passed between looks, and no jump of a clock."""

    watched_s: float = 0.0
    looked_at: float = 0.0
    candidate: Tally = Tally()
    champion: Tally = Tally()


class Promotion(msgspec.Struct, frozen=True, kw_only=True):
    """`source`: the environment in which the version was found. `base`: id of the release whose services are changed;
    `deployments`: those of the candidate, by service. `evidence`: digest over all of the gates' evidence."""

    id: str
    project: str
    environment: str
    source: str
    name: str
    number: int
    version: str  # id
    digest: str
    registered_by: str
    state: str
    policy: Policy
    needed: int  # approvals
    by: str
    why: str
    created_at: float
    changed_at: float
    gate_run: str = ""
    evidence: str = ""
    step: int = 0
    base: str = ""
    before: int = 0  # number of the champion until now; 0: none
    deployments: dict[str, str] = {}
    watch: Watch = Watch()
    failure: dict[str, Any] = {}
    finished_at: float = 0.0

    @property
    def place(self) -> tuple[str, str]:
        return self.project, self.environment

    @property
    def pin(self) -> ModelPin:
        """As releases name the version."""
        return ModelPin(name=self.name, version=self.number, id=self.version, digest=self.digest)

    @property
    def label(self) -> str:
        """Of the candidate in metrics."""
        return f"v{self.number}"


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """A state, or a step of one, for as long as it lasted. `ended_at`: 0 while it does; only then is written what both
    sides had answered in it."""

    promotion: str
    number: int
    state: str
    percent: float
    began_at: float
    ended_at: float = 0.0
    watched_s: float = 0.0
    candidate: Tally = Tally()
    champion: Tally = Tally()


class Approval(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Counts while it has not expired and what it was given for is what would be promoted."""

    promotion: str
    by: str
    at: float
    digest: str
    evidence: str
    expires_at: float
    why: str = ""


class PromotionDetail(msgspec.Struct, frozen=True, kw_only=True):
    """`counting`: how many of the approvals count now."""

    promotion: Promotion
    approvals: list[Approval]
    counting: int


class PromotionProgress(msgspec.Struct, frozen=True, kw_only=True):
    """Where a promotion stands, whenever that changes. `percent`: what the candidate has of the requests."""

    at: float
    id: str
    state: str
    percent: float = 0.0
    watched_s: float = 0.0
    candidate_requests: int = 0
    candidate_errors: int = 0
    champion_requests: int = 0
    champion_errors: int = 0
    missing: int = 0  # approvals
