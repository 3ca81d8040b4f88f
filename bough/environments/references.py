"""What services refer to: finding it before a release is made, and filling it in before a process starts.

A release pins secrets and models: its manifest names their versions, so that the same release always runs with the
same ones.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from bough.access.models import KeyView
from bough.adapters.blobs import Blobs
from bough.environments import rules, store
from bough.environments.models import (
    JOB_PREFIX,
    LIVE,
    PENDING,
    STARTING,
    JobManifest,
    Manifest,
    ModelPin,
    RegisteredModels,
    Release,
    ServiceManifest,
)
from bough.kernel import buckets, catalog
from bough.kernel.catalog import LAST, SERVICE, Point, Write
from bough.kernel.context import Context
from bough.kernel.errors import NotFound, Problem
from bough.kernel.jobs import BUCKETS
from bough.kernel.platform import Platform
from bough.kernel.project import PRODUCTION, Project
from bough.kernel.project_checks import place_of
from bough.kernel.references import SecretReference, ServiceReference, parse, secrets_in
from bough.kernel.settings import Document, KeyPath
from bough.runtime.spec import RegisteredModel
from bough.secrets import store as secrets

Place = tuple[str, str]
Releasing = Callable[[Context, Place, Manifest, str, str], Release]  # the manifest, a message, the commit


class Filled(msgspec.Struct, frozen=True, kw_only=True):
    """Variables of a process. `secrets`: by variable, texts and sealed envelopes in turn, a text first and last.
    `models`: where the versions lie that it loads. `databases` stands for those that it is given."""

    plain: dict[str, str] = {}
    secrets: dict[str, list[str]] = {}
    models: dict[str, RegisteredModel] = {}
    databases: str = ""


def pins(tx: sa.Connection, project: Project, document: Document) -> dict[str, str]:
    """Every secret that the project's workloads refer to, with its version in the environment now. Raises what is not
    there, also for a queue, with file, line and key."""
    place = project.name, project.environment
    # One that is not there yet will branch from production.
    seen = next((each for each in (place, (place[0], PRODUCTION)) if store.exists(tx, each)), None)
    known = secrets.pins(tx, seen) if seen else {}
    found: dict[str, str] = {}
    for path, environment in _environments(project):
        for name, variable in secrets_in(environment).items():
            if name not in known:
                raise _unknown(document, place, place_of(document, project.environment, path, variable), name, known)
            found[name] = known[name]
    for job, settings in project.jobs.items():
        for key in BUCKETS:
            for name in buckets.secrets_of(getattr(settings, key)):
                if name not in known:
                    own = ("environments", project.environment, "jobs", job)
                    at = own if key in document.table(own) else ("jobs", job)
                    raise _unknown(document, place, (*at, key), name, known)
    if seen is None or (seen == place and _acts(tx, place)):
        for queue, asked in project.queues.items():
            for name, where in asked.secrets.items():
                if name not in known:
                    raise _unknown(document, place, ("queues", queue, *where), name, known)
    return found


def _acts(tx: sa.Connection, place: Place) -> bool:
    """Whether its queues have to do with the world outside: a branch whose schedules rest tells and asks nobody."""
    return not store.view(tx, place).paused


def _unknown(document: Document, place: Place, at: KeyPath, name: str, known: Iterable[str]) -> Problem:
    near = difflib.get_close_matches(name, known, 1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    return document.error(
        at, f"there is no secret {name!r} in {'/'.join(place)}{meant}",
        hint=f"bough secrets set {name}" + ("" if place[1] == PRODUCTION else f" -e {place[1]}"),
    )  # fmt: skip


def model_pins(context: Context, project: Project, document: Document) -> dict[str, dict[str, ModelPin]]:
    """The versions of models that the project's services load in the environment now, by service. Raises what is not
    there or not accepted, with file, line and key."""
    place = project.name, project.environment
    seen = next((each for each in (place, (place[0], PRODUCTION)) if store.exists(context.tx, each)), place)
    found: dict[str, dict[str, ModelPin]] = {}
    for service, settings in project.services.items():
        for name, text in settings.registered.items():
            try:
                pin = context.part(RegisteredModels).pin(context.tx, seen, text, context.part(Blobs))
            except Problem as problem:
                key = ("model",) if text == settings.model else ("models", name)
                at = document.error(("services", service, *key), problem.message)
                problem.message = at.message
                raise
            found.setdefault(service, {})[name] = pin
    return found


def models_here(context: Context, place: Place, service: ServiceManifest) -> ServiceManifest:
    """A service that another environment has released, with the versions of models that its settings mean here."""
    registered = service.settings.registered
    if not registered:
        return service
    part, blobs = context.part(RegisteredModels), context.part(Blobs)
    pins = {name: part.pin(context.tx, place, text, blobs) for name, text in registered.items()}
    return rules.with_digest(msgspec.structs.replace(service, models=pins))


def check_models(context: Context, place: Place, manifest: Manifest) -> None:
    """Raises what the registry says against a version that an earlier release has pinned."""
    for service in manifest.services.values():
        for pin in service.models.values():
            context.part(RegisteredModels).check(context.tx, place, pin, context.part(Blobs))


def pinned_here(tx: sa.Connection, place: Place, service: ServiceManifest) -> ServiceManifest:
    """A service that another environment has released, with the versions that `place` sees: how a branch runs what it
    inherits. Raises `NotFound` (SECRET_NOT_FOUND) for one that it does not see."""
    known = secrets.pins(tx, place) if service.secrets else {}
    for name in service.secrets:
        if name not in known:
            raise secrets.missing(place, name)
    return rules.repinned(service, known)


def services_here(context: Context, place: Place, writes: Sequence[Write]) -> list[Write]:
    """Services and jobs that another environment has released, with the versions of secrets and models that `place`
    sees: a merge brings what runs, not what it was given. Those that are as they are there already fall away. Raises
    `NotFound` (SECRET_NOT_FOUND, MODEL_ALIAS_NOT_FOUND) for what `place` does not see."""
    tx = context.tx
    point = Point(catalog.layer_of(tx, *place), LAST)
    here = [_written_here(context, place, each) for each in writes]
    there = {each.key: each.value for each in catalog.items(tx, point, SERVICE)}
    return [each for each in here if each.value != there.get(each.key)]


def _written_here(context: Context, place: Place, write: Write) -> Write:
    tx = context.tx
    if write.value is None or not (write.value.get("secrets") or write.value.get("models")):
        return write
    if not write.key.startswith(JOB_PREFIX):
        service = pinned_here(tx, place, msgspec.convert(write.value, ServiceManifest))
        value: Any = models_here(context, place, service)
        return Write(write.kind, write.key, msgspec.to_builtins(value))
    known = secrets.pins(tx, place)
    job = msgspec.convert(write.value, JobManifest)
    for name in job.secrets:
        if name not in known:
            raise secrets.missing(place, name)
    value = msgspec.structs.replace(job, secrets={name: known[name] for name in job.secrets})
    return Write(write.kind, write.key, msgspec.to_builtins(value))


def fill(
    tx: sa.Connection,
    place: Place,
    workload: ServiceManifest | JobManifest,
    platform: Platform,
    pinned: Mapping[str, str],
) -> Filled:
    """The variables of a service or job in an environment; secrets stay sealed. `pinned`: the versions to use."""
    plain: dict[str, str] = {}
    sealed: dict[str, list[str]] = {}
    for variable, text in workload.settings.env.items():
        parts = [""]
        for part in parse(text):
            if isinstance(part, SecretReference):
                envelope = secrets.sealed(tx, place, part.name, pinned[part.name])
                parts += [msgspec.json.encode(envelope).decode(), ""]
            elif isinstance(part, ServiceReference):
                parts[-1] += address(platform, place, workload.links[part.name])
            else:
                parts[-1] += part
        if len(parts) == 1:
            plain[variable] = parts[0]
        else:
            sealed[variable] = parts
    return Filled(plain=plain, secrets=sealed)


def address(platform: Platform, place: Place, link: str) -> str:
    """Where a service of the same environment answers, by a path that every client can resolve."""
    kind, _, name = link.partition("/")
    word = f"{name if place[1] == PRODUCTION else f'{name}--{place[1]}'}.{place[0]}"
    return f"{platform.gateway_url}/web/{word}" if kind == "web" else f"{platform.gateway_url}/{kind}/{word}/predict"


def manifest_of(tx: sa.Connection, place: Place, service: str, digest: str, number: int) -> ServiceManifest | None:
    """A service as its release or, where it is inherited, the catalog describes it."""
    with contextlib.suppress(NotFound):
        found = store.find_number(tx, place, number)[1].services.get(service)
        if found is not None and found.digest == digest:
            return found
    if not store.exists(tx, place):
        return None
    entry = catalog.get(tx, Point(catalog.layer_of(tx, *place), LAST), SERVICE, service)
    return msgspec.convert(entry.value, ServiceManifest) if entry else None


class KeyTargets:
    """`access.models.Opened`."""

    def has_project(self, tx: sa.Connection, project: str) -> bool:
        return store.exists(tx, (project, PRODUCTION))

    def not_there_yet(self, tx: sa.Connection, key: KeyView) -> list[str]:
        """Services are meant by their public names, as the gateway means them."""
        live = [manifest for release, manifest in store.all_live(tx) if release.project == key.project]
        names = {service.settings.route or name for each in live for name, service in each.services.items()}
        names |= {name for each in live for name in each.queues}
        environments = {each for each in key.environments if not store.exists(tx, (key.project, each))}
        return [*sorted(set(key.services) - names), *sorted(environments)]


class SecretUsers:
    """`secrets.models.Dependents`."""

    def __init__(self, release: Releasing) -> None:
        self._release = release

    def begin(self, context: Context, place: Place) -> None:
        store.begin_production(context.tx, place, context.clock.now(), context.principal.name)

    def using(self, context: Context, place: Place) -> dict[str, list[str]]:
        current = self._current(context, place)
        users: dict[str, list[str]] = {}
        for name, service in current[1].services.items() if current else ():
            for secret in service.secrets:
                users.setdefault(secret, []).append(name)
        for name, job in current[1].jobs.items() if current else ():
            for secret in job.secrets:
                users.setdefault(secret, []).append(f"jobs.{name}")
            for key in BUCKETS:
                for secret in buckets.secrets_of(getattr(job.settings, key)):
                    users.setdefault(secret, []).append(f"jobs.{name}.{key}")
        for name, queue in current[1].queues.items() if current and _acts(context.tx, place) else ():
            for secret in queue.secrets:
                users.setdefault(secret, []).append(f"queues.{name}")
        return users

    def redeploy(self, context: Context, place: Place, names: Sequence[str]) -> tuple[str, int] | None:
        current = self._current(context, place)
        if current is None:
            return None
        release, manifest = current
        now = {name: pin for name, pin in secrets.pins(context.tx, place).items() if name in names}
        changed = msgspec.structs.replace(
            manifest, services={name: rules.repinned(each, now) for name, each in manifest.services.items()},
            jobs={name: rules.repinned_job(each, now) for name, each in manifest.jobs.items()},
        )  # fmt: skip
        if changed == manifest:
            return None
        what = f"secret {names[0]} set" if len(names) == 1 else f"{len(names)} secrets set"
        made = self._release(context, place, changed, what, release.commit)
        return made.id, made.number

    def _current(self, context: Context, place: Place) -> tuple[Release, Manifest] | None:
        """The release on its way, which would be overtaken otherwise, else the live one."""
        newest = store.newest(context.tx, place)
        if newest and newest[0].state in (PENDING, STARTING, LIVE):
            return newest
        return store.live(context.tx, place)


def _environments(project: Project) -> Iterator[tuple[KeyPath, dict[str, str]]]:
    yield from ((("services", name), each.env) for name, each in project.services.items())
    yield from ((("jobs", name), each.env) for name, each in project.jobs.items())
