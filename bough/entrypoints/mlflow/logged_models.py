"""Logged models, in MLflow's words."""

from __future__ import annotations

from typing import Any

import msgspec

from bough.entrypoints.mlflow.calls import Call, Empty, Pair, endpoint, mapping, milliseconds, pairs
from bough.entrypoints.mlflow.runs import listing
from bough.kernel.errors import Invalid

_STATUS = {"pending": "LOGGED_MODEL_PENDING", "ready": "LOGGED_MODEL_READY", "failed": "LOGGED_MODEL_UPLOAD_FAILED"}
_FROM_STATUS = {name: status for status, name in _STATUS.items()} | {"1": "pending", "2": "ready", "3": "failed"}


class Create(msgspec.Struct, frozen=True):
    experiment_id: str = "0"
    name: str = ""
    model_type: str = ""
    source_run_id: str = ""
    params: list[Pair] = []
    tags: list[Pair] = []


class One(msgspec.Struct, frozen=True):
    model_id: str
    allow_deleted: bool = False


class Finalize(msgspec.Struct, frozen=True):
    model_id: str
    status: str | int = "LOGGED_MODEL_READY"


class OrderBy(msgspec.Struct, frozen=True):
    field_name: str
    ascending: bool = True
    dataset_name: str = ""
    dataset_digest: str = ""


class OnDataset(msgspec.Struct, frozen=True):
    dataset_name: str
    dataset_digest: str = ""


class Search(msgspec.Struct, frozen=True):
    experiment_ids: list[str] = []
    filter: str = ""
    datasets: list[OnDataset] = []
    max_results: int = 50
    order_by: list[OrderBy] = []
    page_token: str = ""


class Tags(msgspec.Struct, frozen=True):
    model_id: str
    tags: list[Pair] = []


class Tag(msgspec.Struct, frozen=True):
    model_id: str
    tag_key: str


class Params(msgspec.Struct, frozen=True):
    model_id: str
    params: list[Pair] = []


class Artifacts(msgspec.Struct, frozen=True):
    model_id: str
    artifact_directory_path: str = ""


@endpoint("POST", "/mlflow/logged-models")
def create(call: Call, request: Create) -> Any:
    made = call.op(
        "logged_models.create", experiment_id=request.experiment_id, name=request.name, kind=request.model_type,
        run=request.source_run_id, params=mapping(request.params), tags=mapping(request.tags),
    )  # fmt: skip
    return {"model": shape(made)}


@endpoint("GET", "/mlflow/logged-models/{model_id}")
def get(call: Call, request: One) -> Any:
    return {"model": shape(call.op("logged_models.show", id=request.model_id, also_deleted=request.allow_deleted))}


@endpoint("PATCH", "/mlflow/logged-models/{model_id}")
def finalize(call: Call, request: Finalize) -> Any:
    status = _FROM_STATUS.get(str(request.status))
    if status is None:
        raise Invalid(f"{str(request.status)[:100]!r} is not a status", code="REQUEST_INVALID")
    return {"model": shape(call.op("logged_models.finish", id=request.model_id, status=status))}


@endpoint("DELETE", "/mlflow/logged-models/{model_id}")
def delete(call: Call, request: One) -> Any:
    call.op("logged_models.delete", id=request.model_id)
    return Empty()


@endpoint("POST", "/mlflow/logged-models/search")
def search(call: Call, request: Search) -> Any:
    order = [f"{each.field_name} {'ASC' if each.ascending else 'DESC'}" for each in request.order_by]
    datasets = [{"name": each.dataset_name, "digest": each.dataset_digest} for each in request.datasets]
    found = call.op(
        "logged_models.list", experiment_ids=request.experiment_ids, filter=request.filter, order=order,
        datasets=datasets, limit=request.max_results, page=request.page_token,
    )  # fmt: skip
    answer: dict[str, Any] = {"models": [shape(each) for each in found.models]}
    return answer | ({"next_page_token": found.next_page} if found.next_page else {})


@endpoint("PATCH", "/mlflow/logged-models/{model_id}/tags")
def set_tags(call: Call, request: Tags) -> Any:
    return {"model": shape(call.op("logged_models.tag", id=request.model_id, tags=mapping(request.tags)))}


@endpoint("DELETE", "/mlflow/logged-models/{model_id}/tags/{tag_key}")
def delete_tag(call: Call, request: Tag) -> Any:
    call.op("logged_models.tag", id=request.model_id, remove=[request.tag_key])
    return Empty()


@endpoint("POST", "/mlflow/logged-models/{model_id}/params")
def log_params(call: Call, request: Params) -> Any:
    call.op("logged_models.tag", id=request.model_id, params=mapping(request.params))
    return Empty()


@endpoint("GET", "/mlflow/logged-models/{model_id}/artifacts/directories")
def artifacts(call: Call, request: Artifacts) -> Any:
    location = call.op("logged_models.show", id=request.model_id).location
    return {"root_uri": location, "files": listing(call, request.model_id, request.artifact_directory_path)}


def shape(model: Any) -> dict[str, Any]:
    info = {
        "model_id": model.id, "experiment_id": model.experiment_id, "name": model.name,
        "creation_timestamp_ms": milliseconds(model.created_at),
        "last_updated_timestamp_ms": milliseconds(model.updated_at), "artifact_uri": model.location,
        "status": _STATUS[model.status], "model_type": model.kind, "source_run_id": model.run,
        "status_message": model.message, "tags": pairs(model.tags),
    }  # fmt: skip
    metrics = [
        {"key": each.key, "value": each.value, "timestamp": each.timestamp_ms, "step": each.step, "model_id": model.id,
         "run_id": each.run, "dataset_name": each.dataset, "dataset_digest": each.dataset_digest}
        for each in model.metrics
    ]  # fmt: skip
    return {
        "info": {k: v for k, v in info.items() if v != ""},
        "data": {"params": pairs(model.params), "metrics": metrics},
    }
