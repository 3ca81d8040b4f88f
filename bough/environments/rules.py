"""Pure decisions about releases: digests and plans."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from bough.environments.models import Change, JobManifest, Manifest, Plan, ServiceManifest
from bough.kernel.project import Project, Service, Workload
from bough.kernel.references import secrets_in, services_in

# Settings that only the gateway or the number of replicas depends on: changing them restarts nothing.
WITHOUT_RESTART = frozenset(
    (
        *(
            "replicas",
            "timeout_s",
            "queue_size",
            "max_body_mb",
            "idempotent",
            "access",
            "route",
            "api",
            "deprecated",
            "port",
        ),
        *("cost_center", "tags", "mock_latency_ms", "grace_s", "health_timeout_s"),
    )
)
_encode = msgspec.json.Encoder(order="deterministic").encode


def manifest(project: Project, bundles: dict[str, str], pins: Mapping[str, str] | None = None) -> Manifest:
    """What a release consists of; `bundles` maps a folder of the project (`path`) to its bundle's digest, `pins` every
    secret in use to the version that it has now."""

    def parts(settings: Workload) -> dict[str, Any]:
        return {
            "bundle": bundles[settings.path],
            "secrets": {name: (pins or {})[name] for name in secrets_in(settings.env)},
            "links": {name: _link(name, project.services[name]) for name in services_in(settings.env)},
        }

    services = {
        name: with_digest(ServiceManifest(settings=each, digest="", **parts(each)))
        for name, each in project.services.items()
    }
    jobs = {name: JobManifest(settings=each, **parts(each)) for name, each in project.jobs.items()}
    return Manifest(project=project.name, services=services, jobs=jobs)


def repinned(service: ServiceManifest, pins: Mapping[str, str]) -> ServiceManifest:
    """The service with other versions of the secrets in `pins`; itself when it uses none of them."""
    changed = {name: pins[name] for name in service.secrets.keys() & pins.keys()}
    return with_digest(msgspec.structs.replace(service, secrets=service.secrets | changed))


def with_digest(service: ServiceManifest) -> ServiceManifest:
    settings = msgspec.to_builtins(service.settings)
    kept = {key: value for key, value in settings.items() if key not in WITHOUT_RESTART}
    covered: dict[str, Any] = {"settings": kept, "bundle": service.bundle}
    if service.secrets:
        covered["secrets"] = service.secrets
    if service.links:
        covered["links"] = service.links
    return msgspec.structs.replace(service, digest=_digest(covered))


def digest(manifest: Manifest) -> str:
    return _digest(manifest)


def plan(project: str, environment: str, old: Manifest | None, new: Manifest) -> Plan:
    """What deploying `new` over `old` would do."""
    changes: list[Change] = []
    for what in ("services", "jobs"):
        before: dict[str, Any] = getattr(old, what) if old else {}
        after: dict[str, Any] = getattr(new, what)
        for name in sorted(before.keys() | after.keys()):
            changes.append(_change(what.removesuffix("s"), name, before.get(name), after.get(name)))
    same = all(change.action == "same" for change in changes)
    return Plan(project=project, environment=environment, digest=digest(new), same=same, changes=changes)


def policy(settings: Workload) -> dict[str, Any]:
    """What a workload of this kind gets by default, and what its author changed: shown by `bough plan`."""
    shown = ("kind", "replicas", "timeout_s", "retries", "capacity", "access", "cost_center")
    fields = msgspec.to_builtins(settings)
    return {key: fields[key] for key in shown if key in fields}


def _change(what: str, name: str, before: Any, after: Any) -> Change:
    if after is None:
        return Change(what=what, name=name, action="remove")
    shown = policy(after.settings)
    if before is None:
        return Change(what=what, name=name, action="add", restarts=what == "service", policy=shown)
    old, new = msgspec.to_builtins(before.settings), msgspec.to_builtins(after.settings)
    keys = {key: [old.get(key), new[key]] for key in new if old.get(key) != new[key]}
    for secret in sorted(before.secrets.keys() | after.secrets.keys()):
        if before.secrets.get(secret) != after.secrets.get(secret):
            keys[f"secrets.{secret}"] = [before.secrets.get(secret), after.secrets.get(secret)]
    files = before.bundle != after.bundle
    restarts = isinstance(after, ServiceManifest) and before.digest != after.digest
    action = "change" if keys or files else "same"
    return Change(what=what, name=name, action=action, restarts=restarts, files=files, keys=keys, policy=shown)


def _link(name: str, settings: Service) -> str:
    """The parts of a service's address that are its own: what follows is its name in the environment."""
    return f"{'web' if settings.is_web else settings.api}/{settings.route or name}"


def _digest(value: Any) -> str:
    return hashlib.sha256(_encode(value)).hexdigest()
