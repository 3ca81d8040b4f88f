"""Verbs of services: status, logs, and following a rollout."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import msgspec
import sqlalchemy as sa

from bough.adapters.engine import READY as UNIT_READY
from bough.adapters.engine import Attempt, Engine
from bough.builds.loop import unit_of
from bough.environments import store as environments
from bough.environments.models import ENDED, LIVE, NOTED, ROUTED, Release
from bough.environments.operations import Environment, OneEnvironment
from bough.environments.rules import queue_addresses
from bough.kernel import events
from bough.kernel.context import Context, Role
from bough.kernel.errors import NotFound
from bough.kernel.operations import operation
from bough.kernel.platform import Platform
from bough.kernel.project import PRODUCTION
from bough.runtime.spec import Usage
from bough.serving import rules, store
from bough.serving.models import Deployment, Progress, ReplicaView, ServiceView, Status
from bough.serving.reading import LogLine, Reader, read, split, text_of
from bough.serving.replicas import build_request
from bough.serving.rollout import API_BROKEN

FOLLOW_S = 0.05  # between looks at what is new; a person cannot tell it from at once
ROUTED_WITHIN_S = 5.0


class OneService(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    service: str
    environment: Environment = PRODUCTION


class FollowRelease(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: Annotated[str, msgspec.Meta(description="the release's id")]


class ReadLogs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    service: Annotated[str, msgspec.Meta(description="one service; empty: all")] = ""
    environment: Environment = PRODUCTION
    lines: Annotated[int, msgspec.Meta(ge=0, le=1_000_000, description="how many of the last lines")] = 100
    follow: bool = False
    build: Annotated[bool, msgspec.Meta(description="the build's log instead of the replicas'")] = False
    cursor: Annotated[
        str, msgspec.Meta(description="go on after the line that carried it, instead of the last lines")
    ] = ""


@operation("environments.status", role=Role.VIEWER, command="status")
def status(context: Context, request: OneEnvironment) -> Status:
    """Shows what serves in an environment, and what is on its way."""
    place = request.project, request.environment
    newest = environments.newest(context.tx, place)
    if newest is None and environments.exists(context.tx, place):
        raise NotFound(
            f"nothing was deployed to {request.project}/{request.environment} yet", code="NOTHING_DEPLOYED",
            hint="bough deploy; bough jobs list shows what was run from folders",
        )  # fmt: skip
    if newest is None:
        raise NotFound(
            f"there is no {request.project}/{request.environment} yet",
            code="ENVIRONMENT_NOT_FOUND",
            hint="bough deploy",
        )
    live = environments.live(context.tx, place)
    rollout: dict[str, Any] = {} if live and newest[0].id == live[0].id else msgspec.to_builtins(newest[0])
    services = services_in(context, place)
    return Status(
        project=place[0],
        environment=place[1],
        release=live[0].number if live else 0,
        rollout=rollout,
        services=services,
    )


@operation("services.list", role=Role.VIEWER)
def list_services(context: Context, request: OneEnvironment) -> list[ServiceView]:
    """Lists the services that serve in an environment."""
    return services_in(context, (request.project, request.environment))


@operation("services.show", role=Role.VIEWER)
def show(context: Context, request: OneService) -> ServiceView:
    """Shows one service with its replicas, their memory and CPU."""
    place = request.project, request.environment
    found = [each for each in services_in(context, place) if each.service == request.service]
    if not found:
        raise NotFound(
            f"{'/'.join(place)} has no service {request.service!r}", code="SERVICE_NOT_FOUND", hint="bough status"
        )
    return found[0]


@operation("releases.follow", role=Role.VIEWER)
def follow_release(context: Context, request: FollowRelease) -> Iterator[Progress]:
    """Streams what happens to a release until it is live or has failed: build output, services, the end."""
    engine, offsets, waits, routed = context.part(Engine), dict[str, int](), dict[str, str](), False
    with context.read() as tx:
        release, manifest = environments.find(tx, request.id)
        place = release.project, release.environment
        first = events.read(tx, subject=release.id, limit=1)
        seen = first[0].seq - 1 if first else 0
    while True:
        with context.read() as tx:
            release, _ = environments.find(tx, request.id)
            found = {name: store.of_service(tx, place, name, each.digest) for name, each in manifest.services.items()}
            mine = {each.id: name for name, each in found.items() if each is not None}
            news = events.read(tx, after=seen)
        seen = news[-1].seq if news else seen
        happened = [each for each in news if each.subject in mine]
        routed = routed or any(each.name == ROUTED and each.subject == release.id for each in news)
        for deployment in found.values():
            if deployment is not None:
                yield from _build_output(engine, deployment, release, offsets)
        yield from _waits(engine, mine, waits)
        for each in news:
            if each.name in (API_BROKEN, NOTED) and each.subject == release.id:
                yield Progress(kind="note", at=each.at, service=each.data["service"], text=each.data["text"])
        for each in happened:
            yield Progress(
                kind="service",
                at=each.at,
                service=mine[each.subject],
                state=each.data.get("state") or each.name.removeprefix("replica."),
                data=each.data,
            )
        if release.state in ENDED and not news and (routed or release.state != LIVE or _overdue(context, release)):
            if release.state != LIVE:
                yield from _last_words(engine, release, found)
            yield _done(context, release, place)
            return
        context.pause(FOLLOW_S)


@operation("services.logs", role=Role.VIEWER, command="services logs")
def logs(context: Context, request: ReadLogs) -> Iterator[LogLine]:
    """Streams the output of services, oldest line first; with follow, as it comes.

    What a model prints while it is loaded, once for all replicas, begins the output of its deployment's first one: such
    lines begin with `loading:`.
    Every line carries a cursor: asked for again with it, the stream goes on exactly there, whatever was restarted."""
    engine = context.part(Engine)
    reader = Reader(engine, request.cursor, request.lines)
    with context.read() as tx:
        past = rules.bygone(store.in_environment(tx, (request.project, request.environment), ended=True))
    while True:
        yield from reader.read(_attempts_to_read(context, engine, request, past), follow=request.follow)
        if not request.follow:
            return
        context.pause(FOLLOW_S)


def services_in(context: Context, place: tuple[str, str]) -> list[ServiceView]:
    live = environments.live(context.tx, place)
    if live is None:
        return []
    engine, platform = context.part(Engine), context.part(Platform)
    attempts, usage = engine.snapshot(), engine.usage()
    owners = rules.bare_owners(environments.all_live(context.tx))
    found = []
    for name, service in live[1].services.items():
        deployment = store.of_service(context.tx, place, name, service.digest)
        if deployment is not None:
            addresses = rules.addresses(platform, deployment, owners)
            found.append(_view(addresses, deployment, live[0], attempts, usage))
    return found


def _view(
    addresses: tuple[str, str],
    deployment: Deployment,
    release: Release,
    attempts: list[Attempt],
    usage: dict[str, Usage],
) -> ServiceView:
    mine = [each for each in attempts if each.unit.rsplit("-", 1)[0] == deployment.id]
    url, address = addresses
    settings = deployment.settings
    return ServiceView(
        project=deployment.project,
        environment=deployment.environment,
        service=deployment.service,
        kind="mock" if settings.mock else "web" if settings.is_web else "model",
        release=release.number,
        deployment=deployment.id,
        state=deployment.state,
        ready=sum(each.state == UNIT_READY for each in mine),
        wanted=deployment.wanted,
        url=url,
        address=address,
        failure=deployment.failure,
        replicas=[_replica(each, usage.get(f"{each.unit}/{each.attempt}", Usage())) for each in mine],
    )


def _replica(attempt: Attempt, usage: Usage) -> ReplicaView:
    return ReplicaView(
        unit=attempt.unit,
        attempt=attempt.attempt,
        state=attempt.state,
        started_at=attempt.started_at,
        seconds_to_ready=round(max(attempt.ready_at - attempt.started_at, 0.0), 4) if attempt.ready_at else 0.0,
        cpu_s=usage.cpu_s,
        gpu_s=usage.gpu_s,
        memory_bytes=usage.memory_bytes,
        devices=attempt.devices,
        waits=attempt.waits,
        exit=msgspec.to_builtins(attempt.exit) if attempt.exit else {},
    )


def _waits(engine: Engine, mine: Mapping[str, str], said: dict[str, str]) -> Iterator[Progress]:
    """For what replicas of these deployments wait, once for each that is new."""
    for each in engine.snapshot():
        service = mine.get(each.unit.rpartition("-")[0], "")
        if service and each.waits and said.get(service) != each.waits:
            said[service] = each.waits
            yield Progress(kind="note", at=time.time(), service=service, text=each.waits)


def _build_output(
    engine: Engine, deployment: Deployment, release: Release, offsets: dict[str, int]
) -> Iterator[Progress]:
    unit = unit_of(build_request(deployment))
    attempt = next((each for each in engine.snapshot() if each.unit == unit), None)
    if attempt is None or (attempt.exit is not None and attempt.exit.at < release.created_at):  # an old build's
        return
    data, start = read(engine, unit, attempt.attempt, offsets.get(unit, 0))
    whole = data if attempt.exit else data[: data.rfind(b"\n") + 1]
    offsets[unit] = start + len(whole)
    for _, line in split(whole, start):
        yield Progress(kind="log", at=time.time(), service=deployment.service, text=text_of(line))


def _last_words(engine: Engine, release: Release, found: dict[str, Deployment | None]) -> Iterator[Progress]:
    """The end of what the failed service printed."""
    name = str(release.failure.get("service", ""))
    deployment = found.get(name)
    for attempt in engine.snapshot() if deployment else []:
        if deployment and attempt.unit.rsplit("-", 1)[0] == deployment.id:
            data, start = read(engine, attempt.unit, attempt.attempt, 0)
            for _, line in split(data, start)[-20:]:
                yield Progress(kind="log", at=time.time(), service=name, text=text_of(line))


def _overdue(context: Context, release: Release) -> bool:
    """Nobody routes: the gateway's part of the loop is not there to say so."""
    return context.clock.now() - release.finished_at > ROUTED_WITHIN_S


