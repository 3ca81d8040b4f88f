"""Builds as units: makes sure that one runs for a request, and reads what came of it.

A build is identified by what goes into it, so asking twice is harmless and a finished build is never run again. The
unit writes its result file whole; nothing else remembers it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from bough.adapters.engine import EXITED, Attempt, Engine
from bough.builds.models import BuildRequest, BuildResult
from bough.builds.rules import parse_result, request_digest
from bough.builds.steps import this_machine
from bough.kernel.files import write_whole
from bough.kernel.paying import BUILD, Payer, label
from bough.kernel.platform import Home
from bough.runtime.spec import Failure, UnitSpec

KIND = "build"
GAVE_UP = Failure(code="BUILD_FAILED", message="the build ended without a word", hint="bough logs --build")


def unit_of(request: BuildRequest) -> str:
    return f"build-{request_digest(request, platform=this_machine())[:24]}"


def ensure(
    home: Home, engine: Engine, request: BuildRequest, payer: Payer, *, again: bool = False
) -> BuildResult | Failure | None:
    """The result of a build, its failure, or None while it runs. `payer` is whose workload it is for,
    who pays if nobody has asked for it before; `again` starts a build over that has failed."""
    unit = unit_of(request)
    folder = home.builds / unit
    result = folder / "result.json"
    attempt = next((each for each in engine.snapshot() if each.unit == unit), None)
    if attempt is None or (again and attempt.state == EXITED):
        known = _read(result)
        if isinstance(known, BuildResult) and _still_there(known):
            return known
        number = 1 if attempt is None else attempt.attempt + 1
        write_whole(folder / "request.json", msgspec.json.encode(request))
        result.unlink(missing_ok=True)
        engine.apply(_spec(home, unit, number, payer, folder))
        return None
    outcome = _read(result)  # the worker leaves it as soon as the service can start, and compiles bytecode after that
    return _unexplained(attempt) if outcome is None and attempt.state == EXITED else outcome


def _spec(home: Home, unit: str, attempt: int, payer: Payer, folder: Path) -> UnitSpec:
    arguments = [str(home.path), str(folder / "request.json"), str(folder / "result.json")]
    return UnitSpec(
        unit=unit,
        attempt=attempt,
        kind=KIND,
        argv=[sys.executable, "-m", "bough.builds.worker", *arguments],
        cwd=str(folder),
        labels={"service": payer.workload} | label(msgspec.structs.replace(payer, kind=BUILD, cores=0.0)),
    )


def _read(result: Path) -> BuildResult | Failure | None:
    try:
        return parse_result(result.read_bytes())
    except FileNotFoundError:
        return None


def _still_there(known: BuildResult) -> bool:
    return Path(known.folder).is_dir() and (not known.python or Path(known.python).exists())


def _unexplained(attempt: Attempt) -> Failure:
    gone = attempt.exit
    how = GAVE_UP.message if gone is None else f"the build ended with status {gone.code} ({gone.reason})"
    return Failure(code=GAVE_UP.code, message=how, hint="deploy again; its log has the reason")
