"""A control plane whose jobs are scripted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bough.adapters.accelerators.fake import FakeAccelerators
from bough.adapters.connectors import Objects
from bough.adapters.engine import EXITED, Engine
from bough.adapters.engine.fake import Behaviour, FakeEngine
from bough.capacity.models import Lease
from bough.jobs import store
from bough.jobs.models import JobRun
from bough.jobs.units import Places
from bough.kernel.platform import Platform
from bough.runtime.checkpoints.progress import FILE_NAME, Progress
from bough.runtime.spec import UnitSpec
from tests.plane import Plane


class Jobs(Plane):
    """`does`: what attempts of a job that begin from now on will do, by its name."""

    def __init__(self, folder: Path, *devices: str, through: Callable[[FakeEngine], Engine] | None = None,
                 platform: Platform | None = None, objects: Objects | None = None) -> None:  # fmt: skip
        accelerators = FakeAccelerators(*devices)
        super().__init__(folder, accelerators=accelerators, through=through, platform=platform, objects=objects)
        self.does: dict[str, Behaviour] = {}
        self.normally = Behaviour(exit_after_s=0.5)
        self.engine.script_by(self._behaviour)

    def ask(self, job: str, file: str = "", **fields: Any) -> Any:
        if file:
            digest = self.bundle({"run.py": "print(1)"})
            fields |= {"file": file, "bundles": {".": digest}}
        return self.call("jobs.run", project="lab", job=job, **fields)

    def run(self, id: str) -> JobRun:
        with self.bough.database.read() as tx:
            return store.get(tx, id)

    def all(self, job: str = "") -> list[JobRun]:
        with self.bough.database.read() as tx:
            return store.runs(tx, ("lab", "main"), job, inner=True, limit=10_000)[::-1]

    def states(self, job: str = "") -> list[str]:
        return [each.state for each in self.all(job)]

    def running(self) -> list[str]:
        """Jobs with a process, in the order of their start."""
        found = [each for each in self.engine.snapshot() if each.unit.startswith("jr_") and each.state != EXITED]
        return [each.labels["job"] for each in sorted(found, key=lambda each: each.started_at)]

    def lease(self, id: str) -> Lease:
        return next(each for each in self.bough.capacity.leases() if each.holder == id)

    def say(self, id: str, **progress: Any) -> None:
        """What the program writes of how far it is."""
        path = Places(self.bough.home).checkpoints(id) / FILE_NAME
        path.write_bytes(msgspec.json.encode(Progress(at=self.clock.now(), **progress)))

    def _behaviour(self, spec: UnitSpec) -> Behaviour | None:
        return self.does.get(spec.labels["job"], self.normally) if spec.unit.startswith("jr_") else None


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(tmp_path)


@pytest.fixture
def with_devices(tmp_path: Path) -> Callable[..., Jobs]:
    return lambda *devices: Jobs(tmp_path, *devices)
