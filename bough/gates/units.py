"""The gates' process as a unit of the engine: makes sure that it runs, and reads what came of it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import msgspec

from bough.adapters.engine import EXITED, Engine
from bough.gates.asked import GateAnswer, GateRequest
from bough.gates.models import GateResult, GateRun
from bough.kernel.files import write_whole
from bough.kernel.paying import label
from bough.kernel.platform import Home
from bough.kernel.reconcile import Turn
from bough.runtime.spec import Limits, UnitSpec

CHECK_S = 0.5  # the engine's hints wake the run sooner
LONGEST_S = 3600.0  # a run that takes longer has failed
TRIES = 3  # of a process that ended without a word: its machine may have gone
MEMORY_MB = 8192


class GateUnits:
    def __init__(self, home: Home, engine: Engine) -> None:
        self._home, self._engine = home, engine

    def has_begun(self, run: GateRun) -> bool:
        """Whether what it is asked has been written."""
        return (self._folder(run) / "request.json").exists()

    def write(self, run: GateRun, request: GateRequest) -> None:
        write_whole(self._folder(run) / "request.json", msgspec.json.encode(request))

    def ensure(self, turn: Turn, run: GateRun) -> float | list[GateResult]:
        """The results of the gates that need a process, or seconds until it makes sense to ask again."""
        folder, unit = self._folder(run), f"{run.id}-gates"
        attempt = next((each for each in self._engine.snapshot() if each.unit == unit), None)
        if (answer := _read(folder / "result.json")) is not None:
            if answer.failure is not None:
                return [GateResult(gate="run", passed=False, said=answer.failure.message)]
            return answer.results
        if attempt is not None and attempt.state != EXITED:
            if attempt.seconds(turn.clock.now()) > LONGEST_S:
                self._engine.stop(unit, attempt.attempt, 1.0)
                return [GateResult(gate="run", passed=False, said=f"took longer than {LONGEST_S:.0f} s")]
            return CHECK_S
        number = 1 if attempt is None else attempt.attempt + 1
        if number > TRIES:
            how = "without a word" if attempt is None or attempt.exit is None else f"({attempt.exit.reason})"
            return [GateResult(gate="run", passed=False, said=f"its process ended {TRIES} times {how}")]
        paths = [str(self._home.path), str(folder / "request.json"), str(folder / "result.json")]
        self._engine.apply(
            UnitSpec(
                unit=unit, attempt=number, kind="job", argv=[sys.executable, "-m", "bough.gates.worker", *paths],
                cwd=str(folder), labels={"project": run.project, "environment": run.environment} | label(run.payer),
                limits=Limits(memory_mb=MEMORY_MB), confine=True,
            )
        )  # fmt: skip
        return CHECK_S

    def forget(self, run: GateRun) -> None:
        """What the process leaves behind; its evidence is kept elsewhere."""
        self._engine.forget(f"{run.id}-gates")
        shutil.rmtree(self._folder(run), ignore_errors=True)

    def _folder(self, run: GateRun) -> Path:
        return self._home.path / "gates" / run.id


def _read(result: Path) -> GateAnswer | None:
    try:
        return msgspec.json.decode(result.read_bytes(), type=GateAnswer)
    except FileNotFoundError:
        return None
