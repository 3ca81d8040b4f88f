"""Workloads as `bough.toml` describes them: every key of a service and of a job, what it may be, and what it is by
default."""

from __future__ import annotations

import datetime
from typing import Annotated, Any

import msgspec

from bough.kernel import model_references
from bough.kernel.buckets import NewObjects, Objects
from bough.kernel.jobs import Count, Distill, Processes, Retries, Sweep, Value
from bough.kernel.scale import Scale
from bough.kernel.traffic import PRIORITIES, Cors, KeepRule, RateLimits, ResponseCache, SplitRule, TokenIssuer

OWN_MODEL = "model"
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
    direct: bool = True  # scikit-learn that a class asks is worked out directly where the results are equal
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
    source: NewObjects | None = None  # of a bucket, which it finds as files in $BOUGH_SOURCE
    target: Objects | None = None  # Parquet files of its output become PREFIX + id of the run + their path
    checkpoints: Objects | None = None  # what it saves becomes PREFIX + id of the run + its path
    array: Count = 0  # so many runs, told apart by BOUGH_INDEX
    sweep: Sweep = Sweep()
    processes: Annotated[int, msgspec.Meta(ge=1, le=1024)] | Processes = 1
    heartbeat_s: LongSeconds = 0.0  # without a sign of life for so long it counts as hung; 0: it may be silent
    register: str = ""  # the model of which its output becomes a version
    distill: Distill = Distill()  # it makes a student, which is measured beside its teacher first
    output: str = ""  # folder of the run's artifacts in which its output files stand; empty: at the top


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
INNER = (
    Batch,
    Resources,
    Scale,
    RateLimits,
    ResponseCache,
    Cors,
)  # tables whose keys `bough explain` shows one by one
CHOICES: dict[str, tuple[str, ...]] = {
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
