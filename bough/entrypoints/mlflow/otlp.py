"""Spans as OpenTelemetry sends them (OTLP over HTTP, protocol buffers or JSON), into spans of Bough and back into the
JSON that clients of MLflow read."""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from bough.entrypoints.mlflow.calls import Call, Raw
from bough.entrypoints.mlflow.traces_said import STORED
from bough.kernel.errors import Invalid, TooLarge
from bough.tracking import rules

if TYPE_CHECKING:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

PATH = "/v1/traces"
EXPERIMENT, RUN = "x-mlflow-experiment-id", "x-mlflow-run-id"
PROTOBUF, JSON = "application/x-protobuf", "application/json"
MAX_BYTES = 64 << 20  # unpacked
_STATUS = {0: "unset", 1: "ok", 2: "error"}
_STATUS_CODES = {"unset": "STATUS_CODE_UNSET", "ok": "STATUS_CODE_OK", "error": "STATUS_CODE_ERROR"}
_TYPE, _TAG, _REQUEST_ID = "mlflow.spanType", "mlflow.traceTag.", "mlflow.traceRequestId"
_SESSION, _USER = "mlflow.trace.session", "mlflow.trace.user"
_FROM_ATTRIBUTES = {  # what a trace says of itself, and the attributes of spans that say it
    _SESSION: ("session.id", "gen_ai.conversation.id"),
    _USER: ("user.id",),
}
_PREVIEW = 1000
_HINT = "see docs/tracking.md"


def receive(call: Call, body: bytes) -> Raw:
    """All of a request or nothing of it."""
    kind = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (PROTOBUF, JSON):
        raise Invalid(f"spans are not read as {kind[:80]!r}", code="REQUEST_INVALID", hint=f"{PROTOBUF} or {JSON}")
    experiment = call.headers.get(EXPERIMENT, "")
    if not experiment:
        raise Invalid(f"the header {EXPERIMENT} is missing", code="REQUEST_INVALID", hint="the id of an experiment")
    body = _unpacked(body, call.headers.get("content-encoding", "").strip().lower())
    batches = _batches(_parsed(body, kind))
    call.op("traces.add", experiment_id=experiment, traces=batches, run=call.headers.get(RUN, ""))
    return Raw(b"" if kind == PROTOBUF else b"{}", kind)


def shape(trace_id: str, span: Any) -> dict[str, Any]:
    """A span as JSON of protocol buffers."""
    attributes = {**span.attributes, _REQUEST_ID: trace_id}
    found: dict[str, Any] = {
        "trace_id": _base64(trace_id.removeprefix("tr-"), 16), "span_id": _base64(span.id, 8), "name": span.name,
        "start_time_unix_nano": str(span.started_ns), "attributes": _pairs(attributes),
        "status": {"code": _STATUS_CODES[span.status], "message": span.message},
    }  # fmt: skip
    if span.parent:
        found["parent_span_id"] = _base64(span.parent, 8)
    if span.ended_ns:
        found["end_time_unix_nano"] = str(span.ended_ns)
    if span.events:
        found["events"] = [
            {"name": each.name, "time_unix_nano": str(each.at_ns), "attributes": _pairs(each.attributes)}
            for each in span.events
        ]
    if span.links:
        found["links"] = [
            {"trace_id": _base64(each.trace.removeprefix("tr-"), 16), "span_id": _base64(each.span, 8),
             "attributes": _pairs(each.attributes)}
            for each in span.links
        ]  # fmt: skip
    return found


def _parsed(body: bytes, kind: str) -> ExportTraceServiceRequest:
    # Protocol buffers are loaded with the first span and not with the server.
    from google.protobuf.json_format import ParseDict, ParseError
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    message = ExportTraceServiceRequest()
    try:
        if kind == JSON:
            ParseDict(_with_base64(json.loads(body)), message, ignore_unknown_fields=True)
        else:
            message.ParseFromString(body)
    except (DecodeError, ParseError, ValueError, TypeError, AttributeError, RecursionError) as error:
        what = f"the body is no request with spans: {str(error)[:300]}"
        raise Invalid(what, code="REQUEST_INVALID", hint=_HINT) from error
    if not message.resource_spans:
        raise Invalid("the body has no spans", code="REQUEST_INVALID", hint=_HINT)
    return message


def _with_base64(request: Any) -> Any:
    """Ids are hexadecimal in the JSON of OpenTelemetry, and base64 in that of protocol buffers."""
    for resource in request.get("resourceSpans", []):
        for scope in resource.get("scopeSpans", []):
            for span in scope.get("spans", []):
                for each in [span, *span.get("links", [])]:
                    for name in ("traceId", "spanId", "parentSpanId"):
                        if each.get(name):
                            each[name] = base64.b64encode(bytes.fromhex(each[name])).decode()
    return request


def _unpacked(body: bytes, encoding: str) -> bytes:
    """Never more than the limit, however well it was packed."""
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate"):
        raise Invalid(f"bodies are not unpacked from {encoding[:40]!r}", code="REQUEST_INVALID", hint="gzip, deflate")
    unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS + (16 if encoding == "gzip" else 0))
    try:
        found = unpacking.decompress(body, MAX_BYTES + 1)
    except zlib.error as error:
        raise Invalid(
            f"the body is not {encoding}: {error}", code="REQUEST_INVALID", hint="send it as it is"
        ) from error
    if len(found) > MAX_BYTES:
        raise TooLarge(f"the body has more than {MAX_BYTES >> 20} MiB", code="BODY_TOO_LARGE", hint="send it in parts")
    if not unpacking.eof:
        raise Invalid("the body ends in the middle", code="REQUEST_INVALID", hint="send it whole")
    return found


