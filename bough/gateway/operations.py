"""Verbs of the data plane: what a service has answered, how fast, by which version, and for how much."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec

from bough.environments import store as environments
from bough.environments.models import ServiceManifest
from bough.gateway.control_client import traffic_of
from bough.gateway.models import LaneTraffic, RouteTraffic, Traffic
from bough.gateway.telemetry.metrics import LATENCY_S, quantile_s, share_within
from bough.kernel.context import Context, Role
from bough.kernel.errors import NotFound, Unavailable
from bough.kernel.operations import operation
from bough.kernel.platform import Home, Platform
from bough.kernel.project import PRODUCTION
from bough.kernel.workloads import Service

KEPT = 0.99  # share of answers that must come within `scale.latency`
_HOUR_S = 3600.0


class ServiceOf(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    service: str
    environment: Annotated[str, msgspec.Meta(description="environment; main is production")] = PRODUCTION


class VersionTraffic(msgspec.Struct, frozen=True, kw_only=True):
    """One release of the service, or one of several deployments that share its requests (`12/v7`, `12/churn-next`).
    `share`: of the service's requests, in percent; `items`: those that were answered well, and what they carried beyond
    one item each; `answers` is by class: 2xx, 4xx, 5xx; `statuses` by status. `refused`: of the requests, those that
    were turned away (limits, keys, a full queue, no replica): no latency counts them."""

    release: str
    api: str
    answering: bool
    share: float
    requests: int
    items: int
    answers: dict[str, int]
    statuses: dict[str, int]
    refused: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    last_at: float


class Objective(msgspec.Struct, frozen=True, kw_only=True):
    """`latency_s` as the project file says it: 99 of 100 answers are to come within it. `within`: the share that did;
    `kept`: whether that is enough."""

    latency_s: float
    within: float
    kept: bool


class StartTraffic(msgspec.Struct, frozen=True, kw_only=True):
    """Requests that waited for a replica to come up: from the warm pool, forked from a zygote, or cold, after the model
    had to be loaded."""

    kind: str
    count: int
    mean_ms: float


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """`replica_s`: for how long replicas were there to answer, each of so many `cores`, at the price of a core by the
    price book. `per_1000` requests; -1 where there were none, or where nobody says what a core (or a device) costs."""

    replica_s: float
    cores: float
    core_hour: float
    per_1000: float


class ServiceTraffic(msgspec.Struct, frozen=True, kw_only=True):
    """All since `since`, when the gateway began; `per_s` and `items_per_s` are running means of the last seconds."""

    project: str
    environment: str
    service: str
    since: float
    requests: int
    per_s: float
    items: int
    items_per_s: float
    replicas: int
    batches: int
    per_batch: float
    late: int
    versions: list[VersionTraffic]
    starts: list[StartTraffic]
    cost: Cost
    objective: Objective | None


@operation("services.traffic", role=Role.VIEWER)
def show_traffic(context: Context, request: ServiceOf) -> ServiceTraffic:
    """Shows what a service has answered since the gateway began: by version, how fast, with which errors, for how much.

    Errors are told apart by class and status, starts by where the replica came from. With scale.latency in the project
    file it says whether that is kept, and with a price for cores in the price book what 1,000 requests cost."""
    place = request.project, request.environment
    live = environments.live(context.tx, place)
    service = live[1].services.get(request.service) if live is not None else None
    if service is None:
        raise NotFound(
            f"{'/'.join(place)} has no service {request.service!r}", code="SERVICE_NOT_FOUND", hint="bough status"
        )
    seen = traffic_of(context.part(Home).gateway_socket)
    if seen is None:
        raise Unavailable("the gateway does not answer", code="GATEWAY_AWAY", hint="bough up")
    return described(place, request.service, service, seen, context.part(Platform))


def described(
    place: tuple[str, str], name: str, service: ServiceManifest, seen: Traffic, platform: Platform
) -> ServiceTraffic:
    """What the gateway has seen of one service."""
    settings = service.settings
    public = settings.route or name
    routes = [
        each for each in seen.routes
        if (each.project, each.environment, each.service, each.api) == (*place, public, settings.api)
    ]  # fmt: skip
    mine = {each.deployment for each in routes if each.deployment}
    lanes = [each for each in seen.lanes if each.deployment in mine]
    requests = sum(sum(each.statuses.values()) for each in routes)
    versions = [_version(each, requests) for each in routes]
    per_s, further_per_s = sum(each.per_s for each in lanes), sum(each.further_per_s for each in routes)
    begun, batches = sum(each.begun for each in lanes), sum(each.batches for each in lanes)
    return ServiceTraffic(
        project=place[0], environment=place[1], service=name, since=seen.started_at, requests=requests,
        per_s=round(per_s, 3), items=sum(each.items for each in versions), items_per_s=round(per_s + further_per_s, 3),
        replicas=sum(each.replicas for each in lanes),
        batches=batches, per_batch=round(begun / batches, 2) if batches else 0.0, late=sum(each.late for each in lanes),
        versions=versions, starts=_starts(lanes),
        cost=cost_of(settings, lanes, platform), objective=_objective(settings, routes),
    )  # fmt: skip


def cost_of(settings: Service, lanes: Sequence[LaneTraffic], platform: Platform) -> Cost:
    """Of the deployments that answer now, over the time for which they did. A replica that says nothing of `cpus` is
    counted as one core; what devices cost the price book does not say for services."""
    replica_s, cores = sum(each.replica_s for each in lanes), settings.resources.cpus or 1.0
    begun = sum(each.begun for each in lanes)
    known = begun > 0 and platform.core_hour > 0 and not settings.resources.gpus
    per_1000 = replica_s * cores / _HOUR_S * platform.core_hour / begun * 1000 if known else -1.0
    return Cost(
        replica_s=round(replica_s, 3), cores=cores, core_hour=platform.core_hour, per_1000=round(per_1000, 9)
    )  # fmt: skip


def _version(of: RouteTraffic, all_requests: int) -> VersionTraffic:
    requests, well = sum(of.statuses.values()), sum(count for status, count in of.statuses.items() if status < 400)
    classes: dict[str, int] = {}
    for status, count in sorted(of.statuses.items()):
        classes[f"{status // 100}xx"] = classes.get(f"{status // 100}xx", 0) + count
    p50, p95, p99 = (round(quantile_s(of.buckets, share) * 1000, 3) for share in (0.5, 0.95, 0.99))
    return VersionTraffic(
        release=of.release, api=of.api, answering=bool(of.deployment), requests=requests, answers=classes,
        items=well + of.further, refused=of.refused,
        share=round(100 * requests / all_requests, 2) if all_requests else 0.0, p50_ms=p50, p95_ms=p95, p99_ms=p99,
        statuses={str(status): count for status, count in sorted(of.statuses.items())}, last_at=of.last_at,
    )  # fmt: skip


def _starts(lanes: Sequence[LaneTraffic]) -> list[StartTraffic]:
    found: dict[str, tuple[int, float]] = {}
    for lane in lanes:
        for kind, each in lane.starts.items():
            count, seconds = found.get(kind, (0, 0.0))
            found[kind] = count + each.count, seconds + each.seconds
    return [
        StartTraffic(kind=kind, count=count, mean_ms=round(seconds / count * 1000, 3))
        for kind, (count, seconds) in found.items()
    ]


def _objective(settings: Service, routes: Sequence[RouteTraffic]) -> Objective | None:
    """Of the releases that answer now."""
    latency_s = settings.scale.latency
    if not latency_s:
        return None
    buckets = [0] * (len(LATENCY_S) + 1)
    for each in routes:
        if each.deployment:
            buckets = [one + other for one, other in zip(buckets, each.buckets, strict=True)]
    within = share_within(buckets, latency_s)
    return Objective(latency_s=latency_s, within=round(within, 6), kept=within >= KEPT)
