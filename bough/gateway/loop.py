"""The control plane's side of the gateway: writes the routing table and tells when a deployment has drained.

The table is a file, replaced whole. The gateway reads it when poked over its control socket and also by itself, so a
poke that is lost costs half a second and a server that is dead costs nothing.
"""

from __future__ import annotations

import datetime
import hashlib
import http.client
import socket
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from bough.access import store as access
from bough.adapters.engine import EXITED, Attempt, Engine
from bough.adapters.engine import READY as UNIT_READY
from bough.environments import store as environments
from bough.environments.models import NOTED, ROUTED, Manifest, Release
from bough.gateway.models import (
    MOCK,
    MODEL,
    WEB,
    CorsRule,
    GatewayState,
    Heard,
    Key,
    Mirrored,
    Route,
    Silence,
    Target,
    Traffic,
    Variant,
)
from bough.gateway.taps.kept import Keep
from bough.kernel.events import Events, happened_of
from bough.kernel.files import write_whole
from bough.kernel.platform import Home, Platform
from bough.kernel.project import PRODUCTION
from bough.kernel.reconcile import Handler, Turn, wake
from bough.kernel.traffic import CORS_HEADERS, quota
from bough.kernel.workloads import Service
from bough.queues.models import QueueRoute
from bough.serving import mirroring
from bough.serving import models as deployments
from bough.serving import store as serving
from bough.serving.mirroring import Mirror
from bough.serving.models import Deployment, Share
from bough.serving.rules import bare_owners

KIND, ID = "routes", "all"
_ROUTED = (deployments.READY, deployments.STARTING, deployments.ASLEEP)
DRAIN_CHECK_S = 0.05
BEHIND_CHECK_S = 0.5  # while the gateway does not take the table: it logs why
REPLY_S = 5.0
Said = TypeVar("Said", GatewayState, Traffic, Heard)
GIVE_UP_S = 60.0  # added to a service's own timeout: longer than any request can still be under way


def changed(tx: sa.Connection, _event: object = None) -> None:
    """The table may have to be written anew."""
    wake(tx, KIND, ID)


def handler(home: Home, platform: Platform, engine: Engine, events: Events) -> Handler:
    made, announced = _Made(platform), set[str]()

    def turn(turn: Turn) -> float | None:
        attempts = engine.snapshot()
        with turn.read() as tx:
            live = environments.all_live(tx)
            known = _Known(tx, attempts, made, bare_owners(live))
            routes = [route for each in live for route in _routes(known, *each)]
            keys = _keys(tx)
            queues = _named([queue for each in live for queue in _queues(tx, platform, *each)])
            draining = serving.in_state(tx, deployments.DRAINING)
        generation = publish(home.table, routes, keys, queues)
        state, now = _poke(home.gateway_socket), turn.clock.now()
        behind = state is not None and state.generation < generation
        if not behind:
            silent = state.silent_ports if state is not None else {}
            _announce(turn, events, [each for each in live if each[0].id not in announced], silent)
            announced.clear()
            announced.update(release.id for release, _ in live)
        leaving = [each for each in draining if not each.drained]
        for deployment in leaving:
            if _has_drained(deployment, state, generation, now):
                with turn.apply() as tx:
                    serving.drained(tx, deployment.id, now)
        return DRAIN_CHECK_S if leaving else BEHIND_CHECK_S if behind else None

    return turn


def _announce(
    turn: Turn, events: Events, live: list[tuple[Release, Manifest]], silent_ports: Mapping[int, str]
) -> None:
    """Says once of each release that requests reach it now (or will, as soon as there is a gateway again), and at which
    ports they do not."""
    if not live:
        return
    with turn.read() as tx:
        said = happened_of(tx, ROUTED, [release.id for release, _ in live])
    new = [each for each in live if each[0].id not in said]
    if new:
        with turn.apply() as tx:
            for release, manifest in new:
                for name, service in manifest.services.items():
                    if release.environment == PRODUCTION and service.settings.port in silent_ports:
                        text = f"{silent_ports[service.settings.port]}: {name} does not answer there"
                        events.emit(tx, NOTED, release.id, service=name, text=text)
                events.emit(tx, ROUTED, release.id, number=release.number)


