"""The control plane's side of the gateway: writes the routing table and tells when a deployment has drained.

The table is a file, replaced whole. The gateway reads it when poked over its control socket and also by itself, so a
poke that is lost costs half a second and a server that is dead costs nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec
import sqlalchemy as sa

from bough.adapters.engine import Engine
from bough.environments import store as environments
from bough.environments.models import NOTED, ROUTED
from bough.gateway import control_client, table
from bough.gateway.models import GatewayState, Key, Route
from bough.kernel.events import Events, happened_of
from bough.kernel.files import write_whole
from bough.kernel.platform import Home, Platform
from bough.kernel.project import PRODUCTION
from bough.kernel.reconcile import Handler, Turn, wake
from bough.queues.models import QueueRoute
from bough.serving import models as deployments
from bough.serving import store as serving
from bough.serving.models import Deployment

KIND, ID = "routes", "all"
DRAIN_CHECK_S = 0.05
BEHIND_CHECK_S = 0.5  # while the gateway does not take the table: it logs why
GIVE_UP_S = 60.0  # added to a service's own timeout: longer than any request can still be under way


def changed(tx: sa.Connection, _event: object = None) -> None:
    """The table may have to be written anew."""
    wake(tx, KIND, ID)


def handler(home: Home, platform: Platform, engine: Engine, events: Events) -> Handler:
    maker, announced = table.RouteMaker(platform), set[str]()

    def turn(turn: Turn) -> float | None:
        attempts = engine.snapshot()
        with turn.read() as tx:
            live = environments.all_live(tx)
            routes, keys = maker.routes(tx, live, attempts), table.keys(tx)
            queues = table.queues(tx, platform, live)
            draining = serving.in_state(tx, deployments.DRAINING)
        generation = publish(home.table, routes, keys, queues)
        state, now = control_client.reload(home.gateway_socket), turn.clock.now()
        behind = state is not None and state.generation < generation
        if not behind:
            silent = state.silent_ports if state is not None else {}
            _announce(turn, events, [each for each in live if each[0].id not in announced], silent)
            announced.clear()
            announced.update(release.id for release, _ in live)
        leaving = [each for each in draining if not each.drained]
        for deployment in leaving:
            if _has_drained(deployment, state, generation, now):
                with turn.apply(serving.stands(deployment)) as tx:
                    serving.drained(tx, deployment.id, now)
        return DRAIN_CHECK_S if leaving else BEHIND_CHECK_S if behind else None

    return turn


def _announce(turn: Turn, events: Events, live: table.Live, silent_ports: Mapping[int, str]) -> None:
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


class _Rest(msgspec.Struct, frozen=True):
    """A table without what is in `_Written`."""

    routes: list[Route]
    keys: list[Key]
    queues: list[QueueRoute]


class _Written(msgspec.Struct, frozen=True):
    """What the writer reads of the table in force."""

    generation: int = 0
    digest: str = ""


def _has_drained(deployment: Deployment, state: GatewayState | None, generation: int, now: float) -> bool:
    if state is None:  # no gateway, so nothing is under way through it
        return True
    if now - deployment.changed_at > deployment.settings.timeout_s + GIVE_UP_S:
        return True
    lane = next((each for each in state.lanes if each.deployment == deployment.id), None)
    return state.generation >= generation and (lane is None or lane.queued + lane.in_flight == 0)
