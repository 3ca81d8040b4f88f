"""Pure decisions about releases: digests and plans."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

import msgspec

from bough.environments.models import (
    JOB_PREFIX,
    QUEUE_PREFIX,
    Change,
    JobManifest,
    Manifest,
    MergedBranch,
    Merges,
    ModelPin,
    Plan,
    Release,
    ServiceManifest,
)
from bough.kernel.catalog import SECRET, Write
from bough.kernel.platform import Platform
from bough.kernel.policy import ModelPolicy
from bough.kernel.project import PRODUCTION, Project
from bough.kernel.queue import Queue
from bough.kernel.references import secrets_in, services_in
from bough.kernel.workloads import Service, Workload

PRODUCTION_BRANCHES = ("main", "master")  # of git: what they hold is production
LONGEST_ENVIRONMENT = 28  # leaves room for a service's name in a DNS label of 63: SERVICE--ENVIRONMENT

# Settings that only the gateway or the number of replicas depends on: changing them restarts nothing.
WITHOUT_RESTART = frozenset(
    (
        *(
            "replicas",
            "scale",
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
        *(
            "allow",
            "tls",
            "scopes",
            "issuers",
            "limits",
            "priority",
            "split",
            "sticky",
            "deterministic",
            "cache",
            "cors",
            "sunset",
            "breaking",
        ),
        *("cost_center", "tags", "mock_latency_ms", "grace_s", "health_timeout_s", "sleep_after_s"),
    )
)
_encode = msgspec.json.Encoder(order="deterministic").encode


def manifest(
    project: Project,
    bundles: dict[str, str],
    pins: Mapping[str, str] | None = None,
    models: Mapping[str, dict[str, ModelPin]] | None = None,
) -> Manifest:
    """What a release consists of; `bundles` maps a folder of the project (`path`) to its bundle's digest, `pins` every
    secret in use to the version that it has now, `models` services to the versions that they load."""

    def parts(settings: Workload) -> dict[str, Any]:
        return {
            "bundle": bundles[settings.path],
            "secrets": {name: (pins or {})[name] for name in secrets_in(settings.env)},
            "links": {name: _link(name, project.services[name]) for name in services_in(settings.env)},
        }

    services = {
        name: with_digest(ServiceManifest(settings=each, digest="", models=(models or {}).get(name, {}), **parts(each)))
        for name, each in project.services.items()
    }
    jobs = {name: JobManifest(settings=each, **parts(each)) for name, each in project.jobs.items()}
    return Manifest(
        project=project.name, services=services, jobs=jobs, models=project.models, queues=project.queues
    )  # fmt: skip


def repinned(service: ServiceManifest, pins: Mapping[str, str]) -> ServiceManifest:
    """The service with other versions of the secrets in `pins`; itself when it uses none of them."""
    changed = {name: pins[name] for name in service.secrets.keys() & pins.keys()}
    return with_digest(msgspec.structs.replace(service, secrets=service.secrets | changed))


def repinned_job(job: JobManifest, pins: Mapping[str, str]) -> JobManifest:
    """The same for a job: runs that are asked for from then on have them."""
    changed = {name: pins[name] for name in job.secrets.keys() & pins.keys()}
    return msgspec.structs.replace(job, secrets=job.secrets | changed)


def with_digest(service: ServiceManifest) -> ServiceManifest:
    settings = msgspec.to_builtins(service.settings)
    kept = {key: value for key, value in settings.items() if key not in WITHOUT_RESTART}
    covered: dict[str, Any] = {"settings": kept, "bundle": service.bundle}
    if service.secrets:
        covered["secrets"] = service.secrets
    if service.links:
        covered["links"] = service.links
    if service.models:
        covered["models"] = service.models
    return msgspec.structs.replace(service, digest=_digest(covered))


def digest(manifest: Manifest) -> str:
    """Without policies and queues it is what it was before there were any."""
    plain = manifest.project, manifest.services, manifest.jobs
    if manifest.queues:
        return _digest(manifest)
    return _digest(_Governed(*plain, manifest.models) if manifest.models else _Plain(*plain))


class _Plain(msgspec.Struct, frozen=True):
    project: str
    services: dict[str, ServiceManifest]
    jobs: dict[str, JobManifest]


class _Governed(_Plain, frozen=True):
    models: dict[str, ModelPolicy]


def plan(project: str, environment: str, old: Manifest | None, new: Manifest) -> Plan:
    """What deploying `new` over `old` would do."""
    changes: list[Change] = []
    for what in ("services", "jobs"):
        before: dict[str, Any] = getattr(old, what) if old else {}
        after: dict[str, Any] = getattr(new, what)
        for name in sorted(before.keys() | after.keys()):
            changes.append(_change(what.removesuffix("s"), name, before.get(name), after.get(name)))
    was = old.queues if old else {}
    changes += [_queue_change(name, was.get(name), new.queues.get(name)) for name in sorted(was | new.queues)]
    same = all(change.action == "same" for change in changes)
    return Plan(project=project, environment=environment, digest=digest(new), same=same, changes=changes)


def policy(settings: Workload) -> dict[str, Any]:
    """What a workload of this kind gets by default, and what its author changed: shown by `bough plan`."""
    shown = ("replicas", "scale", "timeout_s", "retries", "capacity", "priority", "resources", "access", "cost_center")
    fields = msgspec.to_builtins(settings)
    if "scale" in fields:
        scale = fields["scale"]
        fields["scale"] = f"{scale['min']} to {scale['max']} replicas" if scale["max"] else "no"
    fields["resources"] = {key: value for key, value in fields["resources"].items() if value} or "no limits"
    return {"kind": fields.get("kind", "service")} | {key: fields[key] for key in shown if key in fields}


def said_public(manifest: Manifest) -> list[str]:
    """Services and queues that say of themselves that everybody may call, as `services.churn`."""
    said = {f"services.{name}": each.settings.access for name, each in manifest.services.items()}
    said |= {f"queues.{name}": each.access for name, each in manifest.queues.items()}
    return [name for name, access in said.items() if access == "public"]


def with_services(manifest: Manifest, writes: Iterable[Write]) -> Manifest:
    """`manifest` with services, jobs and queues put in or taken out, as entries of the catalog say."""
    services, jobs, queues = dict(manifest.services), dict(manifest.jobs), dict(manifest.queues)
    for each in writes:
        if each.key.startswith(QUEUE_PREFIX):
            _put(queues, each.key.removeprefix(QUEUE_PREFIX), each.value, Queue)
        elif each.key.startswith(JOB_PREFIX):
            _put(jobs, each.key.removeprefix(JOB_PREFIX), each.value, JobManifest)
        else:
            _put(services, each.key, each.value, ServiceManifest)
    return msgspec.structs.replace(manifest, services=services, jobs=jobs, queues=queues)


def changed_fields(kind: str, before: Any, after: Any) -> dict[str, list[Any]]:
    """What a person can compare of two values of an entry: [before, after] of each plain field that differs, one level
    deep into settings. Of a secret its version and nothing else."""
    old, new = (_flat(each) for each in (before, after))
    names = sorted(old.keys() | new.keys())
    if kind == SECRET:
        names = [name for name in names if name == "version"]
    return {name: [old.get(name), new.get(name)] for name in names if old.get(name) != new.get(name)}


def deed(kind: str, before: Any, after: Any) -> str:
    """What one side of a conflict did."""
    if after is None:
        return "removed it"
    if before is None:
        return "added it"
    fields = changed_fields(kind, before, after)
    shown = ", ".join(f"{name} {old} -> {new}" for name, (old, new) in list(fields.items())[:3])
    return f"changed it ({shown})" if shown else "changed it"


def environment_name(branch: str, taken: Mapping[str, str]) -> str:
    """The environment that a git branch means; `taken`: environments that there are and their branches. Stable for as
    long as the environment lives, and never another branch's: what a DNS label cannot say is told apart by a digest."""
    if branch in PRODUCTION_BRANCHES:
        return PRODUCTION
    for name, of in taken.items():
        if of == branch:
            return name
    plain = unicodedata.normalize("NFKD", branch).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")
    mark = hashlib.sha256(branch.encode()).hexdigest()[:4]
    short = slug[:LONGEST_ENVIRONMENT].strip("-")
    if not short or short != slug or short in taken or short == PRODUCTION:
        short = f"{slug[: LONGEST_ENVIRONMENT - 5].strip('-') or 'branch'}-{mark}"
    return short


