"""From a job run that succeeded to a candidate: one object for each, done when its timeline says what came of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import sqlalchemy as sa

from bough.access import store as access
from bough.adapters.blobs import Blobs
from bough.data.models import File
from bough.jobs import schedules
from bough.jobs import store as jobs
from bough.jobs.models import ENDED_EVENT, SUCCEEDED, JobRun
from bough.kernel import events as happenings
from bough.kernel.context import Role
from bough.kernel.errors import NotFound, Problem
from bough.kernel.events import Event, Events
from bough.kernel.names import new_id
from bough.kernel.reconcile import Handler, Turn, wake
from bough.optimizing import loop as optimizing
from bough.optimizing import store as optimizations
from bough.optimizing.models import BEST, DISTILL, DONE, RUNNING, Judging, Optimization
from bough.registry import rules as registry_rules
from bough.registry import store as registry
from bough.registry.candidates import CANDIDATE, Candidates
from bough.tracking import artifacts, runs
from bough.tracking.models import Run
from bough.training import rules

KIND = "registration"
REGISTERED, NOT_REGISTERED, COMPARED = "job.registered", "job.not_registered", "job.compared"  # in its timeline

Read = Callable[[], AbstractContextManager[sa.Connection]]


class Registering:
    """The handler. `tracked` opens a transaction on the database of runs; `core_hour`: what a core costs."""

    def __init__(
        self, blobs: Blobs, events: Events, candidates: Candidates, tracked: Read, core_hour: float
    ) -> None:  # fmt: skip
        self._core_hour = core_hour
        self._blobs, self._events, self._candidates, self._tracked = blobs, events, candidates, tracked

    def handle(self, turn: Turn) -> float | None:
        with turn.read() as tx:
            if any(happenings.happened(tx, name, turn.id) for name in (REGISTERED, NOT_REGISTERED, COMPARED)):
                return None
            job = jobs.get(tx, turn.id)
            role = _role(tx, job.by)
        try:
            tracked, files = self._left_behind(job)
            if job.manifest.settings.distill.teacher:
                self._compare(turn, job, tracked, files)
            else:
                self._register(turn, job, tracked, files, role)
        except Problem as problem:
            with turn.apply() as tx:
                _say(tx, self._events, job, NOT_REGISTERED, problem.message, code=problem.own_code)
        return None

    def _left_behind(self, job: JobRun) -> tuple[Run, list[File]]:
        """Raises `NotFound` (OUTPUT_MISSING)."""
        folder = job.manifest.settings.output
        with self._tracked() as tx:
            tracked = runs.get(tx, job.project, job.run)
            files = rules.files_of(artifacts.inside(tx, job.run, folder.strip("/"), deep=True), folder)
        if not files:
            raise NotFound(
                "it left no file in $BOUGH_OUTPUT, and a version has files", code="OUTPUT_MISSING",
                hint="write the model into the folder that the variable BOUGH_OUTPUT names",
            )  # fmt: skip
        return tracked, files

    def _register(self, turn: Turn, job: JobRun, tracked: Run, files: list[File], role: Role) -> None:
        facts = rules.facts_of(job, tracked)
        draft = self._candidates.prepare(
            job.place, job.register, files, facts, aliases=[CANDIDATE], source=f"job run {job.id}"
        )
        with turn.apply() as tx:
            made = self._candidates.add(tx, job.place, job.register, draft, files, job.by, role)
            signed = (
                f", signed by {made.signed[0].signer}" if made.signed else ", not signed: bough signers create NAME"
            )
            said = f"its output is {made.reference}, {made.name}@{CANDIDATE}{signed}"
            _say(tx, self._events, job, REGISTERED, said, model=made.name, version=made.number)

    def _compare(self, turn: Turn, job: JobRun, tracked: Run, files: list[File]) -> None:
        """A student has to be measured first: `optimizing` does so, and registers it if it is good enough."""
        wanted, manifest = job.manifest.settings.distill, registry_rules.manifest_of(files)
        judging = Judging(
            data=wanted.data, label=wanted.label, hidden=wanted.hidden, answer=wanted.answer, metric=wanted.metric,
            max_loss=wanted.max_loss, core_hour=self._core_hour,
        )  # fmt: skip
        student = self._blobs.put(manifest)
        with turn.apply() as tx:
            teacher = registry.resolve(tx, job.place, wanted.teacher)
            made = optimizations.add(
                tx,
                Optimization(
                    id=new_id("opt"), project=job.project, environment=job.environment, kind=DISTILL,
                    model=teacher.reference, parent=teacher.id, becomes=job.register, method=BEST, calibration="",
                    judging=judging, aliases=[CANDIDATE], student=student, run=tracked.id, state=RUNNING, by=job.by,
                    started_at=turn.clock.now(),
                ),
            )  # fmt: skip
            said = f"it is measured beside its teacher {teacher.reference}: bough optimize show {made.id}"
            _say(tx, self._events, job, COMPARED, said, optimization=made.id)


def handler(blobs: Blobs, events: Events, candidates: Candidates, tracked: Read, core_hour: float) -> Handler:
    """`core_hour`: what a core costs, for the price of what is measured; 0: not known."""
    return Registering(blobs, events, candidates, tracked, core_hour).handle


def listen(events: Events) -> None:
    def on_ended(tx: sa.Connection, event: Event) -> None:
        if event.data["state"] != SUCCEEDED or not event.data["register"]:
            return
        if event.data["run"]:
            wake(tx, KIND, event.subject)
            return
        job = jobs.get(tx, event.subject)  # a group without a best: its tracked run would be that of the best
        metric = job.manifest.settings.sweep.metric
        why = f"none of its runs has logged {metric}" if metric else "its sweep names no metric"
        said = f"nothing says which of its runs is the best: {why}"
        _say(tx, events, job, NOT_REGISTERED, said, code="METRIC_MISSING")

    def on_compared(tx: sa.Connection, event: Event) -> None:
        """What came of a student, in the timeline of the run that made it."""
        of = optimizations.get(tx, event.subject)
        job = jobs.of_tracked(tx, of.run) if of.kind == DISTILL else None
        if job is not None:
            said = f"{of.becomes}/{of.version} from {of.model}: {of.said}" if of.state == DONE else of.said
            _say(tx, events, job, REGISTERED if of.state == DONE else NOT_REGISTERED, said, version=of.version)

    events.on(ENDED_EVENT, on_ended)
    events.on(optimizing.ENDED, on_compared)


def _role(tx: sa.Connection, by: str) -> Role:
    """What whoever started the run may do now. A schedule is part of what somebody has deployed, who was asked then."""
    if by == schedules.BY:
        return Role.APPROVER
    try:
        return Role[access.find_principal(tx, by).role.upper()]
    except NotFound:
        return Role.DEVELOPER


def _say(tx: sa.Connection, events: Events, job: JobRun, name: str, said: str, /, **data: object) -> None:
    where = {"project": job.project, "environment": job.environment, "job": job.job}
    events.emit(tx, name, job.id, **where, said=said, **data)
