"""Verbs of runs."""

from __future__ import annotations

from typing import Annotated

import msgspec

from bough.kernel.context import Context, Role
from bough.kernel.errors import NotFound
from bough.kernel.operations import operation
from bough.kernel.project import PRODUCTION
from bough.tracking import comparing, experiments, picture, rules, runs
from bough.tracking.comparing import Comparison
from bough.tracking.models import (
    ACTIVE,
    DELETED,
    Experiment,
    Metric,
    MetricPage,
    Run,
    RunInput,
    RunMetric,
    RunOutput,
    RunPage,
    Source,
)
from bough.tracking.operations_experiments import Filter, Orders, Page, State, now_ms

MOST_RUNS = 50_000
MOST_POINTS = 25_000
MOST_COMPARED = 100

Environment = Annotated[str, msgspec.Meta(description="environment that the run belongs to; main is production")]


class NewRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    name: Annotated[str, msgspec.Meta(description="a random one without it")] = ""
    experiment: Annotated[str, msgspec.Meta(description="name of its experiment, which is made if need be")] = ""
    experiment_id: Annotated[str, msgspec.Meta(description="the same, by id")] = experiments.DEFAULT
    environment: Environment = PRODUCTION
    id: Annotated[str, msgspec.Meta(description="chosen by the caller, so that the call may come twice")] = ""
    started_at: Annotated[float, msgspec.Meta(description="seconds since 1970; now without it")] = -1.0
    by: Annotated[str, msgspec.Meta(description="who runs it; the caller without it")] = ""
    source: Source = Source()
    tags: dict[str, str] = {}


class OneRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    id: str


class UpdateRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    id: str
    status: Annotated[str, msgspec.Meta(description="running, scheduled, finished, failed, killed")] = ""
    name: str = ""
    ended_at: Annotated[float, msgspec.Meta(description="seconds since 1970")] = -1.0
    source: Source | None = None


class ListRuns(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    experiment: Annotated[str, msgspec.Meta(description="name of one experiment; all without it")] = ""
    experiment_ids: Annotated[list[str] | None, msgspec.Meta(description="the same, by ids")] = None
    filter: Filter = ""
    order: Orders = []
    state: State = "active"
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_RUNS)] = 100
    page: Page = ""


class LogRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    id: str
    metrics: list[Metric] = []
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    remove_tags: list[str] = []


class History(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    id: str
    key: str
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_POINTS)] = 1000
    page: Page = ""


class Histories(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    ids: list[str]
    key: str
    start_step: int | None = None
    end_step: int | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_POINTS, description="points of each run, evenly spread")] = 320


class Inputs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    id: str
    inputs: list[RunInput] = []
    outputs: list[RunOutput] = []


