"""Releases as data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
import sqlalchemy as sa

from bough.adapters.blobs import Blobs
from bough.kernel.catalog import Write
from bough.kernel.context import Context
from bough.kernel.policy import ModelPolicy
from bough.kernel.queue import Queue
from bough.kernel.workloads import Job, Service

QUEUE_PREFIX = "queues/"  # of a queue's name in the catalog
JOB_PREFIX = "jobs/"  # of a job's name in the catalog, where services have theirs bare

# Superseded: it was live. Overtaken: a newer release came before it could be.
PENDING, STARTING, LIVE, FAILED, SUPERSEDED, OVERTAKEN = (
    "pending",
    "starting",
    "live",
    "failed",
    "superseded",
    "overtaken",
)
MERGED = "environment.merged"  # the event
NOTED = "release.noted"  # the event of what whoever makes a release should know, although it goes live: service, text
ROUTED = "release.routed"  # the event that requests reach a live release
ENDED = (LIVE, FAILED, SUPERSEDED, OVERTAKEN)


class ModelPin(msgspec.Struct, frozen=True, kw_only=True):
    """A version in the registry, as a release names it: for good, whatever becomes of aliases and names."""

    name: str
    version: int
    id: str
    digest: str

    @property
    def reference(self) -> str:
        return f"{self.name}/{self.version}"


class RegisteredModels(Protocol):
    """The registry, which environments must not know."""

    def pin(self, tx: sa.Connection, place: tuple[str, str], reference: str, blobs: Blobs) -> ModelPin:
        """The version that `models:/NAME@ALIAS` or `models:/NAME/NUMBER` means in an environment now. Raises `NotFound`
        and, for one that the environment does not accept, what `check` raises."""

    def check(self, tx: sa.Connection, place: tuple[str, str], pin: ModelPin, blobs: Blobs) -> None:
        """Raises `Forbidden` or `Invalid` when nobody whom the environment trusts vouches for the version, and
        `NotFound` when it is gone. Reads none of its files."""


class Migrations(Protocol):
    """Databases, which environments must not know. `writes` are entries of databases that a merge would bring."""

    def try_out(self, context: Context, place: tuple[str, str], writes: Sequence[Write]) -> dict[str, list[str]]:
        """Runs the migrations that are new to an environment on a fresh branch of each of its databases, which is
        dropped again; their names by database. Raises `Invalid` (MIGRATION_FAILED). Without a transaction."""

    def run(self, context: Context, place: tuple[str, str], writes: Sequence[Write]) -> None:
        """Runs them on the environment's own databases; all of one database or none. In the merge's transaction."""


class ServiceManifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One service in a release. `bundle` is the digest of its folder; `digest` covers everything that its processes
    depend on, so two releases with equal digests share running replicas. `secrets`: the versions that it runs with,
    by name, as `main@17`. `links`: the services that it refers to, each with the words of its address. `models`: the
    versions that it loads, by the names that its settings give them."""

    settings: Service
    bundle: str
    digest: str
    secrets: dict[str, str] = {}
    links: dict[str, str] = {}
    models: dict[str, ModelPin] = {}


class JobManifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    settings: Job
    bundle: str
    secrets: dict[str, str] = {}
    links: dict[str, str] = {}


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    project: str
    services: dict[str, ServiceManifest]
    jobs: dict[str, JobManifest] = {}
    models: dict[str, ModelPolicy] = {}  # how versions come into use
    queues: dict[str, Queue] = {}


class Release(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    project: str
    environment: str
    number: int
    digest: str
    state: str
    created_at: float
    created_by: str
    message: str = ""
    commit: str = ""
    finished_at: float = 0.0
    rolled_back_to: int = 0
    failure: dict[str, Any] = {}


class Change(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of a plan. `action` is add, remove, change, or same; `keys` are the settings that differ."""

    what: str
    name: str
    action: str
    restarts: bool = False
    files: bool = False
    keys: dict[str, list[Any]] = {}
    policy: dict[str, Any] = {}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    project: str
    environment: str
    digest: str
    same: bool
    changes: list[Change]


class EnvironmentView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    project: str
    name: str
    created_at: float
    release: int = 0
    parent: str = ""
    branch: str = ""  # of git, as git has it
    created_by: str = ""
    ttl_s: float = 0.0
    expires_at: float = 0.0
    protected: bool = False
    paused: bool = False  # its schedules
    budget: float = 0.0


class Branched(msgspec.Struct, frozen=True, kw_only=True):
    """`created` is False for one that was there."""

    environment: EnvironmentView
    created: bool


class EnvironmentDetail(msgspec.Struct, frozen=True, kw_only=True):
    """`ahead` and `behind` count, by kind, what it and its parent have changed since it branched; `own_bytes` are in
    blobs that its own changes brought in. All else that it shows it shares (`data.usage` counts that)."""

    environment: EnvironmentView
    services: list[str]
    sealed: list[str]
    ahead: dict[str, int]
    behind: dict[str, int]
    own_bytes: int
    children: list[str]


class Changed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`action` is add, remove or change; `fields` holds [before, after] of what a person can read."""

    kind: str
    name: str
    action: str
    fields: dict[str, list[Any]] = {}


class EnvironmentDiff(msgspec.Struct, frozen=True, kw_only=True):
    environment: str
    against: str
    parent_moved: bool  # a merge is no fast-forward
    counts: dict[str, dict[str, int]]
    changes: list[Changed]


class ConflictView(msgspec.Struct, frozen=True, kw_only=True):
    """`ours` is what was done where it would be merged into, `theirs` what the branch did."""

    id: str
    ours: str
    theirs: str


class Merge(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`merged` counts entries by kind; `migrations`: by database, what was tried on a fresh branch of it and
    runs there; `release` brings services live, where there were any."""

    into: str
    fast_forward: bool
    merged: dict[str, int]
    conflicts: list[ConflictView] = []
    migrations: dict[str, list[str]] = {}
    release: Release | None = None
    dry_run: bool = False


class MergedBranch(msgspec.Struct, frozen=True, kw_only=True):
    """`seconds`: from the branch's beginning, or its merge before, to this one: what trying the change out took."""

    environment: str
    into: str
    by: str
    at: float
    seconds: float


class Merges(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first."""

    merges: list[MergedBranch]
    median_s: float = 0.0
    slowest_s: float = 0.0
