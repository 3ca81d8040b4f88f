"""Verbs of traces and assessments."""

from __future__ import annotations

from typing import Annotated

import msgspec

from bough.kernel.context import Context, Role
from bough.kernel.operations import operation
from bough.tracking import assessments, experiments, rules, traces, traces_search
from bough.tracking.assessments import ChangedAssessment, Fresh
from bough.tracking.models_traces import Assessment, SpansOf, Trace, TracePage, TraceState
from bough.tracking.operations import Done
from bough.tracking.operations_experiments import Filter, Orders, Page, now_ms

MOST_LISTED = 1000
MOST_SHOWN = 100


class PutTrace(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    id: str
    started_at: Annotated[float, msgspec.Meta(description="seconds since 1970")]
    experiment_id: str = experiments.DEFAULT
    state: TraceState = "unspecified"
    seconds: Annotated[float | None, msgspec.Meta(description="how long it took")] = None
    request_id: Annotated[str | None, msgspec.Meta(description="what the caller calls it")] = None
    request: Annotated[str | None, msgspec.Meta(description="how the request begins")] = None
    response: Annotated[str | None, msgspec.Meta(description="how the response begins")] = None
    metadata: dict[str, str] = {}
    tags: dict[str, str] = {}
    assessments: list[Fresh] = []


class AddSpans(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    experiment_id: str = experiments.DEFAULT
    traces: list[SpansOf]
    run: Annotated[str, msgspec.Meta(description="id of the run to link them to")] = ""


class ShowTrace(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    id: str
    spans: Annotated[bool, msgspec.Meta(description="with everything that happened in it")] = True


class ShowTraces(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    ids: list[str]
    spans: Annotated[bool, msgspec.Meta(description="with everything that happened in them")] = False


class ListTraces(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    experiment_ids: Annotated[list[str] | None, msgspec.Meta(description="of these experiments; all without it")] = None
    filter: Filter = ""
    order: Orders = []
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_LISTED)] = 100
    page: Page = ""


class TagTrace(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    id: str
    tags: dict[str, str] = {}
    remove: Annotated[list[str], msgspec.Meta(description="key of a tag that goes")] = []


class DeleteTraces(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    experiment_id: str
    ids: Annotated[list[str], msgspec.Meta(description="only these")] = []
    before_ms: Annotated[int | None, msgspec.Meta(description="that began then or earlier: milliseconds")] = None
    most: Annotated[int | None, msgspec.Meta(description="no more than so many, the oldest")] = None


class LinkTraces(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    ids: list[str]
    run: str


class Assess(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    trace: str
    assessment: Fresh
    id: Annotated[str, msgspec.Meta(description="of one that was made elsewhere; may come twice")] = ""
    created_at: Annotated[float | None, msgspec.Meta(description="then, in seconds since 1970; now without it")] = None
    updated_at: float | None = None


class OneAssessment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    trace: str
    id: str


class UpdateAssessment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    trace: str
    id: str
    changed: ChangedAssessment


class Deleted(msgspec.Struct, frozen=True, kw_only=True):
    traces: int


@operation("traces.put", role=Role.DEVELOPER, writes=True, telemetry=True)
def put(context: Context, request: PutTrace) -> Trace:
    """Says what a trace was as a whole. May come twice, before its spans or after them."""
    summary = traces.Summary(
        id=request.id, experiment=request.experiment_id, state=request.state,
        started_ms=rules.milliseconds(request.started_at),
        duration_ms=None if request.seconds is None else rules.milliseconds(request.seconds),
        request_id=request.request_id, request=request.request, response=request.response, metadata=request.metadata,
        tags=request.tags,
    )  # fmt: skip
    first = traces.put(context.tx, request.project, summary)
    owner = traces.row_of(context.tx, request.project, request.id).id
    for each in request.assessments if first else ():
        assessments.create(context.tx, owner, request.id, each, assessments.Times(now_ms(context), now_ms(context)))
    return traces.get(context.tx, request.project, request.id)


@operation("traces.add", role=Role.DEVELOPER, writes=True, telemetry=True)
def add(context: Context, request: AddSpans) -> Done:
    """Adds spans to traces: all of them or none."""
    traces.add(context.tx, request.project, request.experiment_id, request.traces)
    if request.run:
        traces.link(context.tx, request.project, [each.trace for each in request.traces if each.spans], request.run)
    return _DONE


@operation("traces.show", role=Role.VIEWER, telemetry=True)
def show(context: Context, request: ShowTrace) -> Trace:
    """Shows a trace with all its spans, and what was thought of it."""
    return traces.get(context.tx, request.project, request.id, spans=request.spans)


@operation("traces.several", role=Role.VIEWER, telemetry=True)
def several(context: Context, request: ShowTraces) -> TracePage:
    """Shows several traces; those that are not there are left out."""
    if len(request.ids) > MOST_SHOWN:
        raise rules.invalid(f"{len(request.ids)} traces at once", f"at most {MOST_SHOWN}")
    return TracePage(traces=traces.several(context.tx, request.project, request.ids, spans=request.spans))


@operation("traces.list", role=Role.VIEWER, telemetry=True)
def list_(context: Context, request: ListTraces) -> TracePage:
    """Lists traces that a filter leaves, the youngest first or as ordered; without their spans."""
    offset = rules.offset_of(request.page)
    found = traces_search.find(
        context.tx, request.project, request.experiment_ids, request.filter, request.order, request.limit, offset
    )
    return TracePage(traces=found[: request.limit], next_page=rules.next_page(found, request.limit, offset))


@operation("traces.tag", role=Role.DEVELOPER, writes=True, telemetry=True)
def tag(context: Context, request: TagTrace) -> Trace:
    """Sets and removes tags of a trace."""
    return traces.tag(context.tx, request.project, request.id, request.tags, request.remove)


@operation("traces.link", role=Role.DEVELOPER, writes=True, telemetry=True)
def link(context: Context, request: LinkTraces) -> Done:
    """Links traces to a run, so that they are found by it."""
    traces.link(context.tx, request.project, request.ids, request.run)
    return _DONE


@operation("traces.delete", role=Role.DEVELOPER, writes=True, telemetry=True)
def delete(context: Context, request: DeleteTraces) -> Deleted:
    """Deletes traces of an experiment for good."""
    return Deleted(
        traces=traces.remove(
            context.tx, request.project, request.experiment_id, request.ids, request.before_ms, request.most
        )
    )


@operation("assessments.create", role=Role.DEVELOPER, writes=True, telemetry=True)
def assess(context: Context, request: Assess) -> Assessment:
    """Says what somebody thinks of a trace, or expected of it."""
    owner = traces.row_of(context.tx, request.project, request.trace).id
    created = now_ms(context) if request.created_at is None else rules.milliseconds(request.created_at)
    updated = created if request.updated_at is None else rules.milliseconds(request.updated_at)
    times = assessments.Times(created, updated)
    return assessments.create(context.tx, owner, request.trace, request.assessment, times, request.id)


@operation("assessments.show", role=Role.VIEWER, telemetry=True)
def show_assessment(context: Context, request: OneAssessment) -> Assessment:
    """Shows an assessment of a trace."""
    owner = traces.row_of(context.tx, request.project, request.trace).id
    return assessments.get(context.tx, owner, request.trace, request.id)


@operation("assessments.update", role=Role.DEVELOPER, writes=True, telemetry=True)
def update(context: Context, request: UpdateAssessment) -> Assessment:
    """Changes an assessment; its kind and source stay."""
    owner = traces.row_of(context.tx, request.project, request.trace).id
    return assessments.update(context.tx, owner, request.trace, request.id, request.changed, now_ms(context))


@operation("assessments.delete", role=Role.DEVELOPER, writes=True, telemetry=True)
def unassess(context: Context, request: OneAssessment) -> Done:
    """Deletes an assessment; what it had overridden is valid again."""
    assessments.remove(context.tx, traces.row_of(context.tx, request.project, request.trace).id, request.id)
    return _DONE


_DONE = Done()
