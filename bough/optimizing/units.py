"""The process that makes and measures contenders, as a unit of the engine: sees that it runs, reads its answer."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import msgspec

from bough.adapters.engine import EXITED, Engine
from bough.kernel.files import write_whole
from bough.kernel.paying import OPTIMIZATION, Payer, label
from bough.kernel.platform import Home
from bough.kernel.reconcile import Turn
from bough.optimizing.asked import OptimizationAnswer, OptimizationRequest
from bough.optimizing.models import Optimization
from bough.runtime.spec import MODEL_ENVIRONMENT, Failure, Limits, UnitSpec

CHECK_S = 0.5  # the engine's hints wake the optimization sooner
LONGEST_S = 3600.0  # one that takes longer has failed
TRIES = 3  # of a process that ended without a word: its machine may have gone
MEMORY_MB = 16_384
CENTER = "optimizing"  # who pays


class OptimizingUnits:
    def __init__(self, home: Home, engine: Engine) -> None:
        self._home, self._engine = home, engine

    def has_begun(self, id: str) -> bool:
        """Whether what it is asked has been written."""
        return (self.folder(id) / "request.json").exists()

    def write(self, request: OptimizationRequest) -> None:
        write_whole(self.folder(request.optimization.id) / "request.json", msgspec.json.encode(request))

    def read(self, id: str) -> OptimizationRequest:
        return msgspec.json.decode((self.folder(id) / "request.json").read_bytes(), type=OptimizationRequest)

    def ensure(self, turn: Turn, of: Optimization) -> float | OptimizationAnswer:
        """What it said, or seconds until it makes sense to ask again."""
        folder, unit = self.folder(of.id), _unit(of.id)
        if (folder / "result.json").exists():
            return msgspec.json.decode((folder / "result.json").read_bytes(), type=OptimizationAnswer)
        attempt = next((each for each in self._engine.snapshot() if each.unit == unit), None)
        if attempt is not None and attempt.state != EXITED:
            if attempt.seconds(turn.clock.now()) > LONGEST_S:
                self._engine.stop(unit, attempt.attempt, 1.0)
                return _failed("OPTIMIZATION_TIMEOUT", f"it took longer than {LONGEST_S:.0f} s")
            return CHECK_S
        number = 1 if attempt is None else attempt.attempt + 1
        if number > TRIES:
            how = "without a word" if attempt is None or attempt.exit is None else f"({attempt.exit.reason})"
            return _failed("OPTIMIZATION_CRASHED", f"its process ended {TRIES} times {how}")
        paths = [str(self._home.path), str(folder / "request.json"), str(folder / "result.json")]
        self._engine.apply(
            UnitSpec(
                unit=unit, attempt=number, kind="job", argv=[sys.executable, "-m", "bough.optimizing.worker", *paths],
                cwd=str(folder), labels={"project": of.project, "environment": of.environment} | label(_payer(of)),
                environment=dict(MODEL_ENVIRONMENT), limits=Limits(memory_mb=MEMORY_MB), confine=True,
            )
        )  # fmt: skip
        return CHECK_S

    def forget(self, id: str) -> None:
        """What the process leaves behind; the blobs of what was registered are kept elsewhere."""
        self._engine.forget(_unit(id))
        shutil.rmtree(self.folder(id), ignore_errors=True)

    def folder(self, id: str) -> Path:
        return self._home.path / "optimizing" / id


def _unit(id: str) -> str:
    return f"{id}-optimizing"


def _payer(of: Optimization) -> Payer:
    model = of.model.partition("/")[0]
    return Payer(project=of.project, environment=of.environment, cost_center=CENTER, kind=OPTIMIZATION, workload=model)


def _failed(code: str, message: str) -> OptimizationAnswer:
    return OptimizationAnswer(failure=Failure(code=code, message=message))
