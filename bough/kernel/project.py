"""The project file, `bough.toml`: what a person writes, and what Bough makes of it.

    name = "shop"

    [services.churn]
    model = "service:Churn"

is a whole project. Everything else has a default that depends on the kind of workload; `resolve` lays environment
settings over the file over those defaults and keeps, for every value, where it came from (`bough explain`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from bough.kernel import project_checks, queue, traffic
from bough.kernel.errors import Problem
from bough.kernel.jobs import order
from bough.kernel.model_references import check_name as check_model
from bough.kernel.names import check_name
from bough.kernel.policy import ModelPolicy
from bough.kernel.queue import Queue as QueueTable
from bough.kernel.settings import Document, KeyPath
from bough.kernel.workloads import CHOICES, DEFAULTS, INNER, Job, Service

FILE_NAME = "bough.toml"
PRODUCTION = "main"
HANDLER_SLEEPS_S = 60.0  # of a queue's function


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Settings(_Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Overrides for one environment: `[environments.NAME.services.SERVICE]`."""

    services: dict[str, dict[str, Any]] = {}
    jobs: dict[str, dict[str, Any]] = {}
    models: dict[str, dict[str, Any]] = {}
    queues: dict[str, dict[str, Any]] = {}


class Overrides(_Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`Settings` as the JSON Schema shows them: every key has a default, so any part of a table will do."""

    services: dict[str, Service] = {}
    jobs: dict[str, Job] = {}
    models: dict[str, ModelPolicy] = {}
    queues: dict[str, QueueTable] = {}


class File(_Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """bough.toml as written; services and jobs stay raw until `resolve`."""

    name: str
    python: str = ""
    tags: dict[str, str] = {}
    services: dict[str, dict[str, Any]] = {}
    jobs: dict[str, dict[str, Any]] = {}
    models: dict[str, dict[str, Any]] = {}
    queues: dict[str, dict[str, Any]] = {}
    environments: dict[str, dict[str, Any]] = {}


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A project as one environment sees it. `origins` maps `services.churn.replicas` to where the value came from."""

    name: str
    environment: str
    services: dict[str, Service]
    jobs: dict[str, Job]
    origins: dict[str, str]
    models: dict[str, ModelPolicy] = {}
    queues: dict[str, QueueTable] = {}


def of_job(project: Project, job: str) -> Project:
    """What a run of one job needs of it: that job and those that it comes after; of services no more than where they
    answer."""
    kept = order({name: each.after for name, each in project.jobs.items()}, job)
    services = {name: msgspec.structs.replace(each, env={}) for name, each in project.services.items()}
    return msgspec.structs.replace(
        project, jobs={name: project.jobs[name] for name in kept}, services=services, queues={}
    )


def resolve(document: Document, environment: str = PRODUCTION) -> Project:
    """The project in `environment`; raises `ProjectFileInvalid` naming file, line and key."""
    if "name" not in document.data:
        raise document.error(
            ("name",), "missing: every project has a name", hint=f'add name = "my-project" to {document.name}'
        )
    file = document.decode((), document.data, File)
    _check(document, ("name",), file.name, "project")
    project_checks.python(document, ("python",), file.python)
    overrides = {name: _overrides(document, file, name) for name in (*file.environments, environment)}
    settings = overrides[environment]
    origins: dict[str, str] = {"name": document.origin(("name",))}
    services = {
        name: _workload(document, file, settings, environment, ("services", name), "service", Service, origins)
        for name in file.services
    }
    jobs = {
        name: _workload(
            document,
            file,
            settings,
            environment,
            ("jobs", name),
            str((raw | settings.jobs.get(name, {})).get("kind", "job")),
            Job,
            origins,
        )
        for name, raw in file.jobs.items()
    }
    queues = queue.resolve(document, environment, {name: not each.is_web for name, each in services.items()})
    for name, each in queues.items():
        if each.is_function:
            services[name] = _handler(file, name, each.handler)
            origins |= {f"services.{name}.{key}": f"handler of queues.{name}" for key in Service.__struct_fields__}
    project_checks.routes(document, services)
    project_checks.jobs(document, environment, jobs)
    for section, workloads in (("services", services), ("jobs", jobs)):
        for name, each in workloads.items():
            project_checks.references(document, environment, (section, name), each, services)
    for name in services:
        for keys, said, hint in traffic.mistakes(name, services):
            raise document.error(_written(document, environment, ("services", name), keys), said, hint)
    models = {name: _policy(document, settings, environment, name) for name in sorted({*file.models, *settings.models})}
    return Project(
        name=file.name, environment=environment, services=services, jobs=jobs, origins=origins, models=models,
        queues=queues,
    )  # fmt: skip


def _handler(file: File, name: str, function: str) -> Service:
    """The service that a queue's function is. It sleeps when the queue is empty: the next item wakes it."""
    made = {"model": function, "python": file.python, "sleep_after_s": HANDLER_SLEEPS_S}
    return msgspec.convert(DEFAULTS["service"] | made, Service)


def _written(document: Document, environment: str, path: KeyPath, keys: KeyPath) -> KeyPath:
    """Where a setting stands: in the environment's table if it is there, else in its own."""
    own = ("environments", environment, *path)
    return (*(own if keys[0] in document.table(own) else path), *keys)


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of bough.toml, published as docs/bough.schema.json."""

    class ProjectFile(_Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """A Bough project."""

        name: str
        python: str = ""
        tags: dict[str, str] = {}
        services: dict[str, Service] = {}
        jobs: dict[str, Job] = {}
        models: dict[str, ModelPolicy] = {}
        queues: dict[str, QueueTable] = {}
        environments: dict[str, Overrides] = {}

    schema = msgspec.json.schema(ProjectFile)
    for table in (Service, Job):
        properties = schema["$defs"][table.__name__]["properties"]
        for key in CHOICES.keys() & properties.keys():
            if properties[key].get("type") == "string":
                properties[key]["enum"] = list(CHOICES[key])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _overrides(document: Document, file: File, environment: str) -> Settings:
    """Also read for environments that are not asked for now: a mistake shows before its environment exists."""
    settings = document.decode(("environments", environment), document.table(("environments", environment)), Settings)
    for section in ("services", "jobs"):
        for name in getattr(settings, section):
            if name not in getattr(file, section):
                raise document.error(
                    ("environments", environment, section, name), f"there is no [{section}.{name}] to override"
                )
    return settings


def _workload(
    document: Document,
    file: File,
    settings: Settings,
    environment: str,
    path: KeyPath,
    kind: str,
    into: Any,
    origins: dict[str, str],
) -> Any:
    section, name = path
    _check(document, path, name, "service" if section == "services" else "job")
    if kind not in DEFAULTS:
        raise document.error((*path, "kind"), f"unknown kind {kind!r}: use one of {', '.join(CHOICES['kind'])}")
    layers: list[tuple[Mapping[str, Any], KeyPath | str]] = [
        (DEFAULTS[kind], f"default of a {kind}"),
        ({"python": file.python} if file.python else {}, ()),
        (document.table(path), path),
        (getattr(settings, section).get(name, {}), ("environments", environment, *path)),
    ]
    merged: dict[str, Any] = {}
    for field in msgspec.structs.fields(into):
        inner = msgspec.structs.fields(field.type) if field.type in INNER else ()
        for key in (field.name, *(f"{field.name}.{each.name}" for each in inner)):
            origins[".".join((*path, key))] = f"default of a {kind}"
    for values, origin in layers:
        for key, value in values.items():
            both_tables = isinstance(value, dict) and isinstance(merged.get(key), dict)
            merged[key] = {**merged[key], **value} if both_tables else value
            for keys in ((key,), *((key, inner) for inner in (value if isinstance(value, dict) else ()))):
                place = origin if isinstance(origin, str) else document.origin((*origin, *keys))
                origins[".".join((*path, *keys))] = place
    elsewhere: dict[str, KeyPath] = dict.fromkeys(layers[-1][0], ("environments", environment, *path))
    workload = document.decode(path, merged, into, elsewhere=elsewhere)
    for key, choices in CHOICES.items():
        if (
            isinstance(value := getattr(workload, key, None), str) and value not in choices
        ):  # a job's priority: a number
            raise document.error(
                (*elsewhere.get(key, path), key),
                f"{value!r} is not one of {', '.join(filter(None, choices))}",
            )
    project_checks.python(document, (*elsewhere.get("python", path), "python"), workload.python)
    project_checks.what_runs(document, path, workload, elsewhere)
    return workload


def _policy(document: Document, settings: Settings, environment: str, name: str) -> ModelPolicy:
    """What an environment says of a model, laid over what holds everywhere, table by table."""
    path, own = ("models", name), ("environments", environment, "models", name)
    try:
        check_model(name)
    except Problem as error:
        raise document.error(path, error.message, error.hint) from error
    document.decode(path, document.table(path), ModelPolicy)  # a mistake is said where it was made
    merged = _laid_over(document.table(path), settings.models.get(name, {}))
    found = document.decode(own if name in settings.models else path, merged, ModelPolicy)
    steps = found.promotion.steps
    if list(steps) != sorted(steps) or not steps or steps[-1] != 100.0:
        said = f"{list(steps)} must grow and end at 100"
        raise document.error((*path, "promotion", "steps"), said, "steps = [5, 25, 100]")
    return found


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    both = {key: below[key] for key in below.keys() & above.keys()}
    inside = {
        key: _laid_over(value, above[key])
        for key, value in both.items()
        if isinstance(value, Mapping) and isinstance(above[key], Mapping)
    }
    return {**below, **above, **inside}


def _check(document: Document, path: KeyPath, name: str, what: str) -> None:
    try:
        check_name(name, what)
    except Problem as error:
        raise document.error(path, error.message, error.hint) from error
