"""The project file, `bough.toml`: what a person writes, and what Bough makes of it.

    name = "shop"

    [services.churn]
    model = "service:Churn"

is a whole project. Everything else has a default that depends on the kind of workload; `resolve` lays environment
settings over the file over those defaults and keeps, for every value, where it came from (`bough explain`).
"""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from bough.kernel import model_references, queue, traffic
from bough.kernel.errors import Problem
from bough.kernel.jobs import Count, Distill, Processes, Retries, Sweep, Value, wrong, wrong_share
from bough.kernel.model_references import check_name as check_model
from bough.kernel.names import check_name
from bough.kernel.policy import ModelPolicy
from bough.kernel.queue import Queue as QueueTable
from bough.kernel.references import parse, services_in
from bough.kernel.scale import SIGNALS, Scale, wrong_steps
from bough.kernel.settings import Document, KeyPath
from bough.kernel.traffic import PRIORITIES, Cors, KeepRule, RateLimits, ResponseCache, SplitRule, TokenIssuer

FILE_NAME = "bough.toml"
PRODUCTION = "main"
OWN_MODEL = "model"
HANDLER_SLEEPS_S = 60.0  # of a queue's function

MOST = 1_000_000_000  # of anything; keeps nonsense from reaching the operating system
Positive = Annotated[int, msgspec.Meta(ge=1, le=MOST)]
NotNegative = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1e9)]  # not MOST: typing may take a bound of another kind for it
Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
LongSeconds = Annotated[float, msgspec.Meta(ge=0, le=31_536_000)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65_535)]


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Batch(_Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How requests are put together for one call. 0 takes what the model's class says."""

    max_size: NotNegative = 0
    max_wait_ms: Annotated[float, msgspec.Meta(ge=0, le=10_000)] = 0.0


class Resources(_Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of one replica, or of one process of a job; 0 sets none."""

    cpus: Annotated[float, msgspec.Meta(ge=0, le=100_000)] = 0.0
    memory_mb: NotNegative = 0
    gpus: NotNegative | Share = 0  # below 1: that share of one, beside others
    accelerators: list[str] = []  # of jobs: any of these will do, the first is wanted most, such as h100:2

    def __post_init__(self) -> None:
        """1.0 is 1: digests are of what is written, and what was a whole number before shares stays one."""
        if isinstance(self.gpus, float) and self.gpus.is_integer():
            msgspec.structs.force_setattr(self, "gpus", int(self.gpus))


class Workload(_Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What services and jobs have in common."""

    command: str = ""  # run by /bin/sh in the bundle's folder
    dockerfile: str = ""  # read and run without Docker; see `docker`
    docker: str = "never"  # never, auto (where a Docker or Podman engine answers), always
    path: str = "."  # folder, relative to bough.toml, that becomes the bundle
    requirements: str = ""  # requirements.txt, pyproject.toml or pylock.toml; empty: found by name
    python: str = ""  # version, such as 3.11; empty: the one that runs Bough
    env: dict[str, str] = {}
    data: list[str] = []  # datasets that it finds, read-only, at $BOUGH_DATA/<dataset>
    resources: Resources = Resources()
    cost_center: str = ""
    tags: dict[str, str] = {}
    grace_s: Seconds = 10.0  # between SIGTERM and SIGKILL


class Service(Workload, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Answers requests. Exactly one of model, file, command, dockerfile says how."""

    model: str = ""  # module:Class, or a version in the registry: models:/churn@champion
    models: dict[str, str] = {}  # versions in the registry by a name of the service's own, as models:/churn@champion
    file: str = ""  # a model file of a known kind
    loader: str = "auto"  # for `file`: auto, sklearn, onnx, torchscript, safetensors, mlflow
    trust: bool = False  # allow formats that run code when read (joblib, pickle)
    preload: str = "auto"  # how far the zygote goes before it forks: auto, model, imports, none
    replicas: NotNegative = 1
    scale: Scale = Scale()  # how many replicas traffic may ask for; without `max`: `replicas`, always
    batch: Batch = Batch()
    concurrency: NotNegative = 0  # requests at once in one async or streaming replica; 0: 64
    timeout_s: Seconds = 30.0
    queue_size: Positive = 1024
    max_body_mb: Annotated[float, msgspec.Meta(gt=0, le=4096)] = 16.0
    idempotent: bool = True
    access: str = "auto"  # public, key, jwt, key-or-jwt; auto: public while the gateway listens on loopback only
    allow: list[str] = []  # addresses and networks that may call; empty: any
    tls: str = "optional"  # required: plain HTTP is refused
    scopes: list[str] = []  # that a key or token must have, all of them
    issuers: list[TokenIssuer] = []  # of tokens, where access is jwt or key-or-jwt
    limits: RateLimits = RateLimits()
    priority: str = "normal"  # high, normal, low: of requests whose key says nothing
    split: list[SplitRule] = []
    sticky: str = ""  # key, request, header:NAME: who says the same there stays with the same side of a split
    deterministic: bool = False  # equal requests get equal answers: the gateway may keep them
    cache: ResponseCache = ResponseCache()
    cors: Cors = Cors()
    keep: KeepRule = KeepRule()
    route: str = ""  # public name; empty: the service's own
    api: str = "v1"
    deprecated: bool | datetime.date = False  # since when
    sunset: datetime.date | None = None  # the day from which on it may be gone
    breaking: str = "auto"  # refuse, say, allow a release that breaks callers of a live API version
    port: NotNegative = 0  # an own port for this service beside the gateway's
    health: str = "/"  # web services: ready once this path answers below 500
    health_timeout_s: Seconds = 60.0
    openai: str = ""  # chat, embeddings
    mock: bool = False  # answer from the types, without the model
    mock_latency_ms: Annotated[float, msgspec.Meta(ge=0, le=3_600_000)] = 0.0
    sleep_after_s: Annotated[float, msgspec.Meta(ge=-1, le=31_536_000)] = -1.0  # 0: never; -1: 300, in production never
    sample_per_s: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 20  # items per replica that telemetry looks at

    @property
    def is_web(self) -> bool:
        return bool(self.command or self.dockerfile)

    @property
    def registered(self) -> dict[str, str]:
        """The versions in the registry that it loads, by name; that of its own `model` is called `model`."""
        return ({OWN_MODEL: self.model} if model_references.is_reference(self.model) else {}) | self.models


class Job(Workload, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Runs to its end."""

    kind: str = "job"  # job, train, finetune, etl
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=31_536_000)] = 3600.0  # of one attempt
    retries: Count | Retries = 0
    capacity: str = "on-demand"  # on-demand, spot, auto
    deadline_s: LongSeconds = 0.0  # from when it was asked for to when it must be done; 0: whenever
    work_s: LongSeconds = 0.0  # what it takes when nothing interrupts it; 0: nobody knows, until it says how far it is
    priority: Annotated[int, msgspec.Meta(ge=-100, le=100)] = 0
    queue: str = "default"
    schedule: str = ""  # five fields of cron
    timezone: str = "UTC"  # in which the schedule is meant
    catch_up: str = "latest"  # of slots that were missed: none, latest, all
    after: list[str] = []  # jobs that must have succeeded before
    params: dict[str, Value] = {}
    array: Count = 0  # so many runs, told apart by BOUGH_INDEX
    sweep: Sweep = Sweep()
    processes: Annotated[int, msgspec.Meta(ge=1, le=1024)] | Processes = 1
    heartbeat_s: LongSeconds = 0.0  # without a sign of life for so long it counts as hung; 0: it may be silent
    register: str = ""  # the model of which its output becomes a version
    distill: Distill = Distill()  # it makes a student, which is measured beside its teacher first
    output: str = ""  # folder of the run's artifacts in which its output files stand; empty: at the top


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


# Why these: a service must come back at once and never run twice; a job is retried by a person; training loses most
# when it is interrupted and gains most from cheap capacity; fine-tuning is training that somebody waits for, hours and
# not days; ETL may run again and must not hold up the next slot. Cores are what jobs wait for, and no wall: training
# uses all that it is given, ETL waits for disks half of the time, who says nothing waits most of it. Memory has no
# default, since what is above it is ended.
DEFAULTS: dict[str, dict[str, Any]] = {
    "service": {"cost_center": "inference", "resources": {"cpus": 1.0}},
    "job": {"cost_center": "jobs", "timeout_s": 3600.0, "retries": 0, "capacity": "on-demand"},
    "train": {
        **{"cost_center": "training", "timeout_s": 86_400.0, "retries": 3, "capacity": "auto"},
        "resources": {"cpus": 1.0},
    },
    "finetune": {
        **{"cost_center": "fine-tuning", "timeout_s": 21_600.0, "retries": 2, "capacity": "auto", "priority": 1},
        "resources": {"cpus": 1.0},
    },
    "etl": {
        **{"cost_center": "data", "timeout_s": 7200.0, "retries": 2, "capacity": "on-demand"},
        "resources": {"cpus": 0.5},
    },
}
_INNER = (
    Batch,
    Resources,
    Scale,
    RateLimits,
    ResponseCache,
    Cors,
)  # tables whose keys `bough explain` shows one by one
_CHOICES: dict[str, tuple[str, ...]] = {
    "loader": ("auto", "sklearn", "onnx", "torchscript", "safetensors", "mlflow"),
    "preload": ("auto", "model", "imports", "none"),
    "access": ("auto", "public", "key", "jwt", "key-or-jwt"),
    "tls": ("optional", "required"),
    "priority": PRIORITIES,
    "breaking": ("auto", "refuse", "say", "allow"),
    "openai": ("", "chat", "embeddings"),
    "docker": ("never", "auto", "always"),
    "kind": ("job", "train", "finetune", "etl"),
    "capacity": ("on-demand", "spot", "auto"),
}


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A project as one environment sees it. `origins` maps `services.churn.replicas` to where the value came from."""

    name: str
    environment: str
    services: dict[str, Service]
    jobs: dict[str, Job]
    origins: dict[str, str]
    models: dict[str, ModelPolicy] = {}
    queues: dict[str, QueueTable] = {}


def resolve(document: Document, environment: str = PRODUCTION) -> Project:
    """The project in `environment`; raises `ProjectFileInvalid` naming file, line and key."""
    if "name" not in document.data:
        raise document.error(
            ("name",), "missing: every project has a name", hint=f'add name = "my-project" to {document.name}'
        )
    file = document.decode((), document.data, File)
    _check(document, ("name",), file.name, "project")
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
    _check_routes(document, services)
    _check_jobs(document, environment, jobs)
    for section, workloads in (("services", services), ("jobs", jobs)):
        for name, each in workloads.items():
            _check_references(document, environment, (section, name), each, services)
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


def place_of(document: Document, environment: str, path: KeyPath, variable: str) -> KeyPath:
    """Where a variable of the workload at `path` was written: in the environment's settings, or in its own."""
    own = ("environments", environment, *path, "env", variable)
    return own if variable in document.table(own[:-1]) else (*path, "env", variable)


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
        for key in _CHOICES.keys() & properties.keys():
            if properties[key].get("type") == "string":
                properties[key]["enum"] = list(_CHOICES[key])
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
        raise document.error((*path, "kind"), f"unknown kind {kind!r}: use one of {', '.join(_CHOICES['kind'])}")
    layers: list[tuple[Mapping[str, Any], KeyPath | str]] = [
        (DEFAULTS[kind], f"default of a {kind}"),
        ({"python": file.python} if file.python else {}, ()),
        (document.table(path), path),
        (getattr(settings, section).get(name, {}), ("environments", environment, *path)),
    ]
    merged: dict[str, Any] = {}
    for field in msgspec.structs.fields(into):
        inner = msgspec.structs.fields(field.type) if field.type in _INNER else ()
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
    for key, choices in _CHOICES.items():
        if (
            isinstance(value := getattr(workload, key, None), str) and value not in choices
        ):  # a job's priority: a number
            raise document.error(
                (*elsewhere.get(key, path), key),
                f"{value!r} is not one of {', '.join(filter(None, choices))}",
            )
    _check_what_runs(document, path, workload, elsewhere)
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


def _check_what_runs(document: Document, path: KeyPath, workload: Workload, elsewhere: Mapping[str, KeyPath]) -> None:
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
        _check_models(document, path, workload, elsewhere)
        _check_scale(document, path, workload, elsewhere)
        _check_resources(document, path, workload, elsewhere)
    if isinstance(workload, Service) and workload.model and ":" not in workload.model:
        raise document.error(
            (*elsewhere.get("model", path), "model"),
            f"{workload.model!r} must be written module:Class",
            hint='for example model = "service:Churn"',
        )


def _check_scale(document: Document, path: KeyPath, service: Service, elsewhere: Mapping[str, KeyPath]) -> None:
    scale, place = service.scale, (*elsewhere.get("scale", path), "scale")
    if scale.max and scale.max < scale.min:
        raise document.error((*place, "max"), f"{scale.max} is less than min = {scale.min}", f"max = {scale.min}")
    if unknown := [each for each in scale.signals if each not in SIGNALS]:
        raise document.error((*place, "signals"), f"{unknown[0]!r} is not one of {', '.join(SIGNALS)}")
    if said := wrong_steps(scale):
        raise document.error((*place, "steps"), said, 'max = 8, steps = [{ signal = "queue", reaches = 10, add = 2 }]')


def _check_resources(document: Document, path: KeyPath, service: Service, elsewhere: Mapping[str, KeyPath]) -> None:
    place = (*elsewhere.get("resources", path), "resources")
    if service.resources.accelerators:
        raise document.error((*place, "accelerators"), "only jobs choose among kinds of accelerators", "gpus = 1")
    if (found := wrong_share(service.resources)) is not None:
        raise document.error((*place, "gpus"), found[1], found[2])


def _check_models(document: Document, path: KeyPath, service: Service, elsewhere: Mapping[str, KeyPath]) -> None:
    references: dict[tuple[str, ...], str] = {("models", name): text for name, text in service.models.items()}
    if model_references.is_reference(service.model):
        references[("model",)] = service.model
    for key, text in references.items():
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


def _check_references(
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


def _check_routes(document: Document, services: Mapping[str, Service]) -> None:
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


def _check_jobs(document: Document, environment: str, jobs: Mapping[str, Job]) -> None:
    for name, job in jobs.items():
        if found := wrong(job, name, jobs):
            key, said, hint = found
            own = ("environments", environment, "jobs", name)
            raise document.error((*(own if key in document.table(own) else ("jobs", name)), key), said, hint)


def _check(document: Document, path: KeyPath, name: str, what: str) -> None:
    try:
        check_name(name, what)
    except Problem as error:
        raise document.error(path, error.message, error.hint) from error
