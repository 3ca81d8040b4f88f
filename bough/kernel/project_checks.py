"""What the types of the project file cannot say: mistakes within a workload and between workloads, each placed where it
was made. Every function raises `ProjectFileInvalid`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from bough.kernel import model_references
from bough.kernel.errors import Problem
from bough.kernel.jobs import wrong, wrong_share
from bough.kernel.names import check_name
from bough.kernel.pythons import wrong as wrong_python
from bough.kernel.references import parse, services_in
from bough.kernel.scale import wrong as wrong_scale
from bough.kernel.settings import Document, KeyPath
from bough.kernel.workloads import OWN_MODEL, Job, Service, Workload


def python(document: Document, place: KeyPath, request: str) -> None:
    if said := wrong_python(request):
        raise document.error(place, said, 'write python = "3.11"')


def what_runs(document: Document, path: KeyPath, workload: Workload, elsewhere: Mapping[str, KeyPath]) -> None:
    ways = [key for key in ("model", "file", "command", "dockerfile") if getattr(workload, key, "")]
    if ways == ["command", "dockerfile"]:  # the command replaces the Dockerfile's CMD
        return
    if len(ways) != 1:
        said = f"it has {' and '.join(ways)}" if ways else "it has none"
        allowed = "model, file, command, dockerfile" if isinstance(workload, Service) else "command, dockerfile"
        places = [(*elsewhere.get(way, path), way) for way in ways]
        place = max(places, key=document.lines.of, default=path)  # the one that came later is the one too many
        raise document.error(place, f"needs exactly one of {allowed}; {said}")
    if isinstance(workload, Service):
        _models(document, path, workload, elsewhere)
        _scale(document, path, workload, elsewhere)
        _resources(document, path, workload, elsewhere)
    if isinstance(workload, Service) and workload.model and ":" not in workload.model:
        raise document.error(
            (*elsewhere.get("model", path), "model"),
            f"{workload.model!r} must be written module:Class",
            hint='for example model = "service:Churn"',
        )


def references(
    document: Document, environment: str, path: KeyPath, workload: Workload, services: Mapping[str, Service]
) -> None:
    for variable, text in workload.env.items():
        place = place_of(document, environment, path, variable)
        try:
            parse(text)
        except Problem as problem:
            raise document.error(place, problem.message, problem.hint) from problem
        if unknown := sorted(services_in({variable: text}).keys() - services.keys()):
            near = difflib.get_close_matches(unknown[0], services, 1)
            meant = f"did you mean ${{services.{near[0]}.url}}?" if near else f"add [services.{unknown[0]}]"
            raise document.error(place, f"there is no service {unknown[0]!r}", meant)
    if "${secrets." in workload.command:
        raise document.error(
            (*path, "command"),
            "a command is seen by everyone who lists processes; secrets go into env",
            hint='env = { TOKEN = "${secrets.NAME}" }, and read $TOKEN in the program',
        )


def routes(document: Document, services: Mapping[str, Service]) -> None:
    seen: dict[tuple[str, str], str] = {}
    for name, service in services.items():
        key = (service.api, service.route or name)
        if other := seen.get(key):
            raise document.error(
                ("services", name),
                f"has the same api and route as services.{other}",
                hint='give one of them api = "v2"',
            )
        seen[key] = name


def jobs(document: Document, environment: str, declared: Mapping[str, Job]) -> None:
    for name, job in declared.items():
        if found := wrong(job, name, declared):
            key, said, hint = found
            own = ("environments", environment, "jobs", name)
            raise document.error((*(own if key in document.table(own) else ("jobs", name)), key), said, hint)


def _scale(document: Document, path: KeyPath, service: Service, elsewhere: Mapping[str, KeyPath]) -> None:
    if not service.replicas:
        raise document.error(
            (*elsewhere.get("replicas", path), "replicas"), "a service has at least one replica",
            hint="sleep_after_s = 60 ends its processes while nobody asks, and the next request wakes them",
        )  # fmt: skip
    place = (*elsewhere.get("scale", path), "scale")
    if (found := wrong_scale(service.scale)) is not None:
        key, said, hint = found
        raise document.error((*place, key), said, hint)


def _resources(document: Document, path: KeyPath, service: Service, elsewhere: Mapping[str, KeyPath]) -> None:
    place = (*elsewhere.get("resources", path), "resources")
    if service.resources.accelerators:
        raise document.error((*place, "accelerators"), "only jobs choose among kinds of accelerators", "gpus = 1")
    if (found := wrong_share(service.resources)) is not None:
        raise document.error((*place, "gpus"), found[1], found[2])


def _models(document: Document, path: KeyPath, service: Service, elsewhere: Mapping[str, KeyPath]) -> None:
    named: dict[tuple[str, ...], str] = {("models", name): text for name, text in service.models.items()}
    if model_references.is_reference(service.model):
        named[("model",)] = service.model
    for key, text in named.items():
        name = key[-1]
        place = (*elsewhere.get(key[0], path), *key)
        try:
            if key[0] == "models":
                check_name(name, "model of a service")
            model_references.parse(text)
        except Problem as problem:
            raise document.error(place, problem.message, problem.hint) from problem
        if key[0] == "models" and (name == OWN_MODEL or not model_references.is_reference(text)):
            raise document.error(
                place, f"{name} = {text!r} is no version in the registry under a name of its own",
                hint='for example models = { churn = "models:/churn@champion" }',
            )  # fmt: skip


def place_of(document: Document, environment: str, path: KeyPath, variable: str) -> KeyPath:
    """Where a variable of the workload at `path` was written: in the environment's settings, or in its own."""
    own = ("environments", environment, *path, "env", variable)
    return own if variable in document.table(own[:-1]) else (*path, "env", variable)
