"""What MLflow's clients and servers say of a trace, read into what Bough's operations take. It needs nothing of the
server: an import reads the same."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from bough.kernel.errors import Invalid

STATES = {"OK": "ok", "ERROR": "error", "IN_PROGRESS": "in_progress", "STATE_UNSPECIFIED": "unspecified"}
SOURCES = ("HUMAN", "LLM_JUDGE", "CODE")
LOCATION = "mlflow.artifactLocation"  # the tag that says where a trace's files go
STORED = {"mlflow.trace.spansLocation": "TRACKING_STORE"}  # tells clients to ask for spans here, not for a file
RUN, MODEL = "mlflow.sourceRun", "mlflow.modelId"  # metadata: in which run it was traced, and which logged model
INPUTS, OUTPUTS = "mlflow.traceInputs", "mlflow.traceOutputs"  # metadata of MLflow 2, later called previews
MOST_LINKED = 100
_DURATION = re.compile(r"(\d{1,12})(?:\.(\d{1,9}))?s")
_SAID = "mlflow.trace.infoFinalized"  # written by servers and clients: the trace's own summary has come


class OfExperiment(msgspec.Struct, frozen=True):
    experiment_id: str = ""


class Location(msgspec.Struct, frozen=True):
    mlflow_experiment: OfExperiment = OfExperiment()


class Source(msgspec.Struct, frozen=True):
    source_type: str | int = ""
    source_id: str = ""


class Serialized(msgspec.Struct, frozen=True):
    value: str = "null"


class Said(msgspec.Struct, frozen=True):
    value: Any = None
    error: dict[str, str] = {}
    serialized_value: Serialized | None = None
    issue_name: str = ""


class Assessed(msgspec.Struct, frozen=True):
    assessment_name: str = ""
    span_id: str = ""
    source: Source = Source()
    feedback: Said | None = None
    expectation: Said | None = None
    issue: Said | None = None
    rationale: str = ""
    metadata: dict[str, str] = {}
    overrides: str = ""


class Info(msgspec.Struct, frozen=True):
    trace_id: str
    request_time: str
    trace_location: Location = Location()
    client_request_id: str | None = None
    request_preview: str | None = None
    response_preview: str | None = None
    execution_duration: str | None = None
    state: str = "STATE_UNSPECIFIED"
    trace_metadata: dict[str, str] = {}
    tags: dict[str, str] = {}
    assessments: list[Assessed] = []


def summary(info: Info, tags: dict[str, str]) -> dict[str, Any]:
    """What `traces.put` takes. `tags` are laid over its own."""
    return {
        "id": info.trace_id, "started_at": seconds_at(info.request_time), "state": _state(info.state),
        "seconds": None if info.execution_duration is None else _seconds(info.execution_duration),
        "request_id": info.client_request_id, "request": info.request_preview, "response": info.response_preview,
        "metadata": info.trace_metadata | {_SAID: "true"}, "tags": info.tags | tags,
    }  # fmt: skip


def fresh(given: Assessed) -> dict[str, Any]:
    kinds = {"feedback": given.feedback, "expectation": given.expectation, "issue": given.issue}
    said = [(kind, value) for kind, value in kinds.items() if value is not None]
    if len(said) != 1:
        raise Invalid("an assessment is a feedback, an expectation or an issue", code="REQUEST_INVALID")
    kind, value = said[0]
    source = given.source.source_type
    if isinstance(source, int):
        source = SOURCES[source - 1] if 0 < source <= len(SOURCES) else ""
    return {
        "kind": kind, "name": given.assessment_name, "value": value.issue_name if kind == "issue" else value_of(value),
        "error": value.error, "source": source.lower(), "by": given.source.source_id, "span": given.span_id,
        "rationale": given.rationale, "metadata": given.metadata, "overrides": given.overrides,
    }  # fmt: skip


def value_of(said: Said) -> Any:
    if said.serialized_value is None:
        return said.value
    try:
        return msgspec.json.decode(said.serialized_value.value)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Invalid(f"the value of an expectation is not JSON: {error}", code="REQUEST_INVALID") from error


def _state(name: str) -> str:
    if name not in STATES:
        raise Invalid(f"{name[:100]!r} is not a state of a trace", code="REQUEST_INVALID", hint=", ".join(STATES))
    return STATES[name]


def seconds_at(text: str) -> float:
    try:
        found = datetime.fromisoformat(text)
        return round((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000) / 1000
    except (ValueError, OverflowError):
        raise Invalid(f"{text[:100]!r} is not a time", code="REQUEST_INVALID", hint="2026-01-31T12:00:00Z") from None


def _seconds(text: str) -> float:
    found = _DURATION.fullmatch(text)
    if found is None:
        raise Invalid(f"{text[:100]!r} is not a duration", code="REQUEST_INVALID", hint="1.5s")
    return int(found[1]) + int((found[2] or "0").ljust(9, "0")) / 1e9


def as_said_later(found: Mapping[str, Any]) -> dict[str, Any]:
    """What a server of MLflow 2 says of a trace, as those of MLflow 3 say it."""
    metadata, tags = (
        {each["key"]: each.get("value", "") for each in found.get(name, [])} for name in ("request_metadata", "tags")
    )
    state = found.get("status", "")
    took = found.get("execution_time_ms") if state != "IN_PROGRESS" else None
    said = {
        "trace_id": found["request_id"], "request_time": _time(int(found.get("timestamp_ms", 0))),
        "execution_duration": None if took is None else f"{int(took) / 1000:.3f}s",
        "state": state if state in ("OK", "ERROR", "IN_PROGRESS") else "STATE_UNSPECIFIED",
        "request_preview": metadata.get(INPUTS), "response_preview": metadata.get(OUTPUTS),
        "trace_metadata": metadata, "tags": tags,
    }  # fmt: skip
    return {key: value for key, value in said.items() if value is not None}


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
