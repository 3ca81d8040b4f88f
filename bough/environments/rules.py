"""Pure decisions about releases: digests and plans."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from bough.environments.models import Change, JobManifest, Manifest, Plan, ServiceManifest
from bough.kernel.project import Project, Workload

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


def manifest(project: Project, bundles: dict[str, str]) -> Manifest:
    """What a release consists of; `bundles` maps a folder of the project (`path`) to its bundle's digest."""
    services = {}
    for name, settings in project.services.items():
        kept = {key: value for key, value in msgspec.to_builtins(settings).items() if key not in WITHOUT_RESTART}
        digest = _digest({"settings": kept, "bundle": bundles[settings.path]})
        services[name] = ServiceManifest(settings=settings, bundle=bundles[settings.path], digest=digest)
    jobs = {name: JobManifest(settings=each, bundle=bundles[each.path]) for name, each in project.jobs.items()}
    return Manifest(project=project.name, services=services, jobs=jobs)


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
    files = before.bundle != after.bundle
    restarts = isinstance(after, ServiceManifest) and before.digest != after.digest
    action = "change" if keys or files else "same"
    return Change(what=what, name=name, action=action, restarts=restarts, files=files, keys=keys, policy=shown)


def _digest(value: Any) -> str:
    return hashlib.sha256(_encode(value)).hexdigest()