def _change(what: str, name: str, before: Any, after: Any) -> Change:
    if after is None:
        return Change(what=what, name=name, action="remove")
    shown = policy(after.settings)
    if before is None:
        models = after.models if isinstance(after, ServiceManifest) else {}
        loads = {f"models.{model}": [None, pin.reference] for model, pin in models.items()}
        return Change(what=what, name=name, action="add", restarts=what == "service", keys=loads, policy=shown)
    old, new = msgspec.to_builtins(before.settings), msgspec.to_builtins(after.settings)
    keys = {key: [old.get(key), new[key]] for key in new if old.get(key) != new[key]}
    for secret in sorted(before.secrets.keys() | after.secrets.keys()):
        if before.secrets.get(secret) != after.secrets.get(secret):
            keys[f"secrets.{secret}"] = [before.secrets.get(secret), after.secrets.get(secret)]
    if isinstance(after, ServiceManifest):
        for model in sorted(before.models.keys() | after.models.keys()):
            was, now = (each.models.get(model) for each in (before, after))
            if was != now:
                keys[f"models.{model}"] = [each.reference if each else None for each in (was, now)]
    files = before.bundle != after.bundle
    restarts = isinstance(after, ServiceManifest) and before.digest != after.digest
    action = "change" if keys or files else "same"
    return Change(what=what, name=name, action=action, restarts=restarts, files=files, keys=keys, policy=shown)