def _done(context: Context, release: Release, place: tuple[str, str]) -> Progress:
    data: dict[str, Any] = {"release": msgspec.to_builtins(release), "services": [], "queues": []}
    with context.read() as tx:
        if release.state == LIVE:
            data["services"] = _addresses(tx, context.part(Platform), place)
            queues = queue_addresses(context.part(Platform), place, environments.all_live(tx))
            data["queues"] = [{"queue": name, "url": url} for name, url in queues.items()]
        live = environments.live(tx, place)
        data["live"] = live[0].number if live else 0
    return Progress(kind="done", at=release.finished_at, state=release.state, data=data)


def _addresses(tx: sa.Connection, platform: Platform, place: tuple[str, str]) -> list[dict[str, str]]:
    live = environments.live(tx, place)
    owners, found = rules.bare_owners(environments.all_live(tx)), []
    for name, service in live[1].services.items() if live else ():
        url, address = rules.addresses(platform, store.serving(tx, place, name, service), owners)
        found.append({"service": name, "url": url, "address": address})
    return found


def _attempts_to_read(context: Context, engine: Engine, request: ReadLogs, past: set[str]) -> list[tuple[Attempt, str]]:
    """With the service that each is of; none of the deployments that are past."""
    place = request.project, request.environment
    with context.read() as tx:
        every = store.in_environment(tx, place, ended=True)
    mine = [each for each in every if request.service in ("", each.service)]
    if not mine:
        raise NotFound(
            f"{'/'.join(place)} has no service {request.service!r}", code="SERVICE_NOT_FOUND", hint="bough status"
        )
    mine = [each for each in mine if each.id not in past]
    units = {unit_of(build_request(each)): each.service for each in mine} if request.build else {}
    owners = {each.id: each.service for each in mine}
    found = []
    for attempt in sorted(engine.snapshot(), key=lambda each: each.started_at):
        owner = units.get(attempt.unit) if request.build else owners.get(attempt.unit.rsplit("-", 1)[0])
        if owner:
            found.append((attempt, owner))
    return found
