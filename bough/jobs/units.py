"""How the processes of a job run are started: what they find around them."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from bough.adapters.engine import EXITED, Attempt
from bough.builds.models import BuildRequest
from bough.environments.references import Filled
from bough.jobs.models import PREFIX, JobRun
from bough.kernel.devices import share_of
from bough.kernel.jobs import bounds
from bough.kernel.paying import JOB, Payer
from bough.kernel.platform import Home, Platform
from bough.kernel.references import without
from bough.runtime.spec import Limits, UnitSpec

NICE = 10  # services answer first: their latency is somebody's waiting, a job's is not
PORTS = range(30_000, 32_000)  # above those of services, below the kernel's own choice


class Places:
    """The folders of job runs."""

    def __init__(self, home: Home) -> None:
        self.home = home.path

    @property
    def roots(self) -> list[Path]:
        return [root for root in (self.home / "jobs", self.home / "checkpoints") if root.is_dir()]

    def folder(self, run: str) -> Path:
        return self.home / "jobs" / run

    def output(self, run: str) -> Path:
        return self.folder(run) / "output"

    def source(self, run: str) -> Path:
        return self.folder(run) / "source"

    def log(self, run: str, attempt: int, rank: int) -> Path:
        return self.folder(run) / f"log.{attempt}.{rank}"

    def checkpoints(self, run: str) -> Path:
        return self.home / "checkpoints" / run


def build_request(run: JobRun) -> BuildRequest:
    settings = run.manifest.settings
    return BuildRequest(
        service=run.job, bundle=run.manifest.bundle, command=settings.command, dockerfile=settings.dockerfile,
        docker=settings.docker, requirements=settings.requirements, python=settings.python,
        environment=without(settings.env), given=sorted(settings.env.keys() - without(settings.env).keys()),
    )  # fmt: skip


def payer_of(run: JobRun) -> Payer:
    settings = run.manifest.settings
    return Payer(
        project=run.project, environment=run.environment, cost_center=settings.cost_center, kind=JOB, workload=run.job,
        tags=settings.tags,
    )  # fmt: skip


def specs(run: JobRun, filled: Filled, places: Places, platform: Platform, before: Mapping[str, str]) -> list[UnitSpec]:
    """One for each process. `before`: output folders of the jobs that it comes after."""
    settings, build = run.manifest.settings, run.build
    assert build is not None  # noqa: S101 - nothing is started before it is built
    environment = build.environment | filled.plain | {
        "BOUGH_RUN": run.run,
        "BOUGH_URL": platform.api_url,
        "BOUGH_CHECKPOINTS": str(places.checkpoints(run.id)),
        "BOUGH_OUTPUT": str(places.output(run.id)),
        "BOUGH_PARAMS": msgspec.json.encode(run.params).decode(),
        "BOUGH_INDEX": str(run.index),
        "BOUGH_AFTER": msgspec.json.encode(before).decode(),
        "BOUGH_BUNDLE": run.manifest.bundle,
        "BOUGH_PYTHON_ENVIRONMENT": build.environment_digest,
    } | ({"BOUGH_SOURCE": str(places.source(run.id))} if settings.source else {})  # fmt: skip
    each = len(run.devices) // run.size
    return [
        UnitSpec(
            unit=run.unit(rank), attempt=run.attempt, kind="job",
            argv=build.argv or ["/bin/sh", "-c", build.shell or settings.command],
            python=build.python, cwd=build.workdir,
            environment=environment | _rank(run, rank),
            secrets=filled.secrets,
            labels={"project": run.project, "environment": run.environment, "job": run.job, "job_run": run.id},
            grace_s=settings.grace_s,
            gpus=min(settings.resources.gpus, 1.0) * each if settings.resources.gpus else float(each),
            devices=run.devices[rank * each : (rank + 1) * each],
            limits=Limits(memory_mb=settings.resources.memory_mb, cpus=settings.resources.cpus, nice=NICE),
        )
        for rank in range(run.size)
    ]  # fmt: skip


def lent(attempts: Iterable[Attempt]) -> dict[str, float]:
    """Accelerators that others than jobs have now, and how much of each."""
    found: dict[str, float] = {}
    for each in attempts:
        for id in each.devices if each.state != EXITED and not each.unit.startswith(PREFIX) else ():
            found[id] = found.get(id, 0.0) + share_of(each.gpus)
    return found


def of(run: JobRun, attempts: Mapping[str, Attempt]) -> list[Attempt | None]:
    """The processes of its present attempt; None: not started, or not known any more."""
    found = [attempts.get(run.unit(rank)) for rank in range(run.size)]
    return [each if each is not None and each.attempt == run.attempt else None for each in found]


def set_s(run: JobRun, attempts: Mapping[str, Attempt]) -> float:
    """By how much the clock was set since the processes of its present attempt began."""
    return max((each.set_s for each in of(run, attempts) if each is not None), key=abs, default=0.0)


def began_at(run: JobRun, attempts: Mapping[str, Attempt]) -> float:
    """When its present attempt did, by the clock as it is set now."""
    return run.attempt_at + set_s(run, attempts)


def free_port(taken: Sequence[int]) -> int:
    """Where processes of one run can meet, on loopback; 0: none is free."""
    for port in PORTS:
        if port in taken:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    return 0


def is_parallel(run: JobRun) -> bool:
    return bounds(run.manifest.settings.processes).max > 1


def processes(number: int) -> str:
    return f"{number} process" + "es" * (number != 1)


def _rank(run: JobRun, rank: int) -> dict[str, str]:
    """What torch.distributed reads, as torchrun sets it."""
    if not is_parallel(run):
        return {}
    size = str(run.size)
    return {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0", "ROLE_RANK": str(rank),
        "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "GROUP_WORLD_SIZE": "1", "ROLE_WORLD_SIZE": size,
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(run.port),
        "TORCHELASTIC_RUN_ID": run.id, "TORCHELASTIC_RESTART_COUNT": str(run.attempt - 1),
    }  # fmt: skip