def publish(path: Path, routes: list[Route], keys: list[Key], queues: list[QueueRoute]) -> int:
    """Writes the table if it differs from what the file holds; returns the generation in force."""
    rest = msgspec.json.encode(_Rest(routes, keys, queues))
    digest = hashlib.blake2b(rest, digest_size=16).hexdigest()
    try:
        old = msgspec.json.decode(path.read_bytes(), type=_Written)
    except (FileNotFoundError, msgspec.DecodeError):
        old = _Written()
    if old.digest == digest:
        return old.generation
    path.parent.mkdir(parents=True, exist_ok=True)
    head = msgspec.json.encode(_Written(generation=old.generation + 1, digest=digest))
    write_whole(path, head[:-1] + b"," + rest[1:], mode=0o600)
    return old.generation + 1


class _Written(msgspec.Struct, frozen=True):
    """What the writer reads of the table in force."""

    generation: int = 0
    digest: str = ""


def state_of(control: Path) -> GatewayState | None:
    """What the gateway says of itself; None when it does not answer."""
    return _ask(control, "GET", "/state", GatewayState)


def traffic_of(control: Path) -> Traffic | None:
    """What it has answered since it began; None when it does not answer."""
    return _ask(control, "GET", "/traffic", Traffic)


def heard_at(control: Path, silence: Silence) -> Heard | None:
    """Whether one of the deployments is asked before the time is over; None when it does not answer."""
    return _ask(control, "POST", "/listen", Heard, silence)


class _Rest(msgspec.Struct, frozen=True):
    """A table without what is in `_Written`."""

    routes: list[Route]
    keys: list[Key]
    queues: list[QueueRoute]


class _Made:
    """Routes as they were made: of a hundred branches one has changed, and the others' stay the same objects."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._routes: dict[str, tuple[Deployment, int, list[Attempt], str, Route]] = {}

    def route(self, release: Release, deployment: Deployment, attempts: list[Attempt], owner: str) -> Route:
        """`attempts`: those of the deployment's units; `owner`: the project that its name alone means."""
        before = self._routes.get(deployment.id)
        if before is not None and before[0] is deployment and before[1:4] == (release.number, attempts, owner):
            return before[4]
        made = _route(self._platform, attempts, release, deployment, owner)
        self._routes[deployment.id] = deployment, release.number, attempts, owner, made
        return made

    def keep(self, ids: Collection[str]) -> None:
        """Forgets all others."""
        for id in self._routes.keys() - ids:
            del self._routes[id]


class _Known:
    """What routes are made of, of all environments at once: the table is written anew at every change, and questions
    for each of a hundred branches would hold up whoever makes the next one."""

    def __init__(
        self, tx: sa.Connection, attempts: list[Attempt], made: _Made, owners: dict[tuple[str, str, str], str]
    ) -> None:
        self._made, self._owners = made, owners
        self._attempts: dict[str, list[Attempt]] = {}
        for each in attempts:
            self._attempts.setdefault(each.unit.rpartition("-")[0], []).append(each)
        self.deployments = {each.id: each for each in serving.in_state(tx, *_ROUTED)}
        self.of_services = {
            (each.project, each.environment, each.service, each.digest): each for each in self.deployments.values()
        }
        self.shares = serving.all_shares(tx)
        self.mirrors = mirroring.running(tx)
        made.keep(self.deployments.keys())

    def route(self, release: Release, deployment: Deployment) -> Route:
        """The one that leads to a deployment, not divided yet."""
        settings = deployment.settings
        owner = self._owners[deployment.environment, settings.api, settings.route or deployment.service]
        return self._made.route(release, deployment, self.attempts(deployment), owner)

    def attempts(self, deployment: Deployment) -> list[Attempt]:
        """Of its units."""
        return self._attempts.get(deployment.id, [])


def _routes(known: _Known, release: Release, manifest: Manifest) -> list[Route]:
    place, found = (release.project, release.environment), []
    shares = known.shares.get(place, [])
    mirrors = [each for each in known.mirrors if (each.project, each.environment) == place]
    for name, service in sorted(manifest.services.items()):
        deployment = known.of_services.get((*place, name, service.digest))
        if deployment is not None:
            route = known.route(release, deployment)
            route = _divided(known, route, [each for each in shares if each.service == name])
            found.append(_mirrored(route, [each for each in mirrors if each.service in ("", name)]))
    routed = {(each.api, each.service): each for each in found}
    names = {name: (each.settings.api, each.settings.route or name) for name, each in manifest.services.items()}
    for name, service in manifest.services.items():
        own = routed.get(names[name])
        if service.settings.split and own is not None:
            places = {to: routed[key] for to, key in names.items() if key in routed}
            routed[names[name]] = declared(own, service.settings, places)
    return list(routed.values())


