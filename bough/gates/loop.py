"""Carries gate runs out: what the registry can answer at once, all else in a unit of the engine."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from bough.adapters.blobs import Blobs
from bough.gates import rules, store
from bough.gates.models import FAILED, PASSED, RUNNING, GateResult, GateRun
from bough.gates.units import GateUnits
from bough.kernel.errors import NotFound
from bough.kernel.events import Events
from bough.kernel.reconcile import Handler, Turn
from bough.registry import store as registry
from bough.registry.models import Version

RAN = "gates.ran"


def handler(blobs: Blobs, events: Events, units: GateUnits) -> Handler:
    """The handler for gate runs."""

    def turn(turn: Turn) -> float | None:
        with turn.read() as tx:
            run = store.get(tx, turn.id)
            if run.state != RUNNING:
                return None
            found = subjects(tx, run)
        if isinstance(found, GateResult):
            results = [found]
        else:
            results = list(rules.decide(run.gates, *found))
            if rules.unit_needed(run.gates):
                outcome = units.ensure(turn, run, *found)
                if isinstance(outcome, float):
                    return outcome
                results += outcome
        kept = [keep(blobs, run, each) for each in results]
        with turn.apply() as tx:
            finish(tx, events, run, kept, turn.clock.now())
        units.forget(run)
        return None

    return turn


def subjects(tx: sa.Connection, run: GateRun) -> tuple[Version, Version | None] | GateResult:
    """The version and the champion that it is held against, as they are now."""
    try:
        found = registry.by_id(tx, run.version)
        return found, registry.by_id(tx, run.against.id) if run.against is not None else None
    except NotFound as problem:
        return GateResult(gate="version", passed=False, said=problem.message)


def keep(blobs: Blobs, run: GateRun, result: GateResult) -> GateResult:
    """With its evidence, which is a blob from now on."""
    return msgspec.structs.replace(result, evidence=blobs.put(rules.evidence(run, result)))


def finish(tx: sa.Connection, events: Events, run: GateRun, results: list[GateResult], now: float) -> None:
    state = PASSED if all(each.passed for each in results) else FAILED
    store.finish(tx, run.id, state, results, now)
    failed = [each.gate for each in results if not each.passed]
    events.emit(
        tx, RAN, run.id, project=run.project, environment=run.environment, by=run.by, name=run.name,
        version=run.number, digest=run.digest, policy=run.policy, state=state, failed=failed,
        evidence={each.gate: each.evidence for each in results},
        why=f"failed: {', '.join(failed)}" if failed else "passed",
    )  # fmt: skip
