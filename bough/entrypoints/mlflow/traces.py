"""Traces and assessments, as MLflow's clients write and read them."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import msgspec

from bough.entrypoints.mlflow import otlp, traces_v2
from bough.entrypoints.mlflow.calls import Call, Empty, endpoint
from bough.entrypoints.mlflow.traces_said import (
    LOCATION,
    MOST_LINKED,
    SOURCES,
    STATES,
    Assessed,
    Info,
    Location,
    Said,
    fresh,
    summary,
    value_of,
)
from bough.kernel.errors import Invalid, NotFound

_SHOWN_STATES = {value: key for key, value in STATES.items()}
_STATS = "mlflow.trace.sizeStats"  # written by clients: how many spans it has
_PROMPTS = "mlflow.linkedPrompts"  # the tag with prompts that a trace used, as JSON


class OfTrace(msgspec.Struct, frozen=True):
    trace_info: Info


class Start(traces_v2.Begun, frozen=True):
    """Without a trace it is what a client of MLflow 2 says when one begins."""

    trace: OfTrace | None = None


class One(msgspec.Struct, frozen=True):
    trace_id: str


class Get(msgspec.Struct, frozen=True):
    trace_id: str
    allow_partial: bool = False


class Several(msgspec.Struct, frozen=True):
    trace_ids: list[str] = []
    experiment_ids: list[str] | None = None


class Search(msgspec.Struct, frozen=True):
    locations: list[Location] = []
    filter: str = ""
    max_results: int = 100
    order_by: list[str] = []
    page_token: str = ""


class Delete(msgspec.Struct, frozen=True):
    experiment_id: str
    max_timestamp_millis: int | None = None
    max_traces: int | None = None
    request_ids: list[str] = []


class SetTag(msgspec.Struct, frozen=True):
    trace_id: str
    key: str
    value: str = ""


class DeleteTag(msgspec.Struct, frozen=True):
    trace_id: str
    key: str


class Link(msgspec.Struct, frozen=True):
    trace_ids: list[str]
    run_id: str


class Prompt(msgspec.Struct, frozen=True):
    name: str
    version: str


class LinkPrompts(msgspec.Struct, frozen=True):
    trace_id: str
    prompt_versions: list[Prompt] = []


class Assess(msgspec.Struct, frozen=True):
    trace_id: str
    assessment: Assessed


class OneAssessment(msgspec.Struct, frozen=True):
    trace_id: str
    assessment_id: str


class Update(msgspec.Struct, frozen=True):
    trace_id: str
    assessment_id: str
    assessment: Assessed
    update_mask: str = ""


@endpoint("POST", "/mlflow/traces")
def start(call: Call, request: Start) -> Any:
    if request.trace is None:
        return traces_v2.begin(call, request)
    info = request.trace.trace_info
    experiment = info.trace_location.mlflow_experiment.experiment_id
    if not experiment:
        raise Invalid("the trace says no experiment", code="REQUEST_INVALID", hint="trace_location.mlflow_experiment")
    place = call.op("experiments.show", id=experiment).location.rstrip("/")
    made = call.op(
        "traces.put", experiment_id=experiment, assessments=[fresh(each) for each in info.assessments],
        **summary(info, {LOCATION: f"{place}/traces/{info.trace_id}/artifacts"}),
    )  # fmt: skip
    return {"trace": {"trace_info": shape(made)}}


@endpoint("GET", "/mlflow/traces/get")
def get(call: Call, request: Get) -> Any:
    found = call.op("traces.show", id=request.trace_id)
    if not request.allow_partial and not _whole(found):
        raise NotFound(
            f"spans of the trace {request.trace_id} are still under way", code="TRACE_INCOMPLETE", hint="ask again"
        )
    return {"trace": _with_spans(found)}


@endpoint("GET", "/mlflow/traces/batchGet")
def batch_get(call: Call, request: Several) -> Any:
    found = _several(call, request, spans=True)
    return {"traces": [_with_spans(each) for each in found if each.spans and _whole(each)]}


@endpoint("POST", "/mlflow/traces/batchGetInfos")
def batch_get_infos(call: Call, request: Several) -> Any:
    return {"trace_infos": [shape(each) for each in _several(call, request, spans=False)]}


@endpoint("GET", "/mlflow/traces/{trace_id}")
def get_info(call: Call, request: One) -> Any:
    return {"trace": {"trace_info": shape(call.op("traces.show", id=request.trace_id, spans=False))}}


@endpoint("POST", "/mlflow/traces/search")
def search(call: Call, request: Search) -> Any:
    found = call.op(
        "traces.list", experiment_ids=[each.mlflow_experiment.experiment_id for each in request.locations],
        filter=request.filter, order=request.order_by, limit=request.max_results, page=request.page_token,
    )  # fmt: skip
    answer: dict[str, Any] = {"traces": [shape(each) for each in found.traces]}
    return answer | ({"next_page_token": found.next_page} if found.next_page else {})


@endpoint("POST", "/mlflow/traces/delete-traces")
def delete(call: Call, request: Delete) -> Any:
    if request.max_timestamp_millis is None and not request.request_ids:
        raise Invalid("which traces, is not said", code="REQUEST_INVALID", hint="max_timestamp_millis, or request_ids")
    gone = call.op(
        "traces.delete", experiment_id=request.experiment_id, ids=request.request_ids,
        before_ms=request.max_timestamp_millis, most=request.max_traces,
    )  # fmt: skip
    return {"traces_deleted": gone.traces}


@endpoint("PATCH", "/mlflow/traces/{trace_id}/tags")
def set_tag(call: Call, request: SetTag) -> Any:
    call.op("traces.tag", id=request.trace_id, tags={request.key: request.value})
    return Empty()


@endpoint("DELETE", "/mlflow/traces/{trace_id}/tags")
def delete_tag(call: Call, request: DeleteTag) -> Any:
    call.op("traces.tag", id=request.trace_id, remove=[request.key])
    return Empty()


@endpoint("POST", "/mlflow/traces/link-to-run")
def link(call: Call, request: Link) -> Any:
    if len(request.trace_ids) > MOST_LINKED:
        raise Invalid(f"{len(request.trace_ids)} traces at once", code="REQUEST_INVALID", hint=f"{MOST_LINKED}")
    call.op("traces.link", ids=request.trace_ids, run=request.run_id)
    return Empty()


@endpoint("POST", "/mlflow/traces/link-prompts")
def link_prompts(call: Call, request: LinkPrompts) -> Any:
    """Kept in the tag by which clients search for them."""
    tags = call.op("traces.show", id=request.trace_id, spans=False).tags
    try:
        known = json.loads(tags.get(_PROMPTS, "[]"))
    except (ValueError, RecursionError):
        known = None
    if not isinstance(known, list):
        raise Invalid(f"the tag {_PROMPTS} of the trace is no list", code="REQUEST_INVALID", hint="delete the tag")
    fresh = [{"name": each.name, "version": each.version} for each in request.prompt_versions]
    every = known + [each for at, each in enumerate(fresh) if each not in known and each not in fresh[:at]]
    call.op("traces.tag", id=request.trace_id, tags={_PROMPTS: json.dumps(every)})
    return Empty()


@endpoint("POST", "/mlflow/traces/{trace_id}/assessments")
def assess(call: Call, request: Assess) -> Any:
    made = call.op("assessments.create", trace=request.trace_id, assessment=fresh(request.assessment))
    return {"assessment": _assessment(made)}


@endpoint("GET", "/mlflow/traces/{trace_id}/assessments/{assessment_id}")
def get_assessment(call: Call, request: OneAssessment) -> Any:
    return {"assessment": _assessment(call.op("assessments.show", trace=request.trace_id, id=request.assessment_id))}


@endpoint("PATCH", "/mlflow/traces/{trace_id}/assessments/{assessment_id}")
def update_assessment(call: Call, request: Update) -> Any:
    given, changed = request.assessment, dict[str, Any]()
    for each in re.split(r"[,\s]+", request.update_mask):
        name = re.sub(r"[A-Z]", lambda found: f"_{found[0].lower()}", each)  # JSON writes masks in camel case
        if name == "assessment_name":
            changed["name"] = given.assessment_name
        elif name in ("feedback", "expectation"):
            said = getattr(given, name) or Said()
            changed |= {"kind": name, "value": value_of(said), "error": said.error}
        elif name in ("rationale", "metadata"):
            changed[name] = getattr(given, name)
    made = call.op("assessments.update", trace=request.trace_id, id=request.assessment_id, changed=changed)
    return {"assessment": _assessment(made)}


@endpoint("DELETE", "/mlflow/traces/{trace_id}/assessments/{assessment_id}")
def delete_assessment(call: Call, request: OneAssessment) -> Any:
    call.op("assessments.delete", trace=request.trace_id, id=request.assessment_id)
    return Empty()


def shape(trace: Any) -> dict[str, Any]:
    info = {
        "trace_id": trace.id,
        "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": trace.experiment_id}},
        "request_time": _timestamp(trace.started_at),
        "execution_duration": None if trace.seconds is None else f"{trace.seconds:.3f}s",
        "state": _SHOWN_STATES[trace.state], "client_request_id": trace.request_id, "request_preview": trace.request,
        "response_preview": trace.response, "trace_metadata": trace.metadata, "tags": trace.tags,
        "assessments": [_assessment(each) for each in trace.assessments],
    }  # fmt: skip
    return {key: value for key, value in info.items() if value is not None}


def _with_spans(trace: Any) -> dict[str, Any]:
    return {"trace_info": shape(trace), "spans": [otlp.shape(trace.id, each) for each in trace.spans]}


def _several(call: Call, request: Several, *, spans: bool) -> list[Any]:
    found = call.op("traces.several", ids=request.trace_ids, spans=spans).traces
    return [each for each in found if request.experiment_ids is None or each.experiment_id in request.experiment_ids]


def _whole(trace: Any) -> bool:
    """Whether as many spans have come as the trace says that it has."""
    try:
        return bool(len(trace.spans) >= json.loads(trace.metadata.get(_STATS, "{}")).get("num_spans", 0))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return True


def _assessment(found: Any) -> dict[str, Any]:
    if found.kind == "issue":
        said: dict[str, Any] = {"issue_name": found.value}
    elif found.kind == "expectation" and isinstance(found.value, list | dict):
        text = json.dumps(found.value)
        said = {"serialized_value": {"serialization_format": "JSON_FORMAT", "value": text}}
    else:
        said = {"value": found.value} | ({"error": found.error} if found.error else {})
    source = found.source.upper() if found.source.upper() in SOURCES else "SOURCE_TYPE_UNSPECIFIED"
    answer = {
        "assessment_id": found.id, "assessment_name": found.name, "trace_id": found.trace, "span_id": found.span,
        "source": {"source_type": source, "source_id": found.by}, "create_time": _timestamp(found.created_at),
        "last_update_time": _timestamp(found.updated_at), found.kind: said, "rationale": found.rationale,
        "metadata": found.metadata, "overrides": found.overrides, "valid": found.valid,
    }  # fmt: skip
    return {key: value for key, value in answer.items() if value != ""}


def _timestamp(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(round(seconds, 3), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return "9999-12-31T23:59:59.999Z"  # later ones cannot be written