def _queues(tx: sa.Connection, platform: Platform, release: Release, manifest: Manifest) -> list[QueueRoute]:
    """A branch's queues tell nobody outside while its schedules rest: its items are not production's."""
    if not manifest.queues:
        return []
    rests = environments.view(tx, (release.project, release.environment)).paused
    found = []
    for name, settings in sorted(manifest.queues.items()):
        handler = manifest.services.get(name if settings.is_function else settings.handler)
        if handler is None:
            continue
        service = handler.settings
        access_rule = platform.access_of(service.access if settings.access == "auto" else settings.access)
        told = settings.silent if rests else settings
        found.append(
            QueueRoute(
                project=release.project, environment=release.environment, queue=name, settings=told,
                service=service.route or (name if settings.is_function else settings.handler), api=service.api,
                access=access_rule, allow=service.allow, tls_required=service.tls == "required",
                max_body_bytes=int(service.max_body_mb * (1 << 20)), timeout_s=service.timeout_s,
            )
        )  # fmt: skip
    return found


def _named(queues: list[QueueRoute]) -> list[QueueRoute]:
    """A name alone means the oldest project that has it, as with services. `queues`: those of the oldest first."""
    owners: dict[tuple[str, str], str] = {}
    for each in queues:
        owners.setdefault((each.environment, each.queue), each.project)
    return [msgspec.structs.replace(each, bare=owners[each.environment, each.queue] == each.project) for each in queues]


def _divided(known: _Known, route: Route, shares: list[Share]) -> Route:
    """With those deployments as variants that are there to answer."""
    if not shares:
        return route
    variants = []
    for each in shares:
        deployment = known.deployments.get(each.deployment)
        if deployment is None or each.deployment == route.deployment:
            continue
        variants.append(
            Variant(
                deployment=deployment.id, name=each.name, percent=each.percent, copies=each.copies,
                targets=_targets(route.kind, known.attempts(deployment), deployment), signature=deployment.signature,
                asleep=deployment.state == deployments.ASLEEP,
            )
        )  # fmt: skip
    return msgspec.structs.replace(route, variants=variants, sticky=shares[0].sticky if variants else "")


def _mirrored(route: Route, mirrors: list[Mirror]) -> Route:
    if not mirrors:
        return route
    wanted = [
        Mirrored(id=each.id, environment=each.target, percent=each.percent, tolerance=each.tolerance)
        for each in mirrors
    ]
    return msgspec.structs.replace(route, mirrors=wanted)


def declared(route: Route, settings: Service, places: Mapping[str, Route]) -> Route:
    """With the variants that the project file asks for, beside those of a promotion; `places`: routes by the names of
    their services. One that is not routed yet takes no share."""
    variants = list(route.variants)
    for name in dict.fromkeys(rule.to for rule in settings.split):
        rules, to = [rule for rule in settings.split if rule.to == name], places.get(name)
        if to is not None:
            variants.append(
                Variant(
                    deployment=to.deployment, name=name, leads_to=(to.api, to.service),
                    percent=sum(rule.percent for rule in rules), copies=any(rule.copies for rule in rules),
                    headers=[(rule.header.lower(), rule.value) for rule in rules if rule.header],
                    keys=[key for rule in rules for key in rule.keys],
                )
            )  # fmt: skip
    return msgspec.structs.replace(route, variants=variants, sticky=route.sticky or settings.sticky)


def _route(platform: Platform, attempts: list[Attempt], release: Release, deployment: Deployment, owner: str) -> Route:
    settings = deployment.settings
    kind = MOCK if settings.mock else WEB if settings.is_web else MODEL
    return Route(
        project=deployment.project,
        environment=deployment.environment,
        service=settings.route or deployment.service,
        deployment=deployment.id,
        release=release.number,
        kind=kind,
        api=settings.api,
        targets=_targets(kind, attempts, deployment),
        access=platform.access_of(settings.access),
        timeout_s=settings.timeout_s,
        queue_size=settings.queue_size,
        max_body_bytes=int(settings.max_body_mb * (1 << 20)),
        max_batch=settings.batch.max_size,
        max_wait_ms=settings.batch.max_wait_ms,
        idempotent=settings.idempotent,
        port=settings.port if deployment.environment == PRODUCTION and settings.port not in platform.own_ports else 0,
        signature=deployment.signature,
        **_said_of_requests(settings),
        mock_latency_ms=settings.mock_latency_ms,
        asleep=deployment.state == deployments.ASLEEP,
        wait_s=settings.scale.target,
        objective_s=settings.scale.latency,
        bare=owner == deployment.project,
    )


