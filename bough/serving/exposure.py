"""Who can reach what: listeners, TLS, and for each service and queue what it asks of callers."""

from __future__ import annotations

from typing import Annotated

import msgspec

from bough.environments import store as environments
from bough.environments.models import Manifest, Release
from bough.kernel.context import Context, Role
from bough.kernel.operations import operation
from bough.kernel.platform import Platform, is_local
from bough.kernel.project import PRODUCTION
from bough.kernel.queue import Queue
from bough.kernel.traffic import RateLimits
from bough.kernel.workloads import Service

PLAIN, BOTH, TLS = "plain", "plain and TLS", "TLS"
MACHINE, NETWORK = "this machine", "the network"


class ShowExposure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: Annotated[str, msgspec.Meta(description="one project; all without it")] = ""


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    """`reached_from`: this machine, or the network as far as its firewalls let it."""

    part: str
    address: str
    protocol: str
    reached_from: str
    asks_for: str


class Exposed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A service or a queue. `ports`: where it answers; `asks_for`: what a caller must show, `nothing` where everybody
    who reaches a port may call; `allow`: from where (empty: anywhere); `tls`: what its ports speak to it."""

    project: str
    environment: str
    name: str
    what: str
    ports: list[int]
    reached_from: str
    asks_for: str
    tls: str
    allow: list[str] = []
    scopes: list[str] = []
    limits: dict[str, str] = {}


class Exposure(msgspec.Struct, frozen=True, kw_only=True):
    """`public_services`: whether a service may ask for nothing (`bough up --no-public`)."""

    public_services: bool
    listeners: list[Listener]
    services: list[Exposed]


@operation("services.exposure", role=Role.VIEWER)
def show_exposure(context: Context, request: ShowExposure) -> Exposure:
    """Shows who can reach what: ports, TLS, and what each service asks of its callers."""
    platform = context.part(Platform)
    live = [each for each in environments.all_live(context.tx) if request.project in ("", each[0].project)]
    return Exposure(
        public_services=platform.public_services,
        listeners=listeners(platform),
        services=[found for release, manifest in live for found in exposed(platform, release, manifest)],
    )


def listeners(platform: Platform) -> list[Listener]:
    """What Bough itself listens on; own ports of services stand with them."""
    host, each = platform.gateway_host, "what each service says"
    found = [_listener("gateway", host, platform.gateway_port, PLAIN, each)]
    if platform.has_tls:
        found.append(_listener("gateway", host, platform.tls_port, TLS, each))
    return [*found, _listener("API", platform.api_host, platform.api_port, PLAIN, "a token")]


def exposed(platform: Platform, release: Release, manifest: Manifest) -> list[Exposed]:
    """Of one release that is live, in the order of its project file."""
    services = {name: each.settings for name, each in manifest.services.items()}
    found = [
        _exposed(platform, release, name, "web service" if each.is_web else "model service", each)
        for name, each in services.items()
    ]
    for name, queue in manifest.queues.items():
        handler = services.get(name if queue.is_function else queue.handler)
        if handler is not None:
            found.append(_exposed(platform, release, name, "queue", _as_asked(queue, handler)))
    return found


def _as_asked(queue: Queue, handler: Service) -> Service:
    """A queue stands behind its handler's door, and its quotas are the keys'; who may put items it may say itself."""
    access = handler.access if queue.access == "auto" else queue.access
    return msgspec.structs.replace(handler, access=access, port=0, limits=RateLimits())


def _exposed(platform: Platform, release: Release, name: str, what: str, settings: Service) -> Exposed:
    ports = [platform.gateway_port, *([platform.tls_port] if platform.has_tls else [])]
    own = [settings.port] if settings.port and release.environment == PRODUCTION else []
    access = platform.access_of(settings.access)
    return Exposed(
        project=release.project,
        environment=release.environment,
        name=name,
        what=what,
        ports=ports + own,
        reached_from=_from(platform.gateway_host),
        asks_for="nothing" if access == "public" else access.replace("-", " "),
        tls=TLS if settings.tls == "required" else BOTH if platform.has_tls else PLAIN,
        allow=settings.allow,
        scopes=settings.scopes,
        limits={key: text for key, text in msgspec.to_builtins(settings.limits).items() if text},
    )


def _listener(part: str, host: str, port: int, protocol: str, asks_for: str) -> Listener:
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return Listener(part=part, address=address, protocol=protocol, reached_from=_from(host), asks_for=asks_for)


def _from(host: str) -> str:
    return MACHINE if is_local(host) else NETWORK
