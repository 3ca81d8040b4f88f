"""How long a job takes from the decision for a machine until it makes steps there, learnt from its own attempts.

Every attempt that made steps tells two things: how long it took until its first one (start, imports, what the first
step took longer than others), and, where there was something to go back to, how long that took. They are kept apart,
for most attempts of a job that nobody interrupts go back to nothing.

Two figures come of them. `usual_s` is what plans count with: the weighted median of what was measured and of a prior
that weighs more than one measurement and less than two, so a single one, which may be an outlier, moves nothing, and
two that agree do. `most_s` is what the deadline is kept with: the second longest that was seen, and half of it more.
Pure.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec

PRIOR_S = 60.0  # what an image, a framework and a model of some gigabytes take
PRIOR_WEIGHT = 1.5  # in measurements
RESTORE_PRIOR_S = 20.0  # the part of it that goes back to a checkpoint
KEPT = 9  # measurements; older ones are of another program, or of other data
MARGIN = 1.5  # of the deadline, over the second longest


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """Of one attempt. `restore_s` -1: there was nothing to go back to."""

    start_s: float
    restore_s: float = -1.0


class Changeover(msgspec.Struct, frozen=True, kw_only=True):
    """`measured`: on how many attempts it rests; 0: on nothing but the prior."""

    usual_s: float = PRIOR_S
    most_s: float = PRIOR_S
    measured: int = 0


def learnt(attempts: Sequence[Measured]) -> Changeover:
    """From attempts of one job, oldest first."""
    if not attempts:
        return Changeover()
    restores = [each.restore_s for each in attempts if each.restore_s >= 0]
    restore_s = statistics.median(restores) if restores else RESTORE_PRIOR_S
    totals = [each.start_s + (each.restore_s if each.restore_s >= 0 else restore_s) for each in attempts]
    usual_s = _weighted_median([(total, 1.0) for total in totals] + [(PRIOR_S, PRIOR_WEIGHT)])
    second = sorted([*totals, PRIOR_S])[-2]
    most_s = max(MARGIN * second, usual_s) if len(totals) > 1 else max(*totals, PRIOR_S)
    return Changeover(usual_s=usual_s, most_s=most_s, measured=len(totals))


def _weighted_median(values: list[tuple[float, float]]) -> float:
    """The smallest value at which half of the weight is reached."""
    half, reached = sum(weight for _, weight in values) / 2.0, 0.0
    for value, weight in sorted(values):
        reached += weight
        if reached >= half:
            return value
    raise ValueError("nothing has no median")
