"""Carries gate runs out: what the registry can answer at once, all else in a unit of the engine."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from bough.adapters.blobs import Blobs
from bough.gates import needs, rules, store
from bough.gates.asked import GateRequest
from bough.gates.checks import Checks
from bough.gates.models import FAILED, PASSED, RUNNING, GateResult, GateRun
from bough.gates.needs import Probes
from bough.gates.units import GateUnits
from bough.kernel.clock import Waits
from bough.kernel.errors import NotFound, Problem, Unavailable
from bough.kernel.events import Events
from bough.kernel.reconcile import Handler, Turn
from bough.registry import store as registry
from bough.registry.models import Version

RAN = "gates.ran"
DRIFT = "drift.measured"  # of the data that a candidate was trained on, from the champion's
DATA = "data"  # the gate that measures it
PROBE_CHECK_S = 0.25  # the engine's hints wake the run sooner
PROBE_PATIENCE_S = 60.0  # beyond the time in which a replica has to be ready: its files may have to be laid out first


class GateLoop:
    """The handler."""

    def __init__(self, blobs: Blobs, events: Events, units: GateUnits, probes: Probes, checks: Checks) -> None:
        self._blobs, self._events, self._units, self._probes = blobs, events, units, probes
        self._checks = checks
        self._waits = Waits()

    def handle(self, turn: Turn) -> float | None:
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
                outcome = self._in_a_process(turn, run, *found)
                if isinstance(outcome, float):
                    return outcome
                results += outcome
            if run.gates.checks:
                outcome = self._checks.ensure(turn, run, *found)
                if isinstance(outcome, float):
                    return outcome
                results += outcome
        kept = [keep(self._blobs, run, each) for each in results]
        with turn.apply() as tx:
            finish(tx, self._events, run, kept, turn.clock.now())
        self._waits.over(run.id)
        self._probes.stop(run)
        self._units.forget(run)
        self._checks.forget(run)
        return None

    def _in_a_process(
        self, turn: Turn, run: GateRun, version: Version, champion: Version | None
    ) -> float | list[GateResult]:
        """What the gates' process finds; seconds to wait while it, or what it asks, is on its way."""
        if not self._units.has_begun(run):
            try:
                request = self._request(turn, run, version, champion)
            except Problem as problem:
                return [GateResult(gate="run", passed=False, said=problem.message)]
            if request is None:
                return PROBE_CHECK_S
            self._units.write(run, request)
        return self._units.ensure(turn, run)

    def _request(self, turn: Turn, run: GateRun, version: Version, champion: Version | None) -> GateRequest | None:
        """Everything that the process needs; None while replicas start."""
        gates, request = run.gates, GateRequest(run=run, version=version, champion=champion)
        with turn.read() as tx:
            if gates.data is not None and champion is not None:
                before, after = (needs.training_data(tx, run, each) for each in (champion, version))
                request = msgspec.structs.replace(request, trained=after, trained_before=before)
            if not rules.needs_replicas(gates):
                return request
            deployment, service, key = needs.service_of(tx, run)
            read = {
                name: needs.data_files(tx, self._blobs, run, service, wanted)
                for name, wanted in (
                    ("evaluation", gates.evaluation.data if gates.evaluation else ""),
                    ("load", gates.load.data if gates.load else ""),
                )
                if wanted
            }
        addresses = self._probes.ensure(turn, run, deployment, key)
        if addresses is None:
            waited_s = self._waits.seconds(turn.clock, run.id, run.started_at)
            if waited_s > deployment.settings.health_timeout_s + PROBE_PATIENCE_S:
                raise Unavailable("the replicas that gates ask did not come up", code="PROBE_FAILED")
            return None
        return msgspec.structs.replace(request, replicas=addresses, signature=deployment.signature, **read)


def handler(blobs: Blobs, events: Events, units: GateUnits, probes: Probes, checks: Checks) -> Handler:
    return GateLoop(blobs, events, units, probes, checks).handle


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
    for each in results:
        if each.gate == DATA and run.against is not None:
            events.emit(
                tx, DRIFT, run.id, project=run.project, environment=run.environment, by=run.by, name=run.name,
                version=run.number, against=f"{run.against.name}/{run.against.number}", figures=each.figures,
                why=each.said,
            )  # fmt: skip
