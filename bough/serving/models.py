"""Deployments as data."""

from __future__ import annotations

from typing import Any

import msgspec

from bough.builds.models import BuildResult
from bough.environments.models import ModelPin
from bough.kernel.paying import SERVICE, Payer
from bough.kernel.project import PRODUCTION
from bough.kernel.workloads import Service
from bough.runtime.frames import Signature

BUILDING, STARTING, READY, FAILED, DRAINING, STOPPED = "building", "starting", "ready", "failed", "draining", "stopped"
ASLEEP = "asleep"  # its units are registered and do not run; the first request wakes them
BRANCH_SLEEPS_AFTER_S = 300.0


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """`crashes` counts exits since every replica was last ready for a while; it spaces restarts. `drained`: requests
    have left it (of one that is draining), or it has been put to sleep (of one that is asleep)."""

    id: str
    project: str
    environment: str
    service: str
    digest: str
    bundle: str
    settings: Service
    release: int
    state: str
    created_at: float
    changed_at: float
    build: BuildResult | None = None
    signature: Signature | None = None
    failure: dict[str, Any] = {}
    crashes: int = 0
    drained: bool = False
    secrets: dict[str, str] = {}  # the versions that it runs with, by name
    models: dict[str, ModelPin] = {}  # the versions that it loads, by the names that its settings give them
    active: int = 0  # replicas that are to answer, where traffic decides that; 0: nobody has yet
    pool: int = 0  # and that are to wait, warm; their numbers follow those of the active ones
    scaled_at: float = 0.0
    awake_s: float = 0.0  # how long it is to stay awake without a request, as learnt; 0: not learnt

    @property
    def wanted(self) -> int:
        if self.settings.mock or self.state in (FAILED, DRAINING, STOPPED):
            return 0
        return self.answering + self.waiting

    @property
    def answering(self) -> int:
        """Replicas that requests go to: the first ones."""
        scale = self.settings.scale
        if not scale.max:
            return self.settings.replicas
        return min(max(self.active or self.settings.replicas, scale.min, 1), scale.most)

    @property
    def waiting(self) -> int:
        """Replicas of the warm pool: the ones after those that answer."""
        scale = self.settings.scale
        return max(0, min(self.pool, scale.most - self.answering)) if scale.max else 0

    @property
    def learns_sleep(self) -> bool:
        """Whether its own idle times say when it sleeps."""
        return self.settings.scale.min == 0 and self.settings.sleep_after_s < 0 and not self.settings.mock

    @property
    def sleeps_after_s(self) -> float:
        """Without a request; 0: it stays awake."""
        if self.settings.mock:
            return 0.0
        if self.learns_sleep:
            return self.awake_s or BRANCH_SLEEPS_AFTER_S
        if self.settings.sleep_after_s < 0:
            return 0.0 if self.environment == PRODUCTION else BRANCH_SLEEPS_AFTER_S
        return self.settings.sleep_after_s

    @property
    def payer(self) -> Payer:
        """As its settings say now."""
        return Payer(
            project=self.project, environment=self.environment, cost_center=self.settings.cost_center, kind=SERVICE,
            workload=self.service, tags=self.settings.tags, cores=self.settings.resources.cpus or 1.0,
        )  # fmt: skip

    def unit(self, number: int) -> str:
        return f"{self.id}-{number}"


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """`percent` of a service's requests go to this deployment, or with `copies` a copy of each."""

    deployment: str
    service: str
    name: str
    percent: float = 0.0
    copies: bool = False
    sticky: str = ""


class ReplicaView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    unit: str
    attempt: int
    state: str
    started_at: float = 0.0
    seconds_to_ready: float = 0.0
    cpu_s: float = 0.0
    gpu_s: float = 0.0  # device-seconds that its accelerators have worked
    memory_bytes: int = 0
    devices: list[str] = []  # accelerators that it has
    waits: str = ""  # for what it waits before it can start
    exit: dict[str, Any] = {}


class ServiceView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    project: str
    environment: str
    service: str
    kind: str  # model, web, mock
    release: int
    deployment: str
    state: str
    ready: int
    wanted: int
    url: str
    address: str = ""  # the same service by path, for clients that cannot resolve *.localhost
    failure: dict[str, Any] = {}
    replicas: list[ReplicaView] = []


class Status(msgspec.Struct, frozen=True, kw_only=True):
    project: str
    environment: str
    release: int
    rollout: dict[str, Any]
    services: list[ServiceView]


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `releases follow`. `kind` is log, service, note, release or done."""

    kind: str
    at: float
    service: str = ""
    state: str = ""
    text: str = ""
    data: dict[str, Any] = {}
