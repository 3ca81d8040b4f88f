"""What gates need beside the version: replicas to ask, and files with data. Found and started by the server."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from bough.adapters.blobs import Blobs
from bough.adapters.engine import EXITED, READY, Attempt, Engine
from bough.builds.rules import parse_bundle
from bough.data import store as data
from bough.data.tables import models as tables
from bough.data.tables.finding import find as find_table
from bough.environments import store as environments
from bough.environments.models import ModelPin, ServiceManifest
from bough.gates.asked import CANDIDATE, CHAMPION, DataFile, TrainingData
from bough.gates.models import GateRun, Subject
from bough.kernel import points
from bough.kernel.catalog import Point, layer_of
from bough.kernel.errors import Invalid
from bough.kernel.model_references import parse
from bough.kernel.paying import label
from bough.kernel.reconcile import Turn
from bough.registry.models import Version
from bough.serving import store as serving
from bough.serving.models import Deployment
from bough.serving.replicas import Replicas


class Probes:
    """Replicas that nobody but the gates' process asks: as those of the service, each with one of the two versions."""

    def __init__(self, replicas: Replicas, engine: Engine) -> None:
        self._replicas, self._engine = replicas, engine

    def ensure(self, turn: Turn, run: GateRun, deployment: Deployment, key: str) -> dict[str, str] | None:
        """Their addresses by CANDIDATE and CHAMPION; None while they start. Raises `Invalid` (PROBE_NOT_STARTED)."""
        versions = {CANDIDATE: run.subject} | ({CHAMPION: run.against} if run.against is not None else {})
        attempts = {each.unit: each for each in self._engine.snapshot()}
        found: dict[str, str] = {}
        for who, subject in versions.items():
            attempt = attempts.get(unit := f"{run.id}-{who}")
            if attempt is None:
                spec = self._replicas.probe(turn, _with(deployment, key, subject), unit)
                if spec is not None:
                    paid = spec.labels | label(run.payer)
                    self._engine.apply(msgspec.structs.replace(spec, labels=paid))
            elif attempt.state == EXITED:
                raise Invalid(f"the {who}'s replica did not start: {_why(attempt)}", code="PROBE_NOT_STARTED")
            elif attempt.state == READY and attempt.address:
                found[who] = attempt.address
        return found if len(found) == len(versions) else None

    def stop(self, run: GateRun) -> None:
        for each in self._engine.snapshot():
            if each.unit in (f"{run.id}-{CANDIDATE}", f"{run.id}-{CHAMPION}"):
                self._engine.stop(each.unit, each.attempt, 1.0)
                self._engine.forget(each.unit)


def service_of(tx: sa.Connection, run: GateRun) -> tuple[Deployment, ServiceManifest, str]:
    """A service of the live release that loads the model's champion, and under which name. Raises `Invalid`
    (NO_SERVICE)."""
    place = run.project, run.environment
    live = environments.live(tx, place)
    for name, service in live[1].services.items() if live is not None else ():
        for key, text in service.settings.registered.items():
            deployment = serving.of_service(tx, place, name, service.digest)
            meant = parse(text)
            if meant.name == run.name and meant.alias and deployment is not None and not service.settings.is_web:
                return deployment, service, key
    raise Invalid(
        f"no model service of {'/'.join(place)} loads {run.name}@champion: there is nothing to ask", code="NO_SERVICE",
        hint=f'model = "models:/{run.name}@champion" in bough.toml',
    )  # fmt: skip


def data_files(tx: sa.Connection, blobs: Blobs, run: GateRun, service: ServiceManifest, path: str) -> list[DataFile]:
    """A file of the service's bundle, else what is at DATASET/PATH in the environment now. Raises `Invalid`
    (DATA_MISSING)."""
    for entry in parse_bundle(blobs.read(service.bundle)).entries:
        if entry.path == path:
            return [DataFile(path=path, digest=entry.digest)]
    at = Point(layer_of(tx, run.project, run.environment))
    return _found(data.files(tx, at, path), path)


def training_data(tx: sa.Connection, run: GateRun, version: Version) -> TrainingData:
    """Its inputs of the kinds dataset and table, as they were then; those in the role training, if there is one. Raises
    `Invalid` (DATA_MISSING)."""
    inputs = [each for each in version.facts.inputs if each.kind in ("dataset", "table")]
    inputs = [each for each in inputs if each.role == "training"] or inputs
    if not inputs:
        raise Invalid(
            f"{version.reference} does not say on which data it was trained", code="DATA_MISSING",
            hint="bough models register … --input dataset:NAME@#CHANGE, or table:NAME@#CHANGE",
        )  # fmt: skip
    files: list[DataFile] = []
    found: dict[str, tables.Version] = {}
    for each in inputs:
        at = points.resolve(tx, run.project, version.environment, each.version, version.created_at)
        if each.kind == "table":
            found[each.name] = find_table(tx, at, each.name)
        else:
            files += _found(data.files(tx, at, each.name), each.name)
    return TrainingData(files=files, tables=found)


def _found(files: list[Any], path: str) -> list[DataFile]:
    if not files:
        raise Invalid(
            f"there is no {path!r} in the bundle or in a dataset", code="DATA_MISSING", hint="bough data list"
        )
    return [DataFile(path=each.path, digest=each.digest) for each in files]


def _with(deployment: Deployment, key: str, subject: Subject) -> Deployment:
    pin = ModelPin(name=subject.name, version=subject.number, id=subject.id, digest=subject.digest)
    return msgspec.structs.replace(deployment, models=deployment.models | {key: pin})


def _why(attempt: Attempt) -> str:
    gone = attempt.exit
    if gone is None:
        return "it ended without a word"
    return gone.failure.message if gone.failure is not None else f"status {gone.code} ({gone.reason})"
