"""Verbs of gates."""

from __future__ import annotations

from typing import Annotated

import msgspec

from bough.gates import store
from bough.gates.models import GateRun
from bough.kernel.context import Context, Role
from bough.kernel.errors import Invalid
from bough.kernel.operations import operation
from bough.kernel.project import PRODUCTION
from bough.registry import store as registry
from bough.registry.models import Place, Version

CHAMPION = "champion"
PRODUCTION_TOO = "production"  # what people call `main`

Environment = Annotated[str, msgspec.Meta(description="environment whose gates are meant; main is production")]


class RunGates(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    model: Annotated[str, msgspec.Meta(description="NAME@ALIAS or NAME/NUMBER")]
    environment: Environment = PRODUCTION
    source: Annotated[
        str,
        msgspec.Meta(
            description="environment in which the version is looked up; the same without it",
            extra_json_schema={"flag": "from"},
        ),
    ] = ""


class ListGates(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    model: Annotated[
        str, msgspec.Meta(description="one model", extra_json_schema={"x-argument": True, "x-metavar": "MODEL"})
    ] = ""
    environment: Environment = PRODUCTION
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 20


class OneGateRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: str


@operation("gates.run", role=Role.DEVELOPER, writes=True)
def run(context: Context, request: RunGates) -> GateRun:
    """Starts all gates of an environment for a version; `bough gates show` says what came of it."""
    place = request.project, named(request.environment)
    version = registry.resolve(context.tx, (request.project, named(request.source) or place[1]), request.model)
    gates = store.policy_of(context.tx, place, version.name).gates
    if gates.empty:
        raise Invalid(
            f"the live release of {'/'.join(place)} declares no gates for the model {version.name!r}",
            code="NO_GATES", hint=f"add [models.{version.name}.gates] to bough.toml, then bough deploy -e {place[1]}",
        )  # fmt: skip
    champion = champion_of(context, place, version.name)
    return store.add(context.tx, place, version, champion, gates, by=context.principal.name, now=context.clock.now())


@operation("gates.show", role=Role.VIEWER)
def show(context: Context, request: OneGateRun) -> GateRun:
    """Shows a gate run: what each gate found, and the digest of its evidence."""
    return store.get(context.tx, request.id)


@operation("gates.list", role=Role.VIEWER)
def list_(context: Context, request: ListGates) -> list[GateRun]:
    """Lists gate runs of an environment, newest first."""
    place = request.project, named(request.environment)
    return store.runs(context.tx, place, request.model, limit=request.limit)


def named(environment: str) -> str:
    """`main` is production, and may be called that."""
    return PRODUCTION if environment == PRODUCTION_TOO else environment


def champion_of(context: Context, place: Place, name: str) -> Version | None:
    """The version in use; None before the first."""
    number = registry.aliases(context.tx, place, name).get(CHAMPION)
    return registry.version(context.tx, place, name, number) if number else None
