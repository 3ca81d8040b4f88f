"""Seconds of CPU that services have used, for the difference between two moments."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from bough.adapters.engine import Engine
from bough.environments import store as environments
from bough.kernel.errors import Unavailable
from bough.mirrors.rules import SOURCE, TARGET, side_of
from bough.serving import store as serving

TOLD_S = 1.25  # until all that was used has been told: units say it every second


def services(tx: sa.Connection, project: str, source: str, target: str, service: str, *, web: bool = True) -> list[str]:
    """Services that both environments have live; `service` alone if it is named. `web`: web services as well."""
    found = [set(_deployments(tx, project, each, web=web)) for each in (source, target)]
    both = sorted(found[0] & found[1])
    return [each for each in both if service in ("", each)]


def spent(
    tx: sa.Connection, engine: Engine, project: str, sides: tuple[str, str], named: Iterable[str]
) -> dict[str, float]:
    """By `side_of`; nothing while the engine does not answer."""
    try:
        usage = engine.usage()
    except Unavailable:
        return {}
    used: dict[str, float] = {}
    for side, environment in zip((SOURCE, TARGET), sides, strict=True):
        deployments = _deployments(tx, project, environment)
        for service in named:
            if service in deployments:
                units = f"{deployments[service]}-"
                used[side_of(side, service)] = sum(
                    each.cpu_s for attempt, each in usage.items() if attempt.startswith(units)
                )
    return used


def between(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Units that are gone take their seconds with them: what would be negative is not known."""
    return {key: value - before.get(key, 0.0) for key, value in after.items() if value >= before.get(key, 0.0)}


def _deployments(tx: sa.Connection, project: str, environment: str, *, web: bool = True) -> dict[str, str]:
    """Ids of live deployments, by service."""
    live = environments.live(tx, (project, environment))
    found = {}
    for name, service in live[1].services.items() if live is not None else ():
        deployment = serving.of_service(tx, (project, environment), name, service.digest)
        if deployment is not None and (web or not service.settings.is_web):
            found[name] = deployment.id
    return found