def _said_of_requests(settings: Service) -> dict[str, Any]:
    """What only the gateway reads of a service's settings."""
    limits = {what: quota(text) for what, text in msgspec.to_builtins(settings.limits).items() if text}
    cors, cache = settings.cors, settings.cache
    return {
        "allow": settings.allow,
        "tls_required": settings.tls == "required",
        "scopes": settings.scopes,
        "issuers": settings.issuers,
        "limits": limits,
        "priority": settings.priority,
        "cors": CorsRule(**msgspec.to_builtins(cors) | {"headers": [*CORS_HEADERS, *cors.headers]})
        if cors.origins
        else None,
        "cache_bytes": int(cache.size_mb * (1 << 20)) if settings.deterministic else 0,
        "cache_age_s": cache.age_s,
        "keep": Keep(**msgspec.to_builtins(settings.keep)) if settings.keep.requests else None,
        "deprecated": bool(settings.deprecated),
        "deprecated_at": 0.0 if isinstance(settings.deprecated, bool) else _midnight(settings.deprecated),
        "sunset_at": _midnight(settings.sunset) if settings.sunset else 0.0,
    }


def _midnight(day: datetime.date) -> float:
    return datetime.datetime(day.year, day.month, day.day, tzinfo=datetime.UTC).timestamp()


def _targets(kind: str, attempts: list[Attempt], deployment: Deployment) -> list[Target]:
    """`attempts`: those of its units. A model's replica keeps its socket's path over attempts, so it stays listed while
    it restarts and its requests wait for it. A web service is listed while its present port answers. Of one that is
    asleep all are listed, also those that the engine does not know yet."""
    wanted = {deployment.unit(number) for number in range(deployment.wanted)}
    warm = {deployment.unit(number) for number in range(deployment.answering, deployment.wanted)}
    if kind == WEB:  # its replicas begin to answer when the table says so
        wanted -= warm
    if deployment.state == deployments.ASLEEP:
        known = {each.unit: each.address for each in attempts if kind == MODEL}
        return [Target(unit=unit, address=known.get(unit, "")) for unit in sorted(wanted - warm)]
    return [
        Target(
            unit=each.unit, address=each.address, attempt=each.attempt if kind == WEB else 0, warm=each.unit in warm
        )
        for each in sorted(attempts, key=lambda each: each.unit)
        if each.unit in wanted and each.address and (each.state == UNIT_READY or (kind == MODEL and each.state != ""))
        and not (kind == WEB and each.state == EXITED)
    ]  # fmt: skip


def _keys(tx: sa.Connection) -> list[Key]:
    hashes = access.key_hashes(tx)
    return [
        Key(
            id=each.id,
            hash=hashes[each.id],
            project=each.project,
            services=each.services,
            environments=each.environments,
            expires_at=each.expires_at,
            scopes=each.scopes,
            tenant=each.tenant,
            priority=each.priority,
            quota=quota(each.quota) if each.quota else None,
        )
        for each in access.keys(tx)
        if each.id in hashes
    ]


def _has_drained(deployment: Deployment, state: GatewayState | None, generation: int, now: float) -> bool:
    if state is None:  # no gateway, so nothing is under way through it
        return True
    if now - deployment.changed_at > deployment.settings.timeout_s + GIVE_UP_S:
        return True
    lane = next((each for each in state.lanes if each.deployment == deployment.id), None)
    return state.generation >= generation and (lane is None or lane.queued + lane.in_flight == 0)


def _poke(control: Path) -> GatewayState | None:
    return _ask(control, "POST", "/reload", GatewayState)


def _ask(control: Path, method: str, path: str, kind: type[Said], silence: Silence | None = None) -> Said | None:
    connection = http.client.HTTPConnection("gateway", timeout=REPLY_S)
    try:
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(REPLY_S + (silence.timeout_s if silence else 0.0))
        connection.sock.connect(str(control))
        connection.request(method, path, msgspec.json.encode(silence) if silence else None)
        return msgspec.json.decode(connection.getresponse().read(), type=kind)
    except (OSError, http.client.HTTPException, msgspec.DecodeError):
        return None
    finally:
        connection.close()
