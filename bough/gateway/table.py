"""What the routing table says, made of what is deployed, shared out, mirrored and allowed at the moment."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from bough.access import store as access
from bough.adapters.engine import EXITED, Attempt
from bough.adapters.engine import READY as UNIT_READY
from bough.environments import store as environments
from bough.environments.models import Manifest, Release
from bough.gateway.models import MOCK, MODEL, WEB, CorsRule, Key, Mirrored, Route, Target, Variant
from bough.gateway.taps.kept import Keep
from bough.kernel.platform import Platform
from bough.kernel.project import PRODUCTION
from bough.kernel.traffic import CORS_HEADERS, quota
from bough.kernel.workloads import Service
from bough.queues.models import QueueRoute
from bough.serving import mirroring
from bough.serving import models as deployments
from bough.serving import store as serving
from bough.serving.mirroring import Mirror
from bough.serving.models import Deployment, Share
from bough.serving.rules import bare_owners

_ROUTED = (deployments.READY, deployments.STARTING, deployments.ASLEEP)
Live = list[tuple[Release, Manifest]]  # of every environment, those of the oldest project first


class RouteMaker:
    """Makes the routes of all environments, and keeps them: of a hundred branches one has changed, and the others'
    routes stay the same objects."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._routes: dict[str, tuple[Deployment, int, list[Attempt], str, Route]] = {}

    def routes(self, tx: sa.Connection, live: Live, attempts: list[Attempt]) -> list[Route]:
        """`attempts`: of all units that the engine has."""
        known = _Known(tx, attempts, self, bare_owners(live))
        return [route for each in live for route in _routes(known, *each)]

    def route(self, release: Release, deployment: Deployment, attempts: list[Attempt], owner: str) -> Route:
        """The one that leads to a deployment. `attempts`: those of its units; `owner`: the project that its name alone
        means."""
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


def queues(tx: sa.Connection, platform: Platform, live: Live) -> list[QueueRoute]:
    return _named([queue for each in live for queue in _queues(tx, platform, *each)])


def keys(tx: sa.Connection) -> list[Key]:
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


class _Known:
    """What routes are made of, of all environments at once: the table is written anew at every change, and questions
    for each of a hundred branches would hold up whoever makes the next one."""

    def __init__(
        self, tx: sa.Connection, attempts: list[Attempt], made: RouteMaker, owners: dict[tuple[str, str, str], str]
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
                scopes=service.scopes, issuers=service.issuers,
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
