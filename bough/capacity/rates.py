"""How soon a spell ends, by its age: what is believed beforehand, and what a zone has taught since.

A spell is the time for which a zone has been available, or not, without a break. Young spells end far sooner than old
ones, in both directions, so the rate of leaving is kept by age: steps of a function that falls as a power of the age.
Each step of age has a Gamma prior with Poisson evidence, so learning is adding up: time spent at an age, and spells
that ended there. What is seen at one age also tells of the ages beside it, less with every step between. One factor for
a whole zone was tried and is worse: most ends are those of young spells, and say little about old ones.
Pure, and quick enough for every turn.
"""

from __future__ import annotations

import bisect
import functools

import msgspec

EDGES_H = (0.12, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # where steps end; the last has no end
# Per hour, at the middle of each step: 0.5 / age^0.7, so that a spell of ten minutes ends some fifteen times sooner
# than one of half a day.
PRIOR_PER_H = (3.6, 1.7, 1.04, 0.64, 0.39, 0.24, 0.15, 0.093, 0.054)
PRIOR_ENDS = 1.0  # what the prior is worth: one end of a spell at each age
NEIGHBOUR = 0.4  # what evidence is worth one step of age away
_WEIGHTS = [[NEIGHBOUR ** abs(step - other) for other in range(len(PRIOR_PER_H))] for step in range(len(PRIOR_PER_H))]
UNKNOWN_AGE_H = 1.0  # of a spell that began before anybody looked: not young, or it would hardly have been met


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """Of spells of one kind (available, or not), by step of age: hours looked on, and ends seen."""

    hours: tuple[float, ...] = (0.0,) * len(PRIOR_PER_H)
    ends: tuple[float, ...] = (0.0,) * len(PRIOR_PER_H)


def step_of(age_h: float) -> int:
    return bisect.bisect_right(EDGES_H, age_h)


def looked_on(seen: Seen, from_h: float, to_h: float, *, ended: bool) -> Seen:
    """After watching a spell from one age to another."""
    hours, ends = list(seen.hours), list(seen.ends)
    for step, (low, high) in enumerate(zip((0.0, *EDGES_H), (*EDGES_H, float("inf")), strict=True)):
        if from_h < high and to_h > low:
            hours[step] += min(to_h, high) - max(from_h, low)
    if ended:
        ends[step_of(to_h)] += 1.0
    return Seen(hours=tuple(hours), ends=tuple(ends))


@functools.lru_cache(maxsize=1024)
def rates(seen: Seen) -> tuple[float, ...]:
    """Ends per hour, by step of age."""
    found = []
    for step, rate in enumerate(PRIOR_PER_H):
        ends = expected = PRIOR_ENDS
        for weight, hours, each, prior in zip(_WEIGHTS[step], seen.hours, seen.ends, PRIOR_PER_H, strict=True):
            ends, expected = ends + weight * each, expected + weight * hours * prior
        found.append(rate * ends / expected)
    return tuple(found)
