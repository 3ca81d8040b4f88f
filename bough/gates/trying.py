"""The gates that ask real replicas: how good, how fair, how fast."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from bough.gates import measuring
from bough.gates.models import GateResult
from bough.gates.talking import Talk, value_of
from bough.gateway.mock import value
from bough.kernel.policy import EvaluationGate, LoadGate
from bough.runtime.frames import Signature

Rows = list[dict[str, Any]]
AT_ONCE = 32  # requests under way in an evaluation, which measures no time
WARM_UP = 20  # requests of a load test that do not count


def evaluate(gate: EvaluationGate, rows: Rows, candidate: str, champion: str) -> Iterator[GateResult]:
    """`candidate`, `champion`: addresses; no champion before the first."""
    if not rows or gate.label not in rows[0]:
        said = f"{gate.data} has no column {gate.label!r}" if rows else f"{gate.data} has no rows"
        yield GateResult(gate="evaluation", passed=False, said=said)
        return
    labels = [row[gate.label] for row in rows]
    hidden = {gate.label, *gate.hidden}
    bodies = [msgspec.json.encode({key: each for key, each in row.items() if key not in hidden}) for row in rows]
    mine, failed = _answers(candidate, bodies, gate.answer)
    if failed:
        yield GateResult(gate="evaluation", passed=False, said=failed)
        return
    score = measuring.SCORES[gate.metric](labels, mine)
    figures: dict[str, Any] = {"metric": gate.metric, "rows": len(rows), "candidate": score}
    missed = []
    if gate.min is not None and not score >= gate.min:
        missed.append(f"below {gate.min:g}")
    if gate.max is not None and not score <= gate.max:
        missed.append(f"above {gate.max:g}")
    said = f"{gate.metric} {score:.4g} on {len(rows)} rows"
    if champion and gate.worse is not None:
        theirs, failed = _answers(champion, bodies, gate.answer)
        if failed:
            yield GateResult(gate="evaluation", passed=False, said=f"the champion: {failed}")
            return
        low, high = measuring.gain(
            gate.metric, labels, mine, theirs, rounds=gate.rounds, confidence=gate.confidence, seed=gate.seed
        )
        figures |= {"champion": measuring.SCORES[gate.metric](labels, theirs), "gain": [low, high], "seed": gate.seed}
        said += f", {figures['champion']:.4g} for the champion, better by {low:.3g} to {high:.3g}"
        if not low >= -gate.worse:
            missed.append(f"may be worse than the champion by more than {gate.worse:g}")
    text = said + (f": {' and '.join(missed)}" if missed else "")
    yield GateResult(gate="evaluation", passed=not missed, said=text, figures=_plain(figures))
    for column in gate.groups:
        yield _fair(gate, column, rows, labels, mine)


def load(gate: LoadGate, rows: Rows, signature: Signature | None, candidate: str) -> GateResult:
    if rows:
        inputs: list[Any] = list(rows)
    else:
        dice, schema = random.Random(0), signature.input if signature is not None else {}  # noqa: S311 - repeatable
        inputs = [value(schema, dice) for _ in range(min(gate.requests, 100))]
    bodies = [msgspec.json.encode(inputs[at % len(inputs)]) for at in range(gate.requests)]
    with Talk(candidate) as talk:
        for _ in talk.ask(bodies[:WARM_UP], gate.concurrency):
            pass
        began = time.perf_counter()
        answers = list(talk.ask(bodies, gate.concurrency))
        spent = time.perf_counter() - began
    taken = sorted(each.seconds * 1000 for each in answers)
    errors = sum(each.status >= 400 for each in answers) / len(answers)
    figures = {f"p{share}_ms": round(measuring.quantile(taken, share / 100), 3) for share in (50, 95, 99)}
    figures |= {"per_s": round(len(answers) / spent, 1), "error_rate": errors, "requests": len(answers)}
    figures |= {"concurrency": gate.concurrency}
    missed = [
        f"{name} over {bound:g}"
        for name, bound in (("p50_ms", gate.p50_ms), ("p95_ms", gate.p95_ms), ("p99_ms", gate.p99_ms))
        if bound and not figures[name] <= bound
    ]
    if gate.min_per_s and not figures["per_s"] >= gate.min_per_s:
        missed.append(f"below {gate.min_per_s:g} a second")
    if errors > gate.max_error_rate:
        missed.append(
            f"{errors:.1%} failed, such as: {next(each for each in answers if each.status >= 400).body[:200]!r}"
        )
    said = f"p50 {figures['p50_ms']:g}, p95 {figures['p95_ms']:g}, p99 {figures['p99_ms']:g} ms, {figures['per_s']:g}/s"
    text = said + (f": {'; '.join(missed)}" if missed else "")
    return GateResult(gate="load", passed=not missed, said=text, figures=figures)


def compare(gate: Any, before: Mapping[str, Rows], after: Mapping[str, Rows]) -> GateResult:
    """The candidate's training data (`after`) held against the champion's, source by source."""
    missed: list[str] = []
    figures: dict[str, Any] = {"rows": [sum(map(len, data.values())) for data in (before, after)]}
    for source in sorted(before.keys() | after.keys()):
        if source not in before or source not in after:
            missed.append(f"{source}: only the {'candidate' if source in after else 'champion'} was trained on it")
            continue
        old, new = before[source], after[source]
        for column in dict.fromkeys(key for rows in (old, new) for row in rows for key in row):
            if column in gate.ignore:
                continue
            name = f"{source}.{column}" if len(after) > 1 else column
            found = _compared(gate, *([row.get(column) for row in rows] for rows in (old, new)))
            figures[name] = _plain(found)
            missed += [f"{name}: {each}" for each in found["missed"]]
    said = f"{len(figures) - 1} columns of {figures['rows'][1]} rows" + (
        f": {'; '.join(missed)}" if missed else " are alike"
    )
    return GateResult(gate="data", passed=not missed, said=said, figures=figures)


def _compared(gate: Any, old: list[Any], new: list[Any]) -> dict[str, Any]:
    gone = [sum(_missing(each) for each in values) / max(len(values), 1) for values in (old, new)]
    there, now = ([each for each in values if not _missing(each)] for values in (old, new))
    found: dict[str, Any] = {"missing": gone, "psi": measuring.psi(there, now)}
    missed = []
    if gone[1] - gone[0] > gate.max_missing:
        missed.append(f"{gone[1]:.1%} missing, was {gone[0]:.1%}")
    if found["psi"] > gate.max_psi:
        missed.append(f"psi {found['psi']:.3g}")
    if there and now and all(measuring.is_number(each) for each in (*there, *now)):
        found["ks"] = measuring.ks(there, now)
        found["range"] = [min(there), max(there)]
        found["outside"] = sum(not min(there) <= each <= max(there) for each in now) / len(now)
        if found["ks"] > gate.max_ks:
            missed.append(f"ks {found['ks']:.3g}")
        if found["outside"] > gate.outside:
            missed.append(f"{found['outside']:.1%} outside {min(there):g} to {max(there):g}")
    return found | {"missed": missed}


def _fair(gate: EvaluationGate, column: str, rows: Rows, labels: list[Any], mine: list[Any]) -> GateResult:
    found = measuring.by_group(gate.metric, labels, mine, [row.get(column) for row in rows])
    name, least = f"fairness.{column}", measuring.LEAST_IN_GROUP
    if len(found) < 2:
        said = f"fewer than two groups of {column} have {least} rows: nothing to compare"
        return GateResult(gate=name, passed=False, said=said, figures={"groups": _plain(found)})
    worst, best = min(found, key=lambda group: found[group]), max(found, key=lambda group: found[group])
    gap = found[best] - found[worst]
    fair = gap <= gate.max_gap
    said = f"{gate.metric} from {found[worst]:.4g} ({worst}) to {found[best]:.4g} ({best})"
    said += "" if fair else f": further apart than {gate.max_gap:g}"
    return GateResult(gate=name, passed=fair, said=said, figures={"groups": _plain(found), "gap": gap})


def _answers(address: str, bodies: list[bytes], key: str) -> tuple[list[Any], str]:
    """What a replica says to each, in order; or why that cannot be compared."""
    found: list[Any] = [None] * len(bodies)
    with Talk(address) as talk:
        for each in talk.ask(bodies, AT_ONCE):
            if each.status >= 400:
                return (
                    [],
                    f"row {each.number} was refused with {each.status}: {each.body[:200].decode(errors='replace')}",
                )
            try:
                found[each.number] = value_of(each, key)
            except (KeyError, IndexError, TypeError, ValueError) as error:
                what = each.body[:200].decode(errors="replace")
                return [], f"the answer {what} has no {key!r} ({type(error).__name__}); say which part is meant: answer"
    return found, ""


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _plain(figures: dict[str, Any]) -> dict[str, Any]:
    """JSON has neither NaN nor infinity."""
    return {key: None if isinstance(each, float) and not math.isfinite(each) else each for key, each in figures.items()}
