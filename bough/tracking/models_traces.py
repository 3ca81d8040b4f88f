"""Traces as data. Times of a trace are seconds since the epoch, exact to the millisecond; of a span nanoseconds."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

TraceState = Literal["ok", "error", "in_progress", "unspecified"]
Kind = Literal["feedback", "expectation", "issue"]


class SpanEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    name: str
    at_ns: int = 0
    attributes: dict[str, Any] = {}


class SpanLink(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    trace: str
    span: str
    attributes: dict[str, Any] = {}


class Span(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One piece of work of a trace. Without a `parent` it is the root; without an end it has not ended. `type` says
    what it is (LLM, TOOL, …)."""

    id: str
    name: str
    started_ns: int
    ended_ns: int = 0
    parent: str = ""
    type: str = ""
    status: Literal["unset", "ok", "error"] = "unset"
    message: str = ""
    attributes: dict[str, Any] = {}
    events: list[SpanEvent] = []
    links: list[SpanLink] = []


class SpansOf(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Spans that have come of one trace. Tags are set; the rest says what the trace has not said itself."""

    trace: str
    spans: list[Span]
    tags: dict[str, str] = {}
    metadata: dict[str, str] = {}
    request: str | None = None
    response: str | None = None


class Assessment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What somebody (`source`: human, llm_judge or code) thinks of a trace, or expected of it. One that another one
    overrides is no longer valid."""

    id: str
    trace: str
    kind: Kind
    name: str
    created_at: float
    updated_at: float
    value: Any = None
    source: str = ""
    by: str = ""
    span: str = ""
    rationale: str = ""
    error: dict[str, str] = {}
    metadata: dict[str, str] = {}
    overrides: str = ""
    valid: bool = True


class Trace(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one request made a program do. `request` and `response` are how both begin, `seconds` how long it took."""

    id: str
    project: str
    experiment_id: str
    state: TraceState
    started_at: float
    seconds: float | None = None
    request_id: str | None = None
    request: str | None = None
    response: str | None = None
    metadata: dict[str, str] = {}
    tags: dict[str, str] = {}
    assessments: list[Assessment] = []
    runs: list[str] = []
    spans: list[Span] = []


class TracePage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    traces: list[Trace]
    next_page: str = ""