def _queue_change(name: str, before: Queue | None, after: Queue | None) -> Change:
    if before is None or after is None:
        return Change(what="queue", name=name, action="remove" if after is None else "add")
    old, new = msgspec.to_builtins(before), msgspec.to_builtins(after)
    keys = {key: [old[key], new[key]] for key in new if old[key] != new[key]}
    return Change(what="queue", name=name, action="change" if keys else "same", keys=keys)


def _put(found: dict[str, Any], name: str, value: Any, into: Any) -> None:
    if value is None:
        found.pop(name, None)
    else:
        found[name] = msgspec.convert(value, into)


def _flat(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {} if value is None else {"value": value}
    found: dict[str, Any] = {}
    for name, each in value.items():
        if isinstance(each, str | int | float | bool):
            found[name] = each
        elif isinstance(each, dict):
            plain = {key: inner for key, inner in each.items() if isinstance(inner, str | int | float | bool)}
            found |= {f"{name}.{key}": inner for key, inner in plain.items()}
    return found


def _link(name: str, settings: Service) -> str:
    """The parts of a service's address that are its own: what follows is its name in the environment."""
    return f"{'web' if settings.is_web else settings.api}/{settings.route or name}"


def _digest(value: Any) -> str:
    return hashlib.sha256(_encode(value)).hexdigest()


def times(merges: Sequence[MergedBranch]) -> Merges:
    """`merges` newest first, each with the seconds since its branch began."""
    found, later = list[MergedBranch](), dict[str, int]()
    for each in merges:
        if (after := later.get(each.environment)) is not None:
            since = found[after].at - each.at
            found[after] = msgspec.structs.replace(found[after], seconds=min(found[after].seconds, round(since, 3)))
        later[each.environment] = len(found)
        found.append(each)
    seconds = [each.seconds for each in found]
    if not seconds:
        return Merges(merges=[])
    return Merges(merges=found, median_s=round(median(seconds), 3), slowest_s=max(seconds))


def queue_addresses(platform: Platform, place: tuple[str, str], live: list[tuple[Release, Manifest]]) -> dict[str, str]:
    """Where items are put into the queues of an environment, by name. A name alone means the oldest project that has it
    in production. `live`: oldest first."""
    found = {}
    project, environment = place
    queues = next((manifest.queues for each, manifest in live if (each.project, each.environment) == place), {})
    for name in sorted(queues):
        owner = next(each.project for each, manifest in live if
                     each.environment == environment and name in manifest.queues)  # fmt: skip
        word = f"{name}.{project}"
        if environment != PRODUCTION:
            word = f"{name}--{environment}.{project}"
        elif owner == project:
            word = name
        found[name] = f"{platform.gateway_url}/queues/{word}"
    return found
