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
from bough.builds.rules import request_digest
from bough.kernel.files import write_whole
from bough.kernel.platform import Home
from bough.runtime.spec import Failure, UnitSpec

KIND = "build"
GAVE_UP = Failure(code="BUILD_FAILED", message="the build ended without a word", hint="bough logs --build")


class _Outcome(msgspec.Struct):
    failure: Failure | None = None


def unit_of(request: BuildRequest) -> str:
    platform = f"{sys.platform}-{sys.implementation.cache_tag}"
    return f"build-{request_digest(request, platform=platform)[:24]}"


def ensure(home: Home, engine: Engine, request: BuildRequest, *, again: bool = False) -> BuildResult | Failure | None:
    """The result of a build, its failure, or None while it runs. `again` starts a build over that has failed."""
    unit = unit_of(request)
    folder = home.builds / unit
    result = folder / "result.json"
    attempt = next((each for each in engine.snapshot() if each.unit == unit), None)
    if attempt is None or (again and attempt.state == EXITED):
        known = _read(result)
        if isinstance(known, BuildResult) and Path(known.folder).is_dir():
            return known
        number = 1 if attempt is None else attempt.attempt + 1
        write_whole(folder / "request.json", msgspec.json.encode(request))
        result.unlink(missing_ok=True)
        engine.apply(_spec(home, unit, number, request.service, folder))
        return None
    outcome = _read(result)  # the worker leaves it as soon as the service can start, and compiles bytecode after that
    return _unexplained(attempt) if outcome is None and attempt.state == EXITED else outcome


def _spec(home: Home, unit: str, attempt: int, service: str, folder: Path) -> UnitSpec:
    arguments = [str(home.path), str(folder / "request.json"), str(folder / "result.json")]
    return UnitSpec(
        unit=unit,
        attempt=attempt,
        kind=KIND,
        argv=[sys.executable, "-m", "bough.builds.worker", *arguments],
        cwd=str(folder),
        labels={"service": service},
    )


def _read(result: Path) -> BuildResult | Failure | None:
    try:
        content = result.read_bytes()
    except FileNotFoundError:
        return None
    failure = msgspec.json.decode(content, type=_Outcome).failure
    return failure or msgspec.json.decode(content, type=BuildResult)


def _unexplained(attempt: Attempt) -> Failure:
    gone = attempt.exit
    how = GAVE_UP.message if gone is None else f"the build ended with status {gone.code} ({gone.reason})"
    return Failure(code=GAVE_UP.code, message=how, hint="deploy again; its log has the reason")
