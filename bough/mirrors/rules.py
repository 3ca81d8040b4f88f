"""Pure decisions: shares as people write them, and what pairs of answers say together."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from bough.gateway.taps.pairs import Answered, Line, Pair, Passed
from bough.kernel.errors import Invalid
from bough.mirrors.models import ComparedSide, Example, FieldDifferences, ServiceComparison

EXAMPLES, FIELDS = 20, 50
STATUS = "status"  # the path of a difference between statuses, which are no amounts
SOURCE, TARGET = "source", "target"
_INDEX = re.compile(r"\[\d+\]")


def percent(text: str) -> float:
    """`5%`, `5` or `0.5%`, of the requests. Raises `Invalid` (SAMPLE_INVALID)."""
    try:
        found = float(text.strip().removesuffix("%"))
    except ValueError:
        found = math.nan
    if not 0 < found <= 100:
        raise Invalid(f"{text!r} is no share of the requests", code="SAMPLE_INVALID", hint="--sample 5%")
    return found


def side_of(side: str, service: str) -> str:
    """Under which name CPU is noted."""
    return f"{side} {service}"


def comparisons(
    lines: Iterable[Line], sides: tuple[str, str], cpu: dict[str, float], requests: dict[str, int] | None = None
) -> list[ServiceComparison]:
    """By service. `cpu`: seconds by `side_of`; `requests`: how many the source has answered in that time, where that
    is not what the mirror has seen."""
    pairs: dict[str, list[Pair]] = defaultdict(list)
    passed: dict[str, dict[str, Passed]] = defaultdict(dict)
    for line in lines:
        if isinstance(line, Pair):
            pairs[line.service].append(line)
        else:
            passed[line.service][line.life] = line
    return [
        _compared(each, pairs[each], list(passed[each].values()), sides, cpu, requests)
        for each in sorted({*pairs, *passed})
    ]


def percentile(sorted_values: Sequence[float], part: float) -> float:
    """By nearest rank (NIST); 0 of nothing."""
    if not sorted_values:
        return 0.0
    return sorted_values[max(0, math.ceil(part * len(sorted_values)) - 1)]


def _compared(
    service: str, pairs: list[Pair], passed: list[Passed], sides: tuple[str, str], cpu: dict[str, float],
    requests: dict[str, int] | None,
) -> ServiceComparison:  # fmt: skip
    seen = max(sum(each.seen for each in passed), len(pairs))
    counted = {SOURCE: (requests or {}).get(service, seen), TARGET: len(pairs)}
    made = {
        side: _side(
            environment, [getattr(each, side) for each in pairs], cpu.get(side_of(side, service)), counted[side]
        )
        for side, environment in zip((SOURCE, TARGET), sides, strict=True)
    }
    statuses = Counter(
        f"{each.source.status} -> {each.target.status}" for each in pairs if each.source.status != each.target.status
    )
    different = [each for each in pairs if not each.same]
    return ServiceComparison(
        service=service, seen=seen, compared=len(pairs), left_out=sum(each.left_out for each in passed),
        same=len(pairs) - len(different), source=made[SOURCE], target=made[TARGET],
        statuses=dict(statuses.most_common()), fields=_fields(different),
        examples=[Example(id=each.id, at=each.at, differences=each.differences) for each in different[:EXAMPLES]],
    )  # fmt: skip


def _side(environment: str, answers: Sequence[Answered], cpu_s: float | None, requests: int) -> ComparedSide:
    spent = sorted(1000 * each.seconds for each in answers if each.status)
    return ComparedSide(
        environment=environment, answers=len(spent),
        errors=sum(each.status >= 500 or not each.status for each in answers),
        p50_ms=round(percentile(spent, 0.5), 3), p95_ms=round(percentile(spent, 0.95), 3),
        p99_ms=round(percentile(spent, 0.99), 3),
        cpu_s_per_1000=-1.0 if cpu_s is None or not requests else round(1000 * cpu_s / requests, 4),
    )  # fmt: skip


def _fields(different: Iterable[Pair]) -> list[FieldDifferences]:
    counts: Counter[str] = Counter()
    apart: dict[str, list[float]] = defaultdict(list)
    for pair in different:
        counts.update({_INDEX.sub("[]", each.path) for each in pair.differences})
        for each in pair.differences:
            if each.path != STATUS and _is_number(each.source) and _is_number(each.target):
                apart[_INDEX.sub("[]", each.path)].append(abs(each.target - each.source))
    return [
        FieldDifferences(
            path=path, different=count, mean=sum(apart[path]) / len(apart[path]) if apart[path] else 0.0,
            largest=max(apart[path], default=0.0),
        )
        for path, count in counts.most_common(FIELDS)
    ]  # fmt: skip


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
