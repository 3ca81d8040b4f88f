"""Carries optimizations out: a unit makes and measures, one transaction registers and says so."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from bough.adapters.blobs import Blobs
from bough.data import store as data
from bough.data.models import File
from bough.kernel.catalog import Point, layer_of
from bough.kernel.errors import Problem
from bough.kernel.events import Events
from bough.kernel.reconcile import Handler, Turn
from bough.optimizing import rules, store
from bough.optimizing.asked import KeptFile, OptimizationAnswer, OptimizationRequest
from bough.optimizing.models import DONE, FAILED, REFUSED, RUNNING, Contender, Optimization
from bough.optimizing.units import OptimizingUnits
from bough.registry import store as registry
from bough.registry.candidates import Candidates
from bough.registry.models import Draft, Facts, Input, Version
from bough.registry.rules import files_in

ENDED = "optimization.ended"


class OptimizingLoop:
    """The handler."""

    def __init__(self, blobs: Blobs, events: Events, units: OptimizingUnits, candidates: Candidates) -> None:
        self._blobs, self._events, self._units, self._candidates = blobs, events, units, candidates

    def handle(self, turn: Turn) -> float | None:
        with turn.read() as tx:
            of = store.get(tx, turn.id)
        if of.state != RUNNING:
            self._units.forget(of.id)  # also of what died between its end and this
            return None
        try:
            if not self._units.has_begun(of.id):
                with turn.read() as tx:
                    request = self._request(tx, of)
                self._units.write(request)
            answer = self._units.ensure(turn, of)
            if isinstance(answer, float):
                return answer
            if answer.failure is not None:
                self._end(turn, of, FAILED, said=answer.failure.message)
            elif not answer.chosen:
                self._end(turn, of, REFUSED, contenders=answer.contenders, said=rules.summary(answer.contenders, None))
            else:
                self._register(turn, of, answer)
        except Problem as problem:
            self._end(turn, of, FAILED, said=problem.message)
        self._units.forget(of.id)
        return None

    def _request(self, tx: sa.Connection, of: Optimization) -> OptimizationRequest:
        before = registry.by_id(tx, of.parent)
        return OptimizationRequest(
            optimization=of,
            before=_kept(files_in(self._blobs.read(before.digest))),
            after=_kept(files_in(self._blobs.read(of.student))) if of.student else [],
            evaluation=_kept(_data(tx, of, of.judging.data)),
            calibration=_kept(_data(tx, of, of.calibration)) if of.calibration else [],
            inputs=_inputs(tx, of),
        )

    def _register(self, turn: Turn, of: Optimization, answer: OptimizationAnswer) -> None:
        chosen = next(each for each in answer.contenders if each.name == answer.chosen)
        with turn.read() as tx:
            before = registry.by_id(tx, of.parent)
        facts = _facts(of, before, chosen, self._units.read(of.id).inputs, answer.packages)
        files = self._files(of, before, answer)
        draft = self._candidates.prepare(
            of.place, of.becomes, files, facts, aliases=of.aliases, source=f"optimization {of.id}",
        )  # fmt: skip
        self._end(turn, of, DONE, contenders=answer.contenders, said=rules.summary(answer.contenders, chosen),
                  chosen=answer.chosen, version=(draft, files))  # fmt: skip

    def _files(self, of: Optimization, before: Version, answer: OptimizationAnswer) -> list[File]:
        """Those of the version before, but for what was made anew; the student's own."""
        if of.student:
            return files_in(self._blobs.read(of.student))
        made = {each.path: self._keep(self._units.folder(of.id) / each.place, each.path) for each in answer.made}
        gone = {*made, *answer.dropped}
        kept = [each for each in files_in(self._blobs.read(before.digest)) if each.path not in gone]
        return [*kept, *made.values()]

    def _keep(self, place: Path, path: str) -> File:
        with place.open("rb") as content:
            digest = self._blobs.put(content)
        return File(path=path, digest=digest, size=self._blobs.size(digest))

    def _end(
        self, turn: Turn, of: Optimization, state: str, *, said: str, contenders: list[Contender] | None = None,
        chosen: str = "", version: tuple[Draft, list[File]] | None = None,
    ) -> None:  # fmt: skip
        with turn.apply() as tx:
            number = 0
            if version is not None:
                draft, files = version
                number = self._candidates.add(tx, of.place, of.becomes, draft, files, of.by).number
            store.change(
                tx, of.id, state=state, said=said, contenders=contenders or [], chosen=chosen, version=number,
                finished_at=turn.clock.now(),
            )  # fmt: skip
            self._events.emit(
                tx, ENDED, of.id, project=of.project, environment=of.environment, kind=of.kind, model=of.model,
                state=state, name=of.becomes, version=number, by=of.by, why=said,
            )  # fmt: skip


def handler(blobs: Blobs, events: Events, units: OptimizingUnits, candidates: Candidates) -> Handler:
    return OptimizingLoop(blobs, events, units, candidates).handle


def _kept(files: list[File]) -> list[KeptFile]:
    return [KeptFile(path=each.path, digest=each.digest) for each in files]


def _data(tx: sa.Connection, of: Optimization, path: str) -> list[File]:
    return data.files(tx, Point(layer_of(tx, *of.place)), path)


def _inputs(tx: sa.Connection, of: Optimization) -> list[Input]:
    """Which state of which dataset is read: the last change of what it is read of."""
    found, at = [], Point(layer_of(tx, *of.place))
    for path, role in ((of.judging.data, "evaluation"), (of.calibration, "calibration")):
        if path and (changes := data.history(tx, at, path, 1)):
            name = path.partition("/")[0]
            found.append(Input(kind="dataset", name=name, version=f"#{changes[0].change}", role=role))
    return found


def _facts(
    of: Optimization, before: Version, chosen: Contender, inputs: list[Input], packages: dict[str, str]
) -> Facts:
    """Where the result comes from. What made the version before is found there, by the edge to it."""
    return Facts(
        run=of.run, parent=before.reference, inputs=inputs, packages=packages,
        parameters={"optimization": of.id, "method": chosen.name},
        metrics={of.judging.metric: chosen.score, "loss": chosen.loss, "p50_ms": chosen.p50_ms},
    )  # fmt: skip
