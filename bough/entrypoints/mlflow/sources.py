"""What a registered version is made from: a run or a logged model, its files, and what is known of both."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from bough.entrypoints.mlflow.calls import Call, Pair
from bough.entrypoints.mlflow.contents import below
from bough.kernel.errors import Invalid, NotFound

_SCHEMES = ("mlflow-artifacts:/", "runs:/", "models:/")


class CreateVersion(msgspec.Struct, frozen=True):
    name: str
    source: str
    run_id: str = ""
    run_link: str = ""
    model_id: str = ""
    description: str = ""
    tags: list[Pair] = []


class Place(NamedTuple):
    """Whose artifacts, and from which folder on."""

    owner: str
    folder: str


def place_of(source: str) -> Place:
    scheme = next((each for each in _SCHEMES if source.startswith(each)), "")
    parts = source[len(scheme) :].strip("/").split("/")
    if scheme in ("runs:/", "models:/") and parts[0]:
        return Place(parts[0], "/".join(parts[1:]))
    if scheme and "artifacts" in parts[1:]:
        at = parts.index("artifacts", 1)
        return Place(parts[at - 1], "/".join(parts[at + 1 :]))
    raise Invalid(
        f"{source[:200]!r} lies outside of Bough, so it cannot be kept as a version",
        code="MODEL_SOURCE_FOREIGN", hint="log the model to a run first: mlflow.<flavor>.log_model",
    )  # fmt: skip


def files_at(call: Call, place: Place) -> list[dict[str, Any]]:
    found = below(place.folder, call.op("artifacts.list", owner=place.owner, path=place.folder, all=True))
    if not found:
        raise Invalid(
            f"{place.owner} has no artifacts in {place.folder or 'its root'!r}",
            code="MODEL_EMPTY", hint="log the model first",
        )  # fmt: skip
    return found


def facts_of(call: Call, request: CreateVersion, model_id: str) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "run": request.run_id,
        "more": {key: value for key, value in (("model_id", model_id), ("run_link", request.run_link)) if value},
    }
    params: dict[str, str] = {}
    metrics: dict[str, float] = {}
    logged = None
    if model_id:
        logged = call.op("logged_models.show", id=model_id)
        facts["run"] = facts["run"] or logged.run
        params |= logged.params
        metrics |= {each.key: each.value for each in logged.metrics if isinstance(each.value, float)}
    if facts["run"]:
        try:
            run = call.op("runs.show", id=facts["run"])
        except NotFound:  # one that is known elsewhere
            return facts
        params = run.params | params
        newer = {each.key for each in run.metrics if logged is not None and _is_newer(each, logged)}
        of_run = {each.key: each.value for each in run.metrics if isinstance(each.value, float)}
        metrics = of_run | {key: value for key, value in metrics.items() if key not in newer}
        facts |= {
            "commit": run.source.commit, "bundle": run.source.bundle,
            "python_environment": run.source.python_environment,
            "inputs": [{"kind": each.kind, "name": each.name, "version": each.version, "role": each.context}
                       for each in run.inputs],
        }  # fmt: skip
    return facts | {"parameters": params, "metrics": metrics}


def _is_newer(point: Any, logged: Any) -> bool:
    """Whether a run's newest point says more of a model that it logged than what the client has linked. `log_model`
    without a step links the points of step 0, also at the end of a training that has logged every epoch."""
    linked = [each for each in logged.metrics if each.key == point.key]
    return (
        bool(linked)
        and all(each.step == 0 and each.timestamp_ms <= point.timestamp_ms for each in linked)
        and point.step > 0
        and point.timestamp_ms <= logged.created_at * 1000
    )
