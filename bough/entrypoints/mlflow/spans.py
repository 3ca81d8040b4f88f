"""Spans as MLflow writes them for others to read: JSON of protocol buffers, and the file beside a trace that clients
before 3.6 kept them in."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

_TYPE, _REQUEST_ID = "mlflow.spanType", "mlflow.traceRequestId"
_STATUS = {"STATUS_CODE_OK": "ok", "OK": "ok", "STATUS_CODE_ERROR": "error", "ERROR": "error", "1": "ok", "2": "error"}


def read(given: Mapping[str, Any]) -> dict[str, Any]:
    """A span for `traces.add`. Raises `ValueError`, `KeyError` or `TypeError` when it is none."""
    attributes = _attributes(given.get("attributes") or {}, packed=True)
    attributes.pop(_REQUEST_ID, None)
    kind, status, context = attributes.get(_TYPE), given.get("status") or {}, given.get("context") or given
    return {
        "id": _id(context["span_id"]), "parent": _id(given.get("parent_span_id") or given.get("parent_id") or ""),
        "name": given["name"], "type": kind if isinstance(kind, str) else "",
        "started_ns": int(given.get("start_time_unix_nano") or given.get("start_time") or 0),
        "ended_ns": int(given.get("end_time_unix_nano") or given.get("end_time") or 0),
        "status": _STATUS.get(str(status.get("code") or given.get("status_code")), "unset"),
        "message": status.get("message") or given.get("status_message") or "", "attributes": attributes,
        "events": [
            {"name": each["name"], "at_ns": int(each.get("time_unix_nano") or each.get("timestamp") or 0),
             "attributes": _attributes(each.get("attributes") or {})}
            for each in given.get("events") or []
        ],
        "links": [
            {"trace": f"tr-{_id(each['trace_id'])}", "span": _id(each["span_id"]),
             "attributes": _attributes(each.get("attributes") or {})}
            for each in given.get("links") or []
        ],
    }  # fmt: skip


def _id(text: str) -> str:
    """Hexadecimal, as it is or from base64: of 8 and 16 bytes they have other lengths."""
    plain = text.removeprefix("tr-").removeprefix("0x")
    return plain if len(plain) in (0, 16, 32) else base64.b64decode(plain, validate=True).hex()


def _attributes(given: Any, *, packed: bool = False) -> dict[str, Any]:
    """`packed`: the values of a plain mapping are JSON, as the file has them."""
    if isinstance(given, list):
        return {each["key"]: _value(each.get("value") or {}) for each in given}
    return {key: _unpacked(value) if packed else value for key, value in given.items()}


def _unpacked(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _value(given: Mapping[str, Any]) -> Any:
    if "array_value" in given:
        return [_value(each) for each in given["array_value"].get("values", [])]
    if "kvlist_value" in given:
        return _attributes(given["kvlist_value"].get("values", []))
    if "int_value" in given:
        return int(given["int_value"])
    return next(iter(given.values()), None)
