"""Gate runs as data."""

from __future__ import annotations

from typing import Any

import msgspec

from bough.kernel.paying import GATE, Payer
from bough.kernel.policy import Gates

RUNNING, PASSED, FAILED = "running", "passed", "failed"
CENTER = "gates"  # who pays for what they run


class GateResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`evidence`: digest of the blob with the figures and the version that they are of."""

    gate: str  # metrics.auc, signature, size, scan, evaluation, data, load, fairness.COLUMN, check.FUNCTION
    passed: bool
    said: str
    figures: dict[str, Any] = {}
    evidence: str = ""


class Subject(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A version as gates see it, and as its evidence names it."""

    name: str
    number: int
    digest: str
    id: str = ""


class GateRun(msgspec.Struct, frozen=True, kw_only=True):
    """`policy`: digest of the gates that were asked for; `against`: the champion that it was compared with."""

    id: str
    project: str
    environment: str
    name: str
    number: int
    digest: str
    version: str  # id
    gates: Gates
    policy: str
    state: str
    by: str
    started_at: float
    against: Subject | None = None
    results: list[GateResult] = []
    finished_at: float = 0.0

    @property
    def payer(self) -> Payer:
        return Payer(
            project=self.project, environment=self.environment, cost_center=CENTER, kind=GATE, workload=self.name
        )

    @property
    def subject(self) -> Subject:
        return Subject(name=self.name, number=self.number, digest=self.digest, id=self.version)
