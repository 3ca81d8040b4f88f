"""What the gates' process is asked and answers: files between it and the server."""

from __future__ import annotations

import msgspec

from bough.data.tables import models as tables
from bough.gates.models import GateResult, GateRun
from bough.registry.models import Version
from bough.runtime.frames import Signature
from bough.runtime.spec import Failure

CANDIDATE, CHAMPION = "candidate", "champion"  # of the replicas that are asked


class DataFile(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    digest: str


class TrainingData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a version was trained on, as it was then."""

    files: list[DataFile] = []
    tables: dict[str, tables.Version] = {}


class GateRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    run: GateRun
    version: Version
    champion: Version | None = None
    replicas: dict[str, str] = {}  # addresses, by candidate and champion
    signature: Signature | None = None  # of the service
    evaluation: list[DataFile] = []
    load: list[DataFile] = []
    trained: TrainingData | None = None
    trained_before: TrainingData | None = None


class GateAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    results: list[GateResult] = []
    failure: Failure | None = None
