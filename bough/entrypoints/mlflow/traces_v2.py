"""Traces as clients of MLflow 2 write and read them: begun, later ended, their spans in an artifact beside them."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

import msgspec

from bough.entrypoints.mlflow.calls import Call, Pair, endpoint, mapping, milliseconds, pairs
from bough.entrypoints.mlflow.traces_said import INPUTS, LOCATION, OUTPUTS
from bough.kernel.errors import Invalid

_STATES = {"OK": "ok", "ERROR": "error", "IN_PROGRESS": "in_progress", "TRACE_STATUS_UNSPECIFIED": "unspecified"}
_SHOWN_STATES = {value: key for key, value in _STATES.items()}

Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=2**52)]


class Begun(msgspec.Struct, frozen=True):
    """What is said of a trace when it begins."""

    experiment_id: str = "0"
    timestamp_ms: Milliseconds = 0
    request_metadata: list[Pair] = []
    tags: list[Pair] = []


class End(msgspec.Struct, frozen=True):
    request_id: str
    timestamp_ms: Milliseconds = 0
    status: str = "TRACE_STATUS_UNSPECIFIED"
    request_metadata: list[Pair] = []
    tags: list[Pair] = []


class One(msgspec.Struct, frozen=True):
    request_id: str


class Search(msgspec.Struct, frozen=True):
    experiment_ids: list[str] = []
    filter: str = ""
    max_results: int = 100
    order_by: list[str] = []
    page_token: str = ""


def begin(call: Call, request: Begun) -> Any:
    id = f"tr-{secrets.token_hex(16)}"
    place = call.op("experiments.show", id=request.experiment_id).location.rstrip("/")
    metadata = mapping(request.request_metadata)
    made = call.op(
        "traces.put", id=id, experiment_id=request.experiment_id, started_at=request.timestamp_ms / 1000,
        state="in_progress", request=metadata.get(INPUTS), metadata=metadata,
        tags=mapping(request.tags) | {LOCATION: f"{place}/traces/{id}/artifacts"},
    )  # fmt: skip
    return {"trace_info": shape(made)}


@endpoint("PATCH", "/mlflow/traces/{request_id}")
def end(call: Call, request: End) -> Any:
    if request.status not in _STATES:
        raise Invalid(
            f"{request.status[:100]!r} is not a status of a trace", code="REQUEST_INVALID", hint=", ".join(_STATES)
        )
    begun = call.op("traces.show", id=request.request_id, spans=False)
    metadata = mapping(request.request_metadata)
    made = call.op(
        "traces.put", id=begun.id, experiment_id=begun.experiment_id, started_at=begun.started_at,
        seconds=max(request.timestamp_ms / 1000 - begun.started_at, 0.0), state=_STATES[request.status],
        request_id=begun.request_id, request=metadata.get(INPUTS), response=metadata.get(OUTPUTS),
        metadata=metadata, tags=mapping(request.tags),
    )  # fmt: skip
    return {"trace_info": shape(made)}


@endpoint("GET", "/mlflow/traces/{request_id}/info")
def info(call: Call, request: One) -> Any:
    return {"trace_info": shape(call.op("traces.show", id=request.request_id, spans=False))}


@endpoint("GET", "/mlflow/traces")
def search(call: Call, request: Search) -> Any:
    found = call.op(
        "traces.list", experiment_ids=request.experiment_ids, filter=request.filter, order=request.order_by,
        limit=request.max_results, page=request.page_token,
    )  # fmt: skip
    answer: dict[str, Any] = {"traces": [shape(each) for each in found.traces]}
    return answer | ({"next_page_token": found.next_page} if found.next_page else {})


def shape(trace: Any) -> dict[str, Any]:
    said = {
        "request_id": trace.id, "experiment_id": trace.experiment_id, "timestamp_ms": milliseconds(trace.started_at),
        "status": _SHOWN_STATES[trace.state], "request_metadata": pairs(trace.metadata), "tags": pairs(trace.tags),
    }  # fmt: skip
    return said if trace.seconds is None else said | {"execution_time_ms": milliseconds(trace.seconds)}
