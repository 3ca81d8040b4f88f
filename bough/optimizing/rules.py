"""Which contender is good enough, and which of those is the best: pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from bough.gates import measuring
from bough.optimizing.models import AFTER, BEFORE, Contender, Judging

CONFIDENCE, ROUNDS, SEED = 0.95, 1000, 0  # of the bootstrap that says how far a loss may reach
NOTICED = 0.97  # of the core time or the bytes: less of a gain is within what two measurements differ by
_HOUR_S = 3600.0


def score(judging: Judging, labels: Sequence[Any], answers: Sequence[Any]) -> float:
    return measuring.SCORES[judging.metric](labels, answers)


def judged(judging: Judging, labels: Sequence[Any], mine: Sequence[Any], theirs: Sequence[Any]) -> tuple[float, float]:
    """By how much a contender (`mine`) is worse than the version before: the point, and the end of the interval."""
    sign = 1.0 if measuring.HIGHER_IS_BETTER[judging.metric] else -1.0
    loss = sign * (score(judging, labels, theirs) - score(judging, labels, mine))
    low, _ = measuring.gain(
        judging.metric, labels, mine, theirs, rounds=ROUNDS, confidence=CONFIDENCE, seed=SEED
    )  # fmt: skip
    return loss, -low


def gated(judging: Judging, before: Contender, contender: Contender) -> Contender:
    """With what the gate says of it; written so that NaN fails."""
    if not contender.worst <= judging.max_loss:
        said = f"may lose {contender.worst:.3g} of {judging.metric}, and {judging.max_loss:g} is allowed"
        return msgspec.structs.replace(contender, passed=False, said=said)
    if not is_cheaper(before, contender):
        return msgspec.structs.replace(contender, passed=False, said="neither smaller nor faster than before")
    return msgspec.structs.replace(contender, passed=True, said=_gains(before, contender))


def is_cheaper(before: Contender, contender: Contender) -> bool:
    return contender.bytes <= before.bytes * NOTICED or contender.core_s <= before.core_s * NOTICED


def choose(contenders: Sequence[Contender]) -> Contender | None:
    """Of those that passed: the one that needs least of a core, and of equal ones the smallest."""
    passed = [each for each in contenders if each.passed and each.name != BEFORE]
    return min(passed, key=lambda each: (round(each.core_s, 4), each.bytes), default=None)


def cost(core_s: float, core_hour: float) -> float:
    """Of 1,000 answers; -1 where nobody said what a core costs."""
    return core_s / _HOUR_S * core_hour if core_hour > 0 else -1.0


def summary(contenders: Sequence[Contender], chosen: Contender | None) -> str:
    """In a sentence, what came of it."""
    if chosen is not None:
        return chosen.said if chosen.name == AFTER else f"{chosen.name}: {chosen.said}"
    named = [("the student" if each.name == AFTER else each.name, each) for each in contenders if each.name != BEFORE]
    refused = [f"{name} {each.said}" for name, each in named]
    return "; ".join(refused) or "nothing was made"


def _gains(before: Contender, contender: Contender) -> str:
    size = f"{contender.bytes / before.bytes:.0%} of the size" if before.bytes else ""
    core = f"{contender.core_s / before.core_s:.0%} of the core time" if before.core_s else ""
    loss = "no loss" if math.isclose(contender.loss, 0.0, abs_tol=1e-12) else f"a loss of {contender.loss:.3g}"
    return ", ".join(filter(None, (size, core, loss)))
