"""Verbs of experiments."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from bough.kernel.context import Context, Role
from bough.kernel.operations import operation
from bough.tracking import experiments, rules
from bough.tracking.models import ACTIVE, DELETED, Experiment, ExperimentPage

State = Annotated[Literal["active", "deleted", "all"], msgspec.Meta(description="active, deleted or all")]
Filter = Annotated[
    str, msgspec.Meta(description="conditions joined by AND, such as \"metrics.loss < 0.2 AND tags.team = 'blue'\"")
]
Orders = Annotated[list[str], msgspec.Meta(description='what to sort by, such as "metrics.loss ASC"')]
Page = Annotated[str, msgspec.Meta(description="next_page of the answer before")]


class BeginExperiments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str


class NewExperiment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    name: str
    location: Annotated[str, msgspec.Meta(description="URL for its artifacts; Bough itself without it")] = ""
    tags: dict[str, str] = {}


class OneExperiment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    id: str


class NamedExperiment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    name: str


class ListExperiments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    filter: Filter = ""
    order: Orders = []
    state: State = "active"
    limit: Annotated[int, msgspec.Meta(ge=1, le=50_000)] = 100
    page: Page = ""


class RenameExperiment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    id: str
    name: str


class TagExperiment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    id: str
    tags: dict[str, str] = {}
    remove: Annotated[list[str], msgspec.Meta(description="key of a tag that goes")] = []


def now_ms(context: Context) -> int:
    return rules.milliseconds(context.clock.now())


@operation("experiments.begin", role=Role.DEVELOPER, writes=True, telemetry=True)
def begin(context: Context, request: BeginExperiments) -> Experiment:
    """Makes the experiment 0 of a project, which runs without any other belong to."""
    experiments.begin(context.tx, request.project, now_ms(context))
    return experiments.get(context.tx, request.project, experiments.DEFAULT)


@operation("experiments.create", role=Role.DEVELOPER, writes=True, telemetry=True)
def create(context: Context, request: NewExperiment) -> Experiment:
    """Makes an experiment: a name for runs that belong together."""
    return experiments.create(
        context.tx, request.project, request.name, now_ms(context), place=request.location, tags=request.tags
    )


@operation("experiments.list", role=Role.VIEWER, telemetry=True)
def list_(context: Context, request: ListExperiments) -> ExperimentPage:
    """Lists experiments, last changed first."""
    offset = rules.offset_of(request.page)
    found = experiments.find(
        context.tx, request.project, request.filter, request.order, request.state, request.limit, offset
    )
    return ExperimentPage(experiments=found[: request.limit], next_page=rules.next_page(found, request.limit, offset))


@operation("experiments.show", role=Role.VIEWER, telemetry=True)
def show(context: Context, request: OneExperiment) -> Experiment:
    """Shows an experiment."""
    return experiments.get(context.tx, request.project, request.id)


@operation("experiments.named", role=Role.VIEWER, telemetry=True)
def named(context: Context, request: NamedExperiment) -> Experiment:
    """Shows the experiment of a name, also a deleted one."""
    return experiments.named(context.tx, request.project, request.name)


@operation("experiments.rename", role=Role.DEVELOPER, writes=True, telemetry=True)
def rename(context: Context, request: RenameExperiment) -> Experiment:
    """Gives an experiment another name."""
    return experiments.rename(context.tx, request.project, request.id, request.name, now_ms(context))


@operation("experiments.delete", role=Role.DEVELOPER, writes=True, telemetry=True)
def delete(context: Context, request: OneExperiment) -> Experiment:
    """Deletes an experiment with its runs; it can be restored."""
    return experiments.set_state(context.tx, request.project, request.id, DELETED, now_ms(context))


@operation("experiments.restore", role=Role.DEVELOPER, writes=True, telemetry=True)
def restore(context: Context, request: OneExperiment) -> Experiment:
    """Restores a deleted experiment with its runs."""
    return experiments.set_state(context.tx, request.project, request.id, ACTIVE, now_ms(context))


@operation("experiments.tag", role=Role.DEVELOPER, writes=True, telemetry=True)
def tag(context: Context, request: TagExperiment) -> Experiment:
    """Sets and removes tags of an experiment."""
    return experiments.tag(context.tx, request.project, request.id, request.tags, request.remove)
