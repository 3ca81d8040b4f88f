"""Experiments, in MLflow's words."""

from __future__ import annotations

from typing import Any

import msgspec

from bough.entrypoints.mlflow.calls import Call, Empty, Pair, endpoint, mapping, milliseconds, pairs, view


class Create(msgspec.Struct, frozen=True):
    name: str
    artifact_location: str = ""
    tags: list[Pair] = []


class Search(msgspec.Struct, frozen=True):
    max_results: int = 1000
    page_token: str = ""
    filter: str = ""
    order_by: list[str] = []
    view_type: str | int = "ACTIVE_ONLY"


class One(msgspec.Struct, frozen=True):
    experiment_id: str


class Named(msgspec.Struct, frozen=True):
    experiment_name: str


class Rename(msgspec.Struct, frozen=True):
    experiment_id: str
    new_name: str


class Tag(msgspec.Struct, frozen=True):
    experiment_id: str
    key: str
    value: str = ""


@endpoint("POST", "/mlflow/experiments/create")
def create(call: Call, request: Create) -> Any:
    made = call.op(
        "experiments.create", name=request.name, location=request.artifact_location, tags=mapping(request.tags)
    )
    return {"experiment_id": made.id}


@endpoint("GET POST", "/mlflow/experiments/search")
def search(call: Call, request: Search) -> Any:
    found = call.op(
        "experiments.list", filter=request.filter, order=request.order_by, state=view(request.view_type),
        limit=request.max_results, page=request.page_token,
    )  # fmt: skip
    answer = {"experiments": [shape(each) for each in found.experiments]}
    return answer | ({"next_page_token": found.next_page} if found.next_page else {})


@endpoint("GET", "/mlflow/experiments/get", quick=True)
def get(call: Call, request: One) -> Any:
    return {"experiment": shape(call.op("experiments.show", id=request.experiment_id))}


@endpoint("GET", "/mlflow/experiments/get-by-name", quick=True)
def named(call: Call, request: Named) -> Any:
    return {"experiment": shape(call.op("experiments.named", name=request.experiment_name))}


@endpoint("POST", "/mlflow/experiments/delete")
def delete(call: Call, request: One) -> Any:
    call.op("experiments.delete", id=request.experiment_id)
    return Empty()


@endpoint("POST", "/mlflow/experiments/restore")
def restore(call: Call, request: One) -> Any:
    call.op("experiments.restore", id=request.experiment_id)
    return Empty()


@endpoint("POST", "/mlflow/experiments/update")
def rename(call: Call, request: Rename) -> Any:
    call.op("experiments.rename", id=request.experiment_id, name=request.new_name)
    return Empty()


@endpoint("POST", "/mlflow/experiments/set-experiment-tag")
def set_tag(call: Call, request: Tag) -> Any:
    call.op("experiments.tag", id=request.experiment_id, tags={request.key: request.value})
    return Empty()


@endpoint("POST", "/mlflow/experiments/delete-experiment-tag")
def delete_tag(call: Call, request: Tag) -> Any:
    call.op("experiments.tag", id=request.experiment_id, remove=[request.key])
    return Empty()


def shape(found: Any) -> dict[str, Any]:
    return {
        "experiment_id": found.id, "name": found.name, "artifact_location": found.location,
        "lifecycle_stage": found.state, "creation_time": milliseconds(found.created_at),
        "last_update_time": milliseconds(found.updated_at), "tags": pairs(found.tags),
    }  # fmt: skip
