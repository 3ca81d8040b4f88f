"""What Bough tells others, as OpenLineage events: pure functions from records to JSON.

An event ends a run and carries all there is to know of it. Namespace of everything is `bough://PROJECT`:

    job runs/EXPERIMENT      a run, from its START   what it read               -> logged_model/ID
    job models/NAME          registers a version     datasets, tables, parent   -> model/NAME
    job releases/ENVIRONMENT brings a release live    model/NAME                 -> service/ENVIRONMENT/NAME
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

import bough
from bough.lineage.openlineage import NAMESPACE, dataset_name, run_id
from bough.registry.models import Version
from bough.runtime.frames import Tensor
from bough.tracking.models import Run

PRODUCER = f"urn:bough:{bough.__version__}"
_SPEC = "https://openlineage.io/spec"
_EVENT = f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"
# The version of each facet's schema that is written here.
_FACETS = {
    "DatasetVersionDatasetFacet": "1-0-1",
    "ExecutionParametersRunFacet": "1-0-0",
    "JobTypeJobFacet": "2-0-4",
    "OwnershipDatasetFacet": "1-0-1",
    "OwnershipJobFacet": "1-0-1",
    "SchemaDatasetFacet": "1-2-0",
    "TagsRunFacet": "1-0-0",
}
Fields = Sequence[tuple[str, str]]  # names and types of a schema
_ENDS = {"finished": "COMPLETE", "failed": "FAIL", "killed": "ABORT"}
_MODEL, _SERVICE = "model", "service"


class Serves(msgspec.Struct, frozen=True, kw_only=True):
    """A service of a release: its digest, and the versions that it loads as (name, number)."""

    name: str
    digest: str
    models: list[tuple[str, int]] = []


def registered(project: str, version: Version, at: float, fields: Mapping[str, Fields]) -> bytes:
    """A version was registered. `fields`: of the tables among its inputs, by name."""
    facts = version.facts
    inputs = [
        _dataset(project, dataset_name(each.kind, each.name), version=each.version or each.digest,
                 fields=fields.get(each.name, ()) if each.kind == "table" else ())
        for each in facts.inputs
    ]  # fmt: skip
    name, _, number = facts.parent.rpartition("/")
    if facts.parent:
        inputs.append(_dataset(project, dataset_name(_MODEL, name or number), version=number if name else ""))
    takes = version.signature.inputs if version.signature else []
    made = _dataset(
        project, dataset_name(_MODEL, version.name), version=str(version.number), owner=version.by,
        fields=[(each.name, _type(each)) for each in takes],
    )  # fmt: skip
    tags = {"run": facts.run, "commit": facts.commit, "bundle": facts.bundle, "digest": version.digest}
    tags |= {"python_environment": facts.python_environment, "environment": version.environment}
    run = {"tags": _tags(tags), **_parameters(facts.parameters)}
    job = (f"models/{version.name}", "MODEL", version.by)
    return _event(project, version.id, at, job, run=run, inputs=inputs, outputs=[made])


def run_ended(run: Run, at: float) -> list[bytes]:
    """A run began, and has ended: two events."""
    project, source = run.project, run.source
    inputs = [_dataset(project, dataset_name(each.kind, each.name), version=each.version) for each in run.inputs]
    outputs = [_dataset(project, dataset_name("logged_model", each.model), owner=run.by) for each in run.outputs]
    said = {"run": run.id, "name": run.name, "environment": run.environment, "commit": source.commit}
    said |= {"bundle": source.bundle, "python_environment": source.python_environment}
    facets = {"tags": _tags(said), **_parameters(run.params)}
    job = (f"runs/{run.experiment}", "RUN", run.by)
    times = (("START", run.started_at), (_ENDS.get(run.status, "COMPLETE"), run.ended_at or at))
    return [
        _event(project, f"run/{project}/{run.id}", when, job, run=facets, inputs=inputs, outputs=outputs, state=state)
        for state, when in times
    ]


def live(
    place: tuple[str, str], id: str, at: float, *, by: str, commit: str, number: int, services: Iterable[Serves]
) -> bytes:
    """A release went live."""
    project, environment = place
    every = list(services)
    loaded = sorted({pin for each in every for pin in each.models})
    inputs = [_dataset(project, dataset_name(_MODEL, name), version=str(number)) for name, number in loaded]
    outputs = [
        _dataset(project, dataset_name(_SERVICE, f"{environment}/{each.name}"), version=each.digest, owner=by)
        for each in every
    ]
    run = {"tags": _tags({"release": str(number), "commit": commit, "environment": environment})}
    return _event(project, id, at, (f"releases/{environment}", "RELEASE", by), run=run, inputs=inputs, outputs=outputs)


def _event(
    project: str, id: str, at: float, job: tuple[str, str, str], *, run: dict[str, Any], inputs: list[Any],
    outputs: list[Any], state: str = "COMPLETE",
) -> bytes:  # fmt: skip
    name, kind, by = job
    facets = {
        "jobType": _facet("JobTypeJobFacet", processingType="BATCH", integration="BOUGH", jobType=kind),
        "ownership": _facet("OwnershipJobFacet", owners=[_owner(by)]),
    }
    return msgspec.json.encode(
        {
            "eventType": state,
            "eventTime": datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "producer": PRODUCER,
            "schemaURL": _EVENT,
            "run": {"runId": run_id(id), "facets": run},
            "job": {"namespace": f"{NAMESPACE}{project}", "name": name, "facets": facets},
            "inputs": inputs,
            "outputs": outputs,
        }
    )


def _dataset(project: str, name: str, *, version: str = "", owner: str = "", fields: Fields = ()) -> dict[str, Any]:
    facets: dict[str, Any] = {}
    if version:
        facets["version"] = _facet("DatasetVersionDatasetFacet", datasetVersion=version)
    if fields:
        listed = [{"name": each, "type": kind} for each, kind in fields]
        facets["schema"] = _facet("SchemaDatasetFacet", fields=listed)
    if owner:
        facets["ownership"] = _facet("OwnershipDatasetFacet", owners=[_owner(owner)])
    return {"namespace": f"{NAMESPACE}{project}", "name": name, "facets": facets}


def _facet(kind: str, **fields: Any) -> dict[str, Any]:
    place = f"{_SPEC}/facets/{_FACETS[kind]}/{kind}.json#/$defs/{kind}"
    return {"_producer": PRODUCER, "_schemaURL": place, **fields}


def _parameters(parameters: Mapping[str, str]) -> dict[str, Any]:
    said = [{"key": key, "name": key, "value": value} for key, value in sorted(parameters.items())]
    return {"executionParameters": _facet("ExecutionParametersRunFacet", parameters=said)} if said else {}


def _owner(name: str) -> dict[str, str]:
    return {"name": f"user:{name}", "type": "OWNER"}


def _tags(tags: Mapping[str, str]) -> dict[str, Any]:
    said = [{"key": key, "value": value, "source": "BOUGH"} for key, value in tags.items() if value]
    return _facet("TagsRunFacet", tags=said)


def _type(tensor: Tensor) -> str:
    return f"{tensor.datatype}[{','.join(str(each) for each in tensor.shape)}]"
