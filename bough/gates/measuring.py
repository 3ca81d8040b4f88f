"""Figures of answers and of data: pure, seeded, without any library."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

Score = Callable[[Sequence[Any], Sequence[Any]], float]
HIGHER_IS_BETTER = {"accuracy": True, "f1": True, "auc": True, "rmse": False, "mae": False}
LEAST_IN_GROUP = 20  # rows: fewer say nothing about a group
BINS = 10  # of a distribution
_RESAMPLED = 2000  # rows, of metrics that must be worked out anew for every resample
_TINY = 1e-4  # in place of an empty bin: a logarithm needs something


def accuracy(labels: Sequence[Any], answers: Sequence[Any]) -> float:
    return sum(same(one, other) for one, other in zip(labels, answers, strict=True)) / len(labels)


def f1(labels: Sequence[Any], answers: Sequence[Any]) -> float:
    """Of the larger of two labels, which is the positive one."""
    positive = max(labels, key=_order)
    right = sum(same(label, positive) and same(answer, positive) for label, answer in zip(labels, answers, strict=True))
    named = sum(same(answer, positive) for answer in answers)
    there = sum(same(label, positive) for label in labels)
    return 2 * right / (named + there) if named + there else 0.0


def auc(labels: Sequence[Any], answers: Sequence[Any]) -> float:
    """The chance that a positive is ranked above a negative; ties count half. NaN without both."""
    positive = max(labels, key=_order)
    ranked = sorted((number(answer), same(label, positive)) for label, answer in zip(labels, answers, strict=True))
    positives = sum(is_positive for _, is_positive in ranked)
    negatives = len(ranked) - positives
    if not positives or not negatives:
        return math.nan
    below, at, won = 0, 0, 0.0
    while at < len(ranked):
        end = at
        while end < len(ranked) and ranked[end][0] == ranked[at][0]:
            end += 1
        mine = sum(is_positive for _, is_positive in ranked[at:end])
        others = end - at - mine
        won += mine * (below + others / 2)
        below, at = below + others, end
    return won / (positives * negatives)


def mae(labels: Sequence[Any], answers: Sequence[Any]) -> float:
    return sum(abs(number(one) - number(other)) for one, other in zip(labels, answers, strict=True)) / len(labels)


def rmse(labels: Sequence[Any], answers: Sequence[Any]) -> float:
    total = sum((number(one) - number(other)) ** 2 for one, other in zip(labels, answers, strict=True))
    return math.sqrt(total / len(labels))


SCORES: dict[str, Score] = {"accuracy": accuracy, "f1": f1, "auc": auc, "rmse": rmse, "mae": mae}


def gain(
    metric: str, labels: Sequence[Any], mine: Sequence[Any], theirs: Sequence[Any], *, rounds: int, confidence: float,
    seed: int,
) -> tuple[float, float]:  # fmt: skip
    """Between which bounds the candidate is better than the champion on such data (below 0: worse): a paired bootstrap,
    the same rows for both."""
    score, sign = SCORES[metric], 1.0 if HIGHER_IS_BETTER[metric] else -1.0
    dice = random.Random(seed)  # noqa: S311 - repeatable, not secret
    places = range(len(labels))
    if len(places) > _RESAMPLED:
        places = range(_RESAMPLED)
        chosen = dice.sample(range(len(labels)), _RESAMPLED)
        labels, mine, theirs = ([each[at] for at in chosen] for each in (labels, mine, theirs))
    found = []
    for _ in range(rounds):
        drawn = dice.choices(places, k=len(places))
        right = [labels[at] for at in drawn]
        better = score(right, [mine[at] for at in drawn]) - score(right, [theirs[at] for at in drawn])
        found.append(sign * better)
    found = sorted(each for each in found if not math.isnan(each))
    if not found:
        return math.nan, math.nan
    outside = (1 - confidence) / 2
    return found[int(outside * len(found))], found[min(int((1 - outside) * len(found)), len(found) - 1)]


def by_group(metric: str, labels: Sequence[Any], answers: Sequence[Any], groups: Sequence[Any]) -> dict[str, float]:
    """The metric of every group with enough rows."""
    places: dict[str, list[int]] = {}
    for at, group in enumerate(groups):
        places.setdefault(str(group), []).append(at)
    found = {
        group: SCORES[metric]([labels[at] for at in mine], [answers[at] for at in mine])
        for group, mine in sorted(places.items())
        if len(mine) >= LEAST_IN_GROUP
    }
    return {group: value for group, value in found.items() if not math.isnan(value)}


def psi(before: Sequence[Any], after: Sequence[Any]) -> float:
    """Population stability index: numbers in the champion's deciles, anything else by value."""
    if not before or not after:
        return 0.0 if before == after else math.inf
    if all(is_number(each) for each in (*before, *after)):
        ordered = sorted(map(number, before))
        edges = sorted({ordered[min(len(ordered) * at // BINS, len(ordered) - 1)] for at in range(1, BINS)})

        def bin_of(value: Any) -> Any:
            return sum(number(value) > edge for edge in edges)
    else:

        def bin_of(value: Any) -> Any:
            return str(value)

    old, new = (Counter(map(bin_of, each)) for each in (before, after))
    total = 0.0
    for each in old.keys() | new.keys():
        was, now = max(old[each] / len(before), _TINY), max(new[each] / len(after), _TINY)
        total += (now - was) * math.log(now / was)
    return total


def ks(before: Sequence[float], after: Sequence[float]) -> float:
    """The largest distance between two distributions of numbers (Kolmogorov-Smirnov)."""
    one, other = sorted(before), sorted(after)
    if not one or not other:
        return 0.0
    first = second = 0
    most = 0.0
    while first < len(one) and second < len(other):
        at = min(one[first], other[second])
        while first < len(one) and one[first] == at:
            first += 1
        while second < len(other) and other[second] == at:
            second += 1
        most = max(most, abs(first / len(one) - second / len(other)))
    return most


def quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def number(value: Any) -> float:
    """NaN for what is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def same(one: Any, other: Any) -> bool:
    """1 and 1.0 and "1" are one label: what a file calls it, and what a model does."""
    return bool(one == other) or str(one) == str(other) or (number(one) == number(other))


def _order(value: Any) -> tuple[bool, float, str]:
    return is_number(value), number(value) if is_number(value) else 0.0, str(value)
