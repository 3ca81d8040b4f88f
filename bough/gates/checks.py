"""A project's own gates as a unit of the engine, in the Python environment of the service that loads the model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from bough.adapters.engine import EXITED, Engine
from bough.environments.models import ModelPin
from bough.gates import needs
from bough.gates.models import GateResult, GateRun
from bough.kernel.errors import Problem
from bough.kernel.files import write_whole
from bough.kernel.paying import label
from bough.kernel.platform import Home
from bough.kernel.reconcile import Turn
from bough.registry.models import Version
from bough.registry.views import ModelViews
from bough.runtime.spec import Limits, UnitSpec

CHECK_S = 0.5  # the engine's hints wake the run sooner
LONGEST_S = 1800.0
MEMORY_MB = 8192


class Checks:
    def __init__(self, home: Home, engine: Engine, views: ModelViews) -> None:
        self._home, self._engine, self._views = home, engine, views

    def ensure(self, turn: Turn, run: GateRun, version: Version, champion: Version | None) -> float | list[GateResult]:
        """What they found, or seconds until it makes sense to ask again."""
        folder, unit = self._folder(run), f"{run.id}-checks"
        if (folder / "result.json").exists():
            return _results((folder / "result.json").read_bytes())
        attempt = next((each for each in self._engine.snapshot() if each.unit == unit), None)
        if attempt is not None:
            if attempt.state == EXITED:
                return _failed(run, f"their process ended ({attempt.exit.reason if attempt.exit else 'lost'})")
            if attempt.seconds(turn.clock.now()) > LONGEST_S:
                self._engine.stop(unit, attempt.attempt, 1.0)
                return _failed(run, f"took longer than {LONGEST_S:.0f} s")
            return CHECK_S
        try:
            with turn.read() as tx:
                spec = self._spec(tx, run, version, champion)
        except Problem as problem:
            return _failed(run, problem.message)
        if spec is not None:
            self._engine.apply(spec)
        return CHECK_S

    def forget(self, run: GateRun) -> None:
        self._engine.forget(f"{run.id}-checks")
        shutil.rmtree(self._folder(run), ignore_errors=True)

    def _spec(self, tx: sa.Connection, run: GateRun, version: Version, champion: Version | None) -> UnitSpec | None:
        """None while the files of the versions are laid out."""
        deployment, _, _ = needs.service_of(tx, run)
        wanted = {"candidate": version} | ({"champion": champion} if champion is not None else {})
        pins = {
            who: ModelPin(name=each.name, version=each.number, id=each.id, digest=each.digest)
            for who, each in wanted.items()
        }
        laid_out = self._views.ensure(tx, (run.project, run.environment), pins)
        if laid_out is None or deployment.build is None:
            return None
        gate: dict[str, Any] = {
            "name": run.name, "number": version.number, "folder": laid_out["candidate"].folder,
            "metrics": version.facts.metrics,
        }  # fmt: skip
        if champion is not None:
            gate |= {"champion": laid_out["champion"].folder, "champion_number": champion.number,
                     "champion_metrics": champion.facts.metrics}  # fmt: skip
        folder = self._folder(run)
        write_whole(folder / "request.json", msgspec.json.encode({"gate": gate, "checks": run.gates.checks}))
        paths = [str(folder / "request.json"), str(folder / "result.json")]
        return UnitSpec(
            unit=f"{run.id}-checks", attempt=1, kind="job", python=deployment.build.python,
            argv=[deployment.build.python, "-m", "bough.runtime.gatechecks", *paths], cwd=deployment.build.workdir,
            environment=deployment.build.environment, limits=Limits(memory_mb=MEMORY_MB),
            labels={"project": run.project, "environment": run.environment} | label(run.payer),
        )  # fmt: skip

    def _folder(self, run: GateRun) -> Path:
        return self._home.path / "gates" / f"{run.id}-checks"


def _results(content: bytes) -> list[GateResult]:
    found = msgspec.json.decode(content)
    return [
        GateResult(gate=f"check.{each['check'].partition(':')[2]}", passed=each["passed"], said=each["said"],
                   figures=each["figures"])
        for each in found
    ]  # fmt: skip


def _failed(run: GateRun, why: str) -> list[GateResult]:
    return [GateResult(gate=f"check.{each.partition(':')[2]}", passed=False, said=why) for each in run.gates.checks]