class InputNames(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    experiment_ids: list[str]


class InputName(msgspec.Struct, frozen=True, kw_only=True):
    experiment_id: str
    name: str
    version: str
    context: str


class CompareRuns(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    ids: Annotated[list[str], msgspec.Meta(min_length=1, max_length=MOST_COMPARED)]
    picture: Annotated[bool, msgspec.Meta(description="also draw the metrics")] = False


class Compared(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`picture` is an SVG of how each metric went."""

    runs: list[Run]
    differences: list[Comparison]
    picture: str = ""


class Done(msgspec.Struct, frozen=True):
    """It is done."""


@operation("runs.create", role=Role.DEVELOPER, writes=True, telemetry=True)
def create(context: Context, request: NewRun) -> Run:
    """Begins a run."""
    now = now_ms(context)
    number = request.experiment_id
    if request.experiment:
        number = _made(context, request.project, request.experiment, now).id
    elif number == experiments.DEFAULT:
        experiments.begin(context.tx, request.project, now)
    fresh = runs.Fresh(
        experiment=number,
        environment=rules.check_text(request.environment, "the environment", rules.NAME_LENGTH),
        by=rules.check_text(request.by or context.principal.name, "who runs it", rules.NAME_LENGTH),
        started_ms=rules.milliseconds(request.started_at) if request.started_at >= 0 else now,
        id=request.id,
        name=request.name,
        source=request.source,
        tags=request.tags,
    )
    return runs.create(context.tx, request.project, fresh)


@operation("runs.show", role=Role.VIEWER, telemetry=True)
def show(context: Context, request: OneRun) -> Run:
    """Shows a run: parameters, latest metrics, tags, inputs, code and hardware."""
    return runs.get(context.tx, request.project, request.id)


@operation("runs.list", role=Role.VIEWER, telemetry=True)
def list_(context: Context, request: ListRuns) -> RunPage:
    """Lists runs that a filter leaves, the youngest first or as ordered."""
    ids = request.experiment_ids
    if request.experiment:
        ids = [experiments.named(context.tx, request.project, request.experiment).id]
    offset = rules.offset_of(request.page)
    found = runs.find(
        context.tx, request.project, ids, request.filter, request.order, request.state, request.limit, offset
    )
    return RunPage(runs=found[: request.limit], next_page=rules.next_page(found, request.limit, offset))


@operation("runs.update", role=Role.DEVELOPER, writes=True, telemetry=True)
def update(context: Context, request: UpdateRun) -> Run:
    """Says how a run goes: its status, when it ended, its name."""
    ended = rules.milliseconds(request.ended_at) if request.ended_at >= 0 else None
    return runs.update(
        context.tx, request.project, request.id, status=request.status, ended_ms=ended, name=request.name,
        source=request.source,
    )  # fmt: skip


@operation("runs.log", role=Role.DEVELOPER, writes=True, telemetry=True, quick=True)
def log(context: Context, request: LogRun) -> Done:
    """Logs metrics, parameters and tags of a run: all of them or none."""
    runs.log(
        context.tx, request.project, request.id, request.metrics, request.params, request.tags, request.remove_tags
    )
    return _DONE


@operation("runs.delete", role=Role.DEVELOPER, writes=True, telemetry=True)
def delete(context: Context, request: OneRun) -> Run:
    """Deletes a run; it can be restored."""
    return runs.set_state(context.tx, request.project, request.id, DELETED)


@operation("runs.restore", role=Role.DEVELOPER, writes=True, telemetry=True)
def restore(context: Context, request: OneRun) -> Run:
    """Restores a deleted run."""
    return runs.set_state(context.tx, request.project, request.id, ACTIVE)


@operation("runs.metrics", role=Role.VIEWER, telemetry=True)
def metrics(context: Context, request: History) -> MetricPage:
    """Gives every point of a metric, oldest first."""
    offset = rules.offset_of(request.page)
    found = runs.history(context.tx, request.project, request.id, request.key, request.limit, offset)
    return MetricPage(metrics=found[: request.limit], next_page=rules.next_page(found, request.limit, offset))


@operation("runs.histories", role=Role.VIEWER, telemetry=True)
def histories(context: Context, request: Histories) -> list[RunMetric]:
    """Gives points of a metric of several runs, thinned out evenly by step."""
    if len(request.ids) > MOST_COMPARED:
        raise rules.invalid(f"{len(request.ids)} runs at once", f"at most {MOST_COMPARED}")
    steps = request.start_step, request.end_step
    found = [
        comparing.thinned(context.tx, request.project, id, request.key, steps, request.limit) for id in request.ids
    ]
    return [point for points in found for point in points]


@operation("runs.inputs", role=Role.DEVELOPER, writes=True, telemetry=True)
def inputs(context: Context, request: Inputs) -> Done:
    """Says what a run has read and made: datasets, tables, feature views, models."""
    runs.add_inputs(context.tx, request.project, request.id, request.inputs)
    runs.add_outputs(context.tx, request.project, request.id, request.outputs)
    return _DONE


@operation("runs.input_names", role=Role.VIEWER, telemetry=True)
def input_names(context: Context, request: InputNames) -> list[InputName]:
    """Lists everything that runs of some experiments have read."""
    found = runs.input_names(context.tx, request.project, request.experiment_ids)
    return [InputName(experiment_id=id, name=name, version=version, context=use) for id, name, version, use in found]


@operation("runs.compare", role=Role.VIEWER, telemetry=True)
def compare(context: Context, request: CompareRuns) -> Compared:
    """Compares runs: every parameter, metric, input and source that is not the same in all of them."""
    found = [runs.get(context.tx, request.project, id) for id in request.ids]
    drawn = ""
    if request.picture:
        drawn = picture.draw(found, comparing.curves(context.tx, request.project, found))
    return Compared(runs=found, differences=comparing.differences(found), picture=drawn)


_DONE = Done()


def _made(context: Context, project: str, name: str, now: int) -> Experiment:
    try:
        return experiments.named(context.tx, project, name)
    except NotFound:
        return experiments.create(context.tx, project, name, now)
