"""Decisions of gates that need no file: metrics, inputs and outputs, size; and what makes evidence."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Any

import msgspec

from bough.gates.models import GateResult, GateRun
from bough.kernel.policy import Gates, MetricGate
from bough.registry.models import ModelSignature, Version
from bough.runtime.frames import Tensor

MEGABYTE = 1 << 20


def policy_digest(gates: Gates) -> str:
    return hashlib.sha256(msgspec.json.encode(gates, order="sorted")).hexdigest()


def evidence(run: GateRun, result: GateResult) -> bytes:
    """The blob of a result: what was found, of which version, under which policy, against which champion."""
    whole = {
        "gate": result.gate, "passed": result.passed, "said": result.said, "figures": result.figures,
        "project": run.project, "environment": run.environment, "version": run.subject, "against": run.against,
        "policy": run.policy, "run": run.id,
    }  # fmt: skip
    return msgspec.json.encode(whole, order="sorted")


def summary(results: list[GateResult]) -> str:
    """Of all evidence together: what an approval is bound to."""
    lines = sorted(f"{each.gate} {each.passed} {each.evidence}" for each in results)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def unit_needed(gates: Gates) -> bool:
    """Whether something must be read or run."""
    return bool(gates.scan or gates.data or needs_replicas(gates))  # `checks` have a process of their own


def needs_replicas(gates: Gates) -> bool:
    return bool(gates.evaluation or gates.load)


def decide(gates: Gates, version: Version, champion: Version | None) -> Iterator[GateResult]:
    """The gates that the registry alone can answer."""
    for name, bounds in sorted(gates.metrics.items()):
        yield _metric(name, bounds, version, champion)
    if gates.signature:
        yield _signature(version, champion)
    if gates.max_size_mb:
        size = version.bytes / MEGABYTE
        fits = size <= gates.max_size_mb
        said = (
            f"{size:.2f} MB, {'at most' if fits else 'over the'} {gates.max_size_mb:g} MB{' allowed' if fits else ''}"
        )
        yield GateResult(gate="size", passed=fits, said=said, figures={"bytes": version.bytes})


def _metric(name: str, bounds: MetricGate, version: Version, champion: Version | None) -> GateResult:
    gate, value = f"metrics.{name}", version.facts.metrics.get(name)
    if value is None:
        known = ", ".join(sorted(version.facts.metrics)) or "none"
        return GateResult(gate=gate, passed=False, said=f"the version has no metric {name!r}; it has {known}")
    before = champion.facts.metrics.get(name) if champion is not None else None
    figures: dict[str, Any] = {"value": value, "champion": before}
    missed = []
    if bounds.min is not None and not value >= bounds.min:  # written so that NaN fails
        missed.append(f"below {bounds.min:g}")
    if bounds.max is not None and not value <= bounds.max:
        missed.append(f"above {bounds.max:g}")
    if bounds.worse is not None and before is not None:
        loss = before - value if bounds.higher_is_better else value - before
        if not (loss <= bounds.worse or math.isclose(loss, bounds.worse, rel_tol=1e-9)):  # 0.9 - 0.89 is not 0.01
            missed.append(f"worse than the champion's {before:g} by more than {bounds.worse:g}")
    said = f"{name} {value:g}" + (f" is {' and '.join(missed)}" if missed else "")
    return GateResult(gate=gate, passed=not missed, said=said, figures=figures)


def _signature(version: Version, champion: Version | None) -> GateResult:
    mine, before = version.signature, champion.signature if champion is not None else None
    if mine is None:
        return GateResult(gate="signature", passed=False, said="nobody said what the version takes and gives")
    if before is None:
        return GateResult(gate="signature", passed=True, said="there is no champion whose callers expect anything")
    broken = [*_lost("input", before, mine), *_lost("output", before, mine)]
    said = "; ".join(broken) if broken else "takes and gives what the champion does"
    return GateResult(gate="signature", passed=not broken, said=said)


def _lost(what: str, before: ModelSignature, after: ModelSignature) -> Iterator[str]:
    """What callers of the old one would miss: an input that is new and must be given, another type or shape, an output
    that is gone."""
    old = {each.name: each for each in (before.inputs if what == "input" else before.outputs)}
    new = {each.name: each for each in (after.inputs if what == "input" else after.outputs)}
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            yield f"{what} {name!r} is gone"
        elif name not in old:
            if what == "input":
                yield f"input {name!r} is new: callers do not send it"
        elif not _fits(old[name], new[name]):
            yield f"{what} {name!r} is {_shown(new[name])}, and was {_shown(old[name])}"


def _fits(old: Tensor, new: Tensor) -> bool:
    same = old.datatype == new.datatype and len(old.shape) == len(new.shape)
    return same and all(b in (-1, a) for a, b in zip(old.shape, new.shape, strict=True))


def _shown(tensor: Tensor) -> str:
    return f"{tensor.datatype}{tensor.shape}"
