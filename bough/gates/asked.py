"""What the gates' process is asked and answers: files between it and the server."""

from __future__ import annotations

import msgspec

from bough.gates.models import GateResult, GateRun
from bough.registry.models import Version
from bough.runtime.spec import Failure


class GateRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    run: GateRun
    version: Version
    champion: Version | None = None


class GateAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    results: list[GateResult] = []
    failure: Failure | None = None
