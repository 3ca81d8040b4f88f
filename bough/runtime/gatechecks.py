"""`python -m bough.runtime.gatechecks REQUEST.json RESULT.json`: a project's own gates, in its own environment.

    def no_negative_scores(gate):
        return gate.metrics["min_score"] >= 0, "scores are never negative"

A check gets a `Gate` and returns whether it passed; or that and a sentence; or also figures, which become evidence.
What it raises is a check that has not passed. RESULT.json appears whole.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import msgspec


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """What a check may look at. Folders are read-only; `champion` is empty before there is one."""

    name: str
    number: int
    folder: str
    metrics: dict[str, float]
    champion: str = ""
    champion_number: int = 0
    champion_metrics: dict[str, float] = {}


class ChecksRequest(msgspec.Struct, frozen=True, kw_only=True):
    gate: Gate
    checks: list[str]  # FILE.py:FUNCTION


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    check: str
    passed: bool
    said: str
    figures: dict[str, Any] = {}


def main(arguments: list[str]) -> int:
    request_path, result_path = arguments
    request = msgspec.json.decode(Path(request_path).read_bytes(), type=ChecksRequest)
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - as `python FILE.py` does
    results = [run(each, request.gate) for each in request.checks]
    for each in results:
        print(f"{'passed' if each.passed else 'FAILED'} {each.check}: {each.said}", flush=True)
    temporary = Path(result_path + ".part")
    temporary.write_bytes(msgspec.json.encode(results))
    temporary.rename(result_path)
    return 0


def run(check: str, gate: Gate) -> CheckResult:
    try:
        found = _function(check)(gate)
        passed, said, figures = (*found, {}, {})[:3] if isinstance(found, tuple) else (found, "", {})
        text = str(said or ("passed" if passed else "not passed"))
        msgspec.json.encode(figures)
        return CheckResult(check=check, passed=bool(passed), said=text, figures=dict(figures))
    except BaseException as error:  # somebody's code may raise anything, SystemExit too
        traceback.print_exc()
        return CheckResult(check=check, passed=False, said=f"{type(error).__name__}: {error}")


def _function(check: str) -> Any:
    path, _, name = check.partition(":")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"there is no Python file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return getattr(module, name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
