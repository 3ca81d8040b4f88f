"""Verbs of lineage."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from bough.environments import store as environments
from bough.kernel import model_references
from bough.kernel.context import Context, Role
from bough.kernel.errors import Invalid, NotFound
from bough.kernel.operations import operation
from bough.kernel.project import PRODUCTION
from bough.lineage import models as kinds
from bough.lineage import openlineage, outside, picture, rules
from bough.lineage.deriving import Derived, release_thing
from bough.lineage.models import Accepted, Lineage, Thing
from bough.lineage.runs import TrackedRuns
from bough.registry import store as registry
from bough.serving import store as deployments

CHAMPION = "champion"
_IN_PROJECT = (kinds.RUN, kinds.DATASET, kinds.TABLE, kinds.FEATURE_VIEW)
_BY_ID = (kinds.COMMIT, kinds.BUNDLE, kinds.PYTHON_ENVIRONMENT, kinds.PARAMETERS, kinds.OUTSIDE, kinds.JOB)
_KINDS = (*_IN_PROJECT, *_BY_ID, kinds.VERSION, kinds.RELEASE, kinds.DEPLOYMENT, kinds.SERVICE, "model")


class ShowLineage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    of: Annotated[str, msgspec.Meta(description="model as NAME, NAME@ALIAS or NAME/N; else KIND:NAME, as table:orders",
                                    max_length=3000)]  # fmt: skip
    environment: Annotated[str, msgspec.Meta(description="environment; main is production")] = PRODUCTION
    up: Annotated[bool, msgspec.Meta(description="only what it was made from")] = False
    down: Annotated[bool, msgspec.Meta(description="only what was made with it")] = False
    depth: Annotated[int, msgspec.Meta(ge=1, le=50, description="edges away from it, at most")] = 10
    past: Annotated[bool, msgspec.Meta(description="also releases that serve no more")] = False
    picture: Annotated[bool, msgspec.Meta(description="draw it as well, as SVG")] = False


class AcceptEvent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    event: Annotated[dict[str, Any], msgspec.Meta(description="RunEvent, JobEvent or DatasetEvent of OpenLineage")]


@operation("lineage.show", role=Role.VIEWER, command="lineage")
def show(context: Context, request: ShowLineage) -> Lineage:
    """Shows what a model was made from and where it serves; of datasets, tables, runs, services and others as well."""
    place = request.project, request.environment
    derived = Derived(context.tx, place, context.part(TrackedRuns), past=request.past)
    start = _start(context, place, derived, request.of)
    both = request.up == request.down
    found = rules.walk(
        start, derived.touching, up=both or request.up, down=both or request.down, depth=request.depth,
        ahead=derived.ahead,
    )  # fmt: skip
    return msgspec.structs.replace(found, svg=picture.svg(found)) if request.picture else found


@operation("lineage.accept", role=Role.DEVELOPER, writes=True, command="openlineage accept")
def accept(context: Context, request: AcceptEvent) -> Accepted:
    """Takes one OpenLineage event, as clients send it to /api/v1/lineage. An event that comes twice changes nothing."""
    told = openlineage.read(request.event)
    new = outside.keep(
        context.tx, told.things, told.edges, at=told.at, now=context.clock.now(), by=context.principal.name
    )
    return Accepted(edges=len(told.edges), new=new)


def _start(context: Context, place: tuple[str, str], derived: Derived, of: str) -> Thing:
    """What somebody means. Raises `NotFound` for what nothing is known of."""
    environments.view(context.tx, place)
    kind, colon, rest = of.partition(":")
    if not colon or kind not in _KINDS or kind == "model":
        return _model(context, place, derived, rest if colon and kind == "model" else of)
    if not rest:
        raise Invalid(f"{of!r} names nothing", code="LINEAGE_INVALID", hint=f"bough lineage {kind}:NAME")
    if kind == kinds.VERSION:
        return derived.version(registry.by_id(context.tx, rest))
    if kind == kinds.RELEASE:
        return _release(context, place, rest)
    if kind == kinds.DEPLOYMENT and (found := deployments.get(context.tx, rest)) is not None:
        name = f"{found.environment}/{found.service}"
        return rules.known_by(kind, found.id, name, state=found.state, release=f"{found.release}")
    start = derived.run(rest.removeprefix(f"{place[0]}/")) if kind == kinds.RUN else _named(place, kind, rest)
    edges = derived.known(start)
    if not edges:
        raise NotFound(
            f"nothing is known of where {of} came from or went",
            code="LINEAGE_NOT_FOUND", hint="bough lineage MODEL, or KIND:NAME as bough lineage --json shows ids",
        )  # fmt: skip
    ends = (end for edge in edges for end in (edge.source, edge.target))
    return next((end for end in ends if end.id == start.id), start)


def _model(context: Context, place: tuple[str, str], derived: Derived, text: str) -> Thing:
    plain = text.removeprefix(model_references.PREFIX)
    try:
        return derived.version(registry.resolve(context.tx, place, plain))
    except Invalid:
        found = registry.model(context.tx, place, plain)
    number = found.aliases.get(CHAMPION) or found.newest
    if not number:
        raise NotFound(
            f"{plain} has no version yet", code="MODEL_VERSION_NOT_FOUND", hint=f"bough models register {plain!r} DIR"
        )
    return derived.version(registry.version(context.tx, place, plain, number))


def _release(context: Context, place: tuple[str, str], text: str) -> Thing:
    number = text.rpartition("/")[2]
    if number.isascii() and number.isdecimal() and len(number) < 10:
        return release_thing(context.tx, place, int(number))
    release, _ = environments.find(context.tx, text)
    return release_thing(context.tx, (release.project, release.environment), release.number)


def _named(place: tuple[str, str], kind: str, rest: str) -> Thing:
    project, environment = place
    if kind in (kinds.OUTSIDE, kinds.JOB):
        return outside.job(rest) if kind == kinds.JOB else outside.named(rest)
    if kind in _BY_ID:
        return rules.known_by(kind, rest, rest[: rules.SHORT])
    name = rest.removeprefix(f"{project}/")
    if kind == kinds.SERVICE:
        return rules.thing(kind, project, name if "/" in name else f"{environment}/{name}")
    name, _, version = name.partition("@")
    return rules.thing(kind, project, name, version)