def _batches(message: ExportTraceServiceRequest) -> list[dict[str, Any]]:
    """By trace, with what its spans say of all of it."""
    found: defaultdict[str, dict[str, Any]] = defaultdict(lambda: {"spans": [], "tags": {}, "metadata": {}})
    for resource in message.resource_spans:
        common = _values(resource.resource.attributes)
        tags = {key: _text(value) for key, value in common.items() if _is_tag(key)}
        for scope in resource.scope_spans:
            for each in scope.spans:
                if not 0 < len(each.trace_id) <= 16 or not 0 < len(each.span_id) <= 8 or len(each.parent_span_id) > 8:
                    raise Invalid("a span has no ids, or too long ones", code="REQUEST_INVALID", hint=_HINT)
                batch = found[_trace(each.trace_id)]
                batch["tags"] = tags | batch["tags"] | STORED
                span = _span(each)
                batch["spans"].append(span)
                _tell(batch, span)
    return [{"trace": trace, **batch} for trace, batch in found.items()]


def _tell(batch: dict[str, Any], span: Mapping[str, Any]) -> None:
    attributes = span["attributes"]
    for key, names in _FROM_ATTRIBUTES.items():
        value = next((attributes[name] for name in names if attributes.get(name)), None)
        if value is not None:
            batch["metadata"].setdefault(key, _text(value))
    if not span["parent"]:
        for key, value in attributes.items():
            name = key.removeprefix(_TAG)
            if name != key and 0 < len(name) <= rules.KEY_LENGTH and name not in STORED:
                batch["tags"][name] = _text(value)
        for field, name in (("request", "mlflow.spanInputs"), ("response", "mlflow.spanOutputs")):
            if attributes.get(name) is not None:
                text = json.dumps(attributes[name], ensure_ascii=False)
                batch[field] = text if len(text) <= _PREVIEW else f"{text[: _PREVIEW - 3]}..."


def _span(each: Any) -> dict[str, Any]:
    attributes = _values(each.attributes)
    attributes.pop(_REQUEST_ID, None)  # follows from the trace, whatever a client says
    kind = attributes.get(_TYPE)
    return {
        "id": each.span_id.hex().rjust(16, "0"),
        "parent": each.parent_span_id.hex().rjust(16, "0") if each.parent_span_id else "",
        "name": each.name[: rules.TAG_LENGTH], "type": kind[: rules.TAG_LENGTH] if isinstance(kind, str) else "",
        "started_ns": each.start_time_unix_nano,
        "ended_ns": each.end_time_unix_nano, "status": _STATUS.get(each.status.code, "unset"),
        "message": each.status.message, "attributes": attributes,
        "events": [
            {"name": event.name, "at_ns": event.time_unix_nano, "attributes": _values(event.attributes)}
            for event in each.events
        ],
        "links": [
            {"trace": _trace(link.trace_id), "span": link.span_id.hex().rjust(16, "0"),
             "attributes": _values(link.attributes)}
            for link in each.links if len(link.trace_id) <= 16 and len(link.span_id) <= 8
        ],
    }  # fmt: skip


def _values(pairs: Iterable[Any]) -> dict[str, Any]:
    return {each.key: _value(each.value) for each in pairs}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    if kind == "kvlist_value":
        return _values(value.kvlist_value.values)
    found = getattr(value, kind)
    if isinstance(found, bytes):
        return base64.b64encode(found).decode()
    if isinstance(found, float) and not math.isfinite(found):
        return "NaN" if math.isnan(found) else "Infinity" if found > 0 else "-Infinity"
    return found


def _is_tag(key: str) -> bool:
    return 0 < len(key) <= rules.KEY_LENGTH and not key.startswith(("telemetry.sdk.", "mlflow."))


def _text(value: Any) -> str:
    return (value if isinstance(value, str) else json.dumps(value))[: rules.TAG_LENGTH]


def _pairs(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _any(value)} for key, value in attributes.items()]


def _any(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if isinstance(value, bool):
        return {"bool_value": value}
    if isinstance(value, int):
        return {"int_value": str(value)} if -(1 << 63) <= value < 1 << 63 else {"double_value": float(value)}
    if isinstance(value, float):
        return {"double_value": value}
    if isinstance(value, list):
        return {"array_value": {"values": [_any(each) for each in value]}}
    if isinstance(value, dict):
        return {"kvlist_value": {"values": _pairs(value)}}
    return {"string_value": str(value)}


def _trace(id: bytes) -> str:
    return f"tr-{id.hex().rjust(32, '0')}"


def _base64(id: str, size: int) -> str:
    """Ids that other programs chose need not be hexadecimal; they become bytes all the same."""
    try:
        found = bytes.fromhex(id)
    except ValueError:
        found = id.encode()
    return base64.b64encode(found[-size:].rjust(size, b"\0")).decode()
