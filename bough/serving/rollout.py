"""Brings a release to life: all of its services, or none.

pending ── deployments exist ──> starting ── every one ready, no caller breaks ──> live
   │                                │
   └── a newer release ──> overtaken└── one fails ──> failed (what served before still serves)
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from bough.environments import store as environments
from bough.environments.models import ENDED, FAILED, NOTED, OVERTAKEN, PENDING, STARTING, Manifest, Release
from bough.environments.operations import RELEASE
from bough.kernel.events import Events
from bough.kernel.platform import Platform
from bough.kernel.reconcile import Handler, Turn, wake
from bough.serving import breaking, rules, store
from bough.serving import models as deployments
from bough.serving.models import Deployment

_CAN_ANSWER = (deployments.READY, deployments.ASLEEP)
API_BROKEN = "api.broken"  # a release that went live all the same
CHECK_S = 1.0  # deployments wake their release; this only guards against a wake that was lost to a crash


def handler(events: Events, platform: Platform) -> Handler:
    """The handler for releases."""

    def turn(turn: Turn) -> float | None:
        with turn.apply() as tx:
            release, manifest = environments.find(tx, turn.id)
            if release.state in ENDED:
                return None
            place, now = (release.project, release.environment), turn.clock.now()
            newest = environments.newest(tx, place)
            if newest and newest[0].number > release.number:
                _end(tx, events, release, OVERTAKEN, now)
                release_unused(tx, place, now)
                return None
            if release.state == PENDING:
                for name, service in manifest.services.items():
                    store.ensure(tx, release, name, service, now)
                    if text := rules.runs_code(service.settings):
                        events.emit(tx, NOTED, release.id, service=name, text=text)
                environments.set_state(tx, release.id, STARTING, now)
                events.emit(tx, "release.starting", release.id, **_about(release))
            return _advance(tx, events, platform, release, manifest, now)

    return turn


def on_deployment_changed(tx: sa.Connection, deployment: Deployment) -> None:
    """Wakes the releases that wait for this deployment."""
    place = deployment.project, deployment.environment
    newest = environments.newest(tx, place)
    if newest and newest[0].state not in ENDED:
        wake(tx, RELEASE, newest[0].id)


def _advance(
    tx: sa.Connection, events: Events, platform: Platform, release: Release, manifest: Manifest, now: float
) -> float | None:
    place = release.project, release.environment
    found = {name: store.of_service(tx, place, name, each.digest) for name, each in manifest.services.items()}
    for name, each in found.items():
        if each is not None and each.state == deployments.FAILED:
            _end(tx, events, release, FAILED, now, {"service": name, **each.failure})
            release_unused(tx, place, now)
            return None
    if not all(each is not None and each.state in _CAN_ANSWER for each in found.values()):
        return CHECK_S
    if refused := _breaks(tx, events, platform, release, manifest):
        _end(tx, events, release, FAILED, now, refused)
        release_unused(tx, place, now)
        return None
    environments.set_live(tx, release, now)
    release_unused(tx, place, now)
    events.emit(tx, "release.live", release.id, **_about(release), seconds=round(now - release.created_at, 3))
    return None


def _breaks(
    tx: sa.Connection, events: Events, platform: Platform, release: Release, manifest: Manifest
) -> dict[str, Any]:
    """Says what callers of the live API versions would miss; the failure, where that is refused. A rollback is what
    somebody does because callers miss something already."""
    place = release.project, release.environment
    live = environments.live(tx, place)
    if live is None or release.rolled_back_to:
        return {}
    before, after = rules.api_versions(live[1]), rules.api_versions(manifest)
    for key in before.keys() & after.keys():
        (old, was), (new, now) = before[key], after[key]
        rule = rules.on_break(now.settings, release.environment, platform)
        if was.digest == now.digest or rule == "allow":
            continue
        one, other = store.of_service(tx, place, old, was.digest), store.of_service(tx, place, new, now.digest)
        if one is None or other is None or one.signature is None or other.signature is None:
            continue
        if not (missed := breaking.differences(one.signature, other.signature)):
            continue
        said = f"callers of /{key[0]}/{key[1]} would break: {'; '.join(missed[:5])}"
        if rule == "refuse":
            hint = 'deploy it beside the old one, with api = "v2" and its route, or say breaking = "allow"'
            return {"service": new, "code": "API_BROKEN", "message": said, "hint": hint, "changes": missed}
        events.emit(tx, API_BROKEN, release.id, service=new, api=key[0], changes=missed, text=said)
    for api, name in sorted(before.keys() - after.keys()):
        if not before[api, name][1].settings.deprecated:
            text = f"/{api}/{name} is gone, and was not deprecated"
            events.emit(tx, API_BROKEN, release.id, service=before[api, name][0], api=api, changes=[text], text=text)
    return {}


def _end(
    tx: sa.Connection,
    events: Events,
    release: Release,
    state: str,
    now: float,
    failure: dict[str, object] | None = None,
) -> None:
    environments.set_state(tx, release.id, state, now, failure)
    events.emit(tx, f"release.{state}", release.id, **_about(release), failure=failure or {})


def _about(release: Release) -> dict[str, Any]:
    return {"number": release.number, "project": release.project, "environment": release.environment}


def release_unused(tx: sa.Connection, place: tuple[str, str], now: float) -> None:
    """Drains every deployment that neither the live release nor the one under way uses, and that has no share of
    anybody's requests; settings of the live release count again where a failed one had laid its own over them."""
    kept = {each.deployment for each in store.shares(tx, place)}
    live = environments.live(tx, place)
    newest = environments.newest(tx, place)
    for found in (newest, live):
        if found is None or (found is newest and found[0].state in ENDED and found != live):
            continue
        release, manifest = found
        for name, service in manifest.services.items():
            if deployment := store.of_service(tx, place, name, service.digest):
                kept.add(deployment.id)
                if live is not None and release.id == live[0].id and deployment.settings != service.settings:
                    store.change(tx, deployment.id, now, settings=service.settings, release=release.number)
                    wake(tx, store.KIND, deployment.id)
    for deployment in store.in_environment(tx, place):
        if deployment.id not in kept and deployment.state not in (deployments.DRAINING, deployments.STOPPED):
            store.drain(tx, deployment.id, now)
