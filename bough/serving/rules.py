"""Pure decisions about replicas."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import msgspec

from bough.adapters.engine import ASLEEP as UNIT_ASLEEP
from bough.adapters.engine import EXITED, READY, STOPPING, Attempt
from bough.environments.models import Manifest, Release, ServiceManifest
from bough.kernel.platform import Platform
from bough.kernel.project import PRODUCTION
from bough.kernel.workloads import Service
from bough.serving.models import ASLEEP, FAILED, STARTING, STOPPED, Deployment

STABLE_S = 10.0  # a replica that lived this long did not crash because of how it was started
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 30.0
DATABASES = "databases"  # the label of a unit that says which ones it was given
_NO_PROGRAM = "the shell found no program of that name: add its package to the requirements, or correct `command`"
PICKLES = (".joblib", ".pkl", ".pickle", ".cloudpickle")
START_TRIES = 3  # exits of a new deployment's replicas before the rollout is given up


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What a deployment's units amount to."""

    ready: int
    awake: int  # that run or are about to, ready ones included
    start: list[tuple[str, int]]  # unit and attempt to apply
    register: list[str]  # of one that is asleep: so that they can be woken
    stop: list[tuple[str, int]]
    forget: list[str]
    failure: dict[str, Any]  # why a replica went, if one did
    explained: bool  # the failure explains itself: trying again would give the same


def look(deployment: Deployment, attempts: list[Attempt]) -> Look:
    """Compares the wanted replicas with what runs."""
    wanted, asleep = {deployment.unit(number) for number in range(deployment.wanted)}, deployment.state == ASLEEP
    mine = {each.unit: each for each in attempts if each.unit.rsplit("-", 1)[0] == deployment.id}
    start: list[tuple[str, int]] = []
    register: list[str] = []
    stop: list[tuple[str, int]] = []
    forget: list[str] = []
    ready, awake, explained = 0, 0, False
    failure: dict[str, Any] = {}
    for unit in sorted(wanted):
        attempt = mine.get(unit)
        if attempt is None or attempt.state in (EXITED, UNIT_ASLEEP):
            if not asleep:
                start.append((unit, attempt.attempt + 1 if attempt else 1))
            elif attempt is None or attempt.state == EXITED:
                register.append(unit)
            if attempt is not None and attempt.state == EXITED and not _was_to_end(deployment, attempt):
                failure, explained = why(attempt)
        elif attempt.state != STOPPING:
            awake += 1
            ready += attempt.state == READY
    for unit, attempt in mine.items():
        if unit not in wanted:
            if attempt.state != EXITED:
                stop.append((unit, attempt.attempt))
            elif not deployment.failure:  # the logs of a failed one are what its author reads next
                forget.append(unit)
    return Look(
        ready=ready, awake=awake, start=start, register=register, stop=stop, forget=forget, failure=failure,
        explained=explained,
    )  # fmt: skip


def bare_owners(live: list[tuple[Release, Manifest]]) -> dict[tuple[str, str, str], str]:
    """The project that each (environment, api, service) means when a request names no project: the oldest that has
    it, so that an address in use never changes its meaning because another project comes. `live`: oldest first."""
    owners: dict[tuple[str, str, str], str] = {}
    for release, manifest in live:
        for name, service in manifest.services.items():
            key = release.environment, service.settings.api, service.settings.route or name
            owners.setdefault(key, release.project)
    return owners


def api_versions(manifest: Manifest) -> dict[tuple[str, str], tuple[str, ServiceManifest]]:
    """By API and public name, what answers there: a service's name and its part of the manifest. A web service's
    interface is its own matter."""
    return {
        (each.settings.api, each.settings.route or name): (name, each)
        for name, each in manifest.services.items()
        if not each.settings.is_web
    }


def bygone(every: Sequence[Deployment]) -> set[str]:
    """Of all deployments of an environment, the ids of those that were over before what their service has now began:
    nobody asks any more what they printed."""
    over = (FAILED, STOPPED)
    begun: dict[str, float] = {}
    for each in every:
        if each.state not in over:
            begun[each.service] = max(each.created_at, begun.get(each.service, 0.0))
    return {each.id for each in every if each.state in over and each.changed_at < begun.get(each.service, 0.0)}


def runs_code(settings: Service) -> str:
    """What whoever deploys it should know of a model file that can run code when it is read; empty: nothing."""
    file = PurePosixPath(settings.file)
    if not settings.trust or file.suffix.lower() not in PICKLES:
        return ""
    return (
        f"{file.name} is a pickle: reading it runs whatever code is in it, and trust = true allows that;"
        f" skops.io.dump(model, {file.with_suffix('.skops').name!r}) makes a file that needs no trust"
    )


def on_break(settings: Service, environment: str, platform: Platform) -> str:
    """refuse, say or allow: in production a break is refused unless its author says otherwise."""
    if settings.breaking != "auto":
        return settings.breaking
    return "refuse" if environment == PRODUCTION and not platform.personal else "say"


def addresses(platform: Platform, deployment: Deployment, owners: dict[tuple[str, str, str], str]) -> tuple[str, str]:
    """Where a service answers: what to open or call, and for web services the same by path."""
    settings, name = deployment.settings, deployment.settings.route or deployment.service
    label = name if deployment.environment == PRODUCTION else f"{name}--{deployment.environment}"
    full = f"{label}.{deployment.project}"
    owner = owners.get((deployment.environment, settings.api, name), deployment.project)
    is_bare = deployment.environment == PRODUCTION and owner == deployment.project
    word = name if is_bare else full
    if settings.is_web:
        return f"http://{full}.localhost:{platform.gateway_port}/", f"{platform.gateway_url}/web/{word}/"
    return f"{platform.gateway_url}/{settings.api}/{word}/predict", ""


def why(attempt: Attempt) -> tuple[dict[str, Any], bool]:
    """Why an attempt ended, in words, and whether the unit could say so itself."""
    gone = attempt.exit
    if gone is None:
        return {}, False
    if gone.failure is not None:
        return msgspec.to_builtins(gone.failure), True
    how = f"was killed by signal {-gone.code}" if gone.code < 0 else f"exited with status {gone.code}"
    service = attempt.labels.get("service", "")
    hint = _NO_PROGRAM if gone.code == 127 and attempt.kind == "web" else f"bough logs {service}"
    return {"code": "REPLICA_EXITED", "message": f"a replica of {service} {how}", "hint": hint}, False


def outdated(deployment: Deployment, attempts: list[Attempt], databases: str, state: str = READY) -> list[Attempt]:
    """Its units in `state` that were given other databases than its environment has by now."""
    mine = [each for each in attempts if each.unit.rsplit("-", 1)[0] == deployment.id and each.state == state]
    return [each for each in mine if each.labels.get(DATABASES, databases) != databases]


def _was_to_end(deployment: Deployment, attempt: Attempt) -> bool:
    """It was asked to; or a rollout that begins again finds the units of one that failed: what ailed them may be
    mended."""
    gone = attempt.exit
    if gone is None:
        return False
    asked = gone.reason == "stopped" and gone.failure is None  # with one, it was never healthy
    return asked or (deployment.state == STARTING and gone.at < deployment.changed_at)


def pause_s(crashes: int) -> float:
    """Before the next restart after so many crashes."""
    return 0.0 if crashes == 0 else min(FIRST_PAUSE_S * 2 ** (crashes - 1), LONGEST_PAUSE_S)
