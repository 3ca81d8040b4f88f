"""Verbs of projects and releases."""

from __future__ import annotations

from typing import Annotated

import msgspec

from bough.adapters.blobs import Blobs
from bough.builds.rules import parse_bundle
from bough.environments import references, rules, store
from bough.environments.branching import branch_off
from bough.environments.models import LIVE, SUPERSEDED, EnvironmentView, Manifest, Plan, Release
from bough.kernel import catalog
from bough.kernel.catalog import Point
from bough.kernel.context import Context, Role
from bough.kernel.errors import Conflict, Forbidden, Invalid
from bough.kernel.names import check_name
from bough.kernel.operations import Nothing, operation
from bough.kernel.platform import Platform
from bough.kernel.project import FILE_NAME, PRODUCTION, of_job, resolve
from bough.kernel.reconcile import wake
from bough.kernel.settings import Document

RELEASE = "release"  # the kind of object that `serving` brings to life

Environment = Annotated[str, msgspec.Meta(description="environment; main is production")]


class ProposeRelease(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`bundles` maps each service's folder (its `path`) to the digest of its bundle, whose files have been uploaded."""

    file: Annotated[str, msgspec.Meta(description="the text of bough.toml")]
    bundles: dict[str, str]
    environment: Environment = PRODUCTION
    message: str = ""
    commit: str = ""


class OneEnvironment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    environment: Environment = PRODUCTION


class ListReleases(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    environment: Environment = PRODUCTION
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 50


class OneRelease(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    number: Annotated[int, msgspec.Meta(ge=1, le=2**31)]
    environment: Environment = PRODUCTION


class RollBack(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    environment: Environment = PRODUCTION
    to: Annotated[int, msgspec.Meta(ge=0, le=2**31, description="release to return to; 0: the one before")] = 0


class NewProject(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str


class Missing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    digests: list[str]


class ReleaseDetail(msgspec.Struct, frozen=True, kw_only=True):
    release: Release
    manifest: Manifest


@operation("projects.list", role=Role.VIEWER)
def list_projects(context: Context, request: Nothing) -> list[EnvironmentView]:
    """Lists projects with their production environment."""
    return [each for each in store.environments(context.tx) if each.name == PRODUCTION]


@operation("projects.create", role=Role.DEVELOPER, writes=True)
def create_project(context: Context, request: NewProject) -> EnvironmentView:
    """Makes a project with an empty production environment, for data before the first deploy; once is enough."""
    now, name = context.clock.now(), check_name(request.name, "project")
    store.ensure_project(context.tx, name, now)
    if not store.exists(context.tx, (name, PRODUCTION)):
        store.add_environment(context.tx, (name, PRODUCTION), now, by=context.principal.name)
    return next(each for each in store.environments(context.tx, name) if each.name == PRODUCTION)


@operation("blobs.missing", role=Role.DEVELOPER)
def missing_blobs(context: Context, request: Missing) -> list[str]:
    """Of these digests, the ones to upload before a release can be created."""
    return sorted(context.part(Blobs).missing(request.digests))


@operation("releases.plan", role=Role.VIEWER)
def plan(context: Context, request: ProposeRelease) -> Plan:
    """Says what a deploy would change, without changing it."""
    name, new = propose(context, request, check_bundles=False)
    check_exposure(context, new)
    current = store.live(context.tx, (name, request.environment))
    return rules.plan(name, request.environment, current[1] if current else None, new)


@operation("releases.create", role=Role.DEVELOPER, writes=True)
def create(context: Context, request: ProposeRelease) -> Release:
    """Deploys: makes a release and sets it off. Files and settings that are live already give the live release."""
    name, manifest = propose(context, request, check_bundles=True)
    place, digest = (name, request.environment), rules.digest(manifest)
    stand(context, place)
    newest = store.newest(context.tx, place)
    if newest and newest[0].digest == digest and newest[0].state == LIVE:
        return newest[0]
    return make_release(context, place, manifest, request.message, request.commit)


@operation("releases.list", role=Role.VIEWER, command="releases")
def list_releases(context: Context, request: ListReleases) -> list[Release]:
    """Lists releases, newest first."""
    return store.releases(context.tx, (request.project, request.environment), request.limit)


@operation("releases.show", role=Role.VIEWER)
def show(context: Context, request: OneRelease) -> ReleaseDetail:
    """Shows one release and everything it consists of."""
    found, manifest = store.find_number(context.tx, (request.project, request.environment), request.number)
    return ReleaseDetail(release=found, manifest=manifest)


@operation("releases.rollback", role=Role.DEVELOPER, writes=True, command="rollback")
def roll_back(context: Context, request: RollBack) -> Release:
    """Returns to an earlier release: the same files, environments and settings, as a new release; nothing is built."""
    place = request.project, request.environment
    current = store.live(context.tx, place)
    if current is None:
        raise Conflict(f"{'/'.join(place)} has nothing live to roll back", code="NOTHING_LIVE", hint="bough deploy")
    if request.to:
        target, manifest = store.find_number(context.tx, place, request.to)
    else:
        target, manifest = _before(context, place, current[0])
    references.check_models(context, place, manifest)
    return make_release(
        context, place, manifest, f"rolled back to release {target.number}", target.commit, target.number
    )


def make_release(
    context: Context, place: tuple[str, str], manifest: Manifest, message: str, commit: str, to: int = 0
) -> Release:
    """A release of `manifest` that is on its way; `to`: the release that it returns to. A deploy keeps an environment
    with a time to live alive."""
    check_exposure(context, manifest)
    catalog.writable_layer(context.tx, *place, context.principal)
    now, by = context.clock.now(), context.principal.name
    made = store.add_release(
        context.tx,
        place,
        manifest,
        rules.digest(manifest),
        by=by,
        now=now,
        message=message,
        commit=commit,
        rolled_back_to=to,
    )
    context.emit("release.created", made.id, number=made.number, project=place[0], environment=place[1])
    wake(context.tx, RELEASE, made.id)
    store.prolong(context.tx, place, now)
    return made


def check_exposure(context: Context, manifest: Manifest) -> None:
    """Raises `Forbidden` (PUBLIC_REFUSED) where this Bough lets nothing be public and the release would, and `Conflict`
    (PORT_RESERVED) where a service would take a port from Bough itself."""
    platform = context.part(Platform)
    for name, each in manifest.services.items():
        if each.settings.port in platform.own_ports:
            raise Conflict(
                f"services.{name} asks for port {each.settings.port}, where Bough itself listens",
                code="PORT_RESERVED", hint=f"choose another port, or none: {platform.gateway_url} answers for it",
            )  # fmt: skip
    if not platform.public_services and (exposed := rules.said_public(manifest)):
        raise Forbidden(
            f'{", ".join(exposed)} would answer everybody (access = "public"), and here nothing may be public',
            code="PUBLIC_REFUSED",
            hint='access = "key"; or, where Bough runs, bough up --public',
        )


def stand(context: Context, place: tuple[str, str]) -> None:
    """Makes sure that the project and the environment are there."""
    check_name(place[1], "environment")
    store.ensure_project(context.tx, place[0], context.clock.now())
    if not store.exists(context.tx, place):
        _open(context, place)


def _open(context: Context, place: tuple[str, str]) -> None:
    """An environment that nobody has made before its first deploy branches from production, if there is one."""
    if place[1] != PRODUCTION and store.exists(context.tx, (place[0], PRODUCTION)):
        start = Point(catalog.layer_of(context.tx, place[0], PRODUCTION))
        branch_off(context, place, start, parent=PRODUCTION, branch=place[1])
    else:
        store.add_environment(context.tx, place, context.clock.now(), by=context.principal.name)


def propose(
    context: Context, request: ProposeRelease, *, check_bundles: bool = True, job: str = ""
) -> tuple[str, Manifest]:
    """The project's name, and what a release of this file would consist of. `job`: for a run of this one alone, so that
    what others are made of has not been sent, and need not be there."""
    document = Document(request.file, FILE_NAME)
    project = resolve(document, request.environment)
    if job in project.jobs:
        project = of_job(project, job)
    workloads = ([] if job else list(project.services.values())) + list(project.jobs.values())
    if missing := sorted({each.path for each in workloads} - request.bundles.keys()):
        raise Invalid(f"there is no bundle for {', '.join(missing)}", code="BUNDLE_MISSING", hint="bough deploy")
    if check_bundles:
        _check_complete(context.part(Blobs), set(request.bundles.values()))
    pins = references.pins(context.tx, project, document)
    models = {} if job else references.model_pins(context, project, document)
    bundles = {each.path: "" for each in project.services.values()} if job else {}
    return project.name, rules.manifest(project, bundles | request.bundles, pins, models)


def _check_complete(blobs: Blobs, bundles: set[str]) -> None:
    lacking = list(blobs.missing(sorted(bundles)))
    for digest in bundles - set(lacking):
        bundle = parse_bundle(blobs.read(digest))
        lacking += blobs.missing(entry.digest for entry in bundle.entries)
    if lacking:
        raise Invalid(
            f"{len(lacking)} files of the bundles have not been uploaded",
            code="BLOBS_MISSING",
            hint="bough deploy uploads them",
            digests=lacking[:100],
        )


def _before(context: Context, place: tuple[str, str], current: Release) -> tuple[Release, Manifest]:
    for each in store.releases(context.tx, place, 1000):
        if each.state == SUPERSEDED and each.number < current.number and each.digest != current.digest:
            return store.find(context.tx, each.id)
    raise Conflict(
        f"{'/'.join(place)} has no earlier release to return to", code="NOTHING_BEFORE", hint="bough releases"
    )
