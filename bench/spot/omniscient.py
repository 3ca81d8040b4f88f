"""The optimum of somebody who knows everything beforehand: exact, by backward induction over ticks and work left."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.spot.judge import TICK_H, Setting

Row = NDArray[np.float64]


def best(zones: Sequence[Sequence[int]], start: int, setting: Setting) -> float:
    """The least cost at which the work is done in time; `values[mode][w]` is the cost to go with `w` ticks of work left
    for a machine that is up (a changeover is work that has to be done first)."""
    most = setting.work + setting.changeover
    spot, on_demand = setting.spot_per_h * TICK_H, setting.on_demand_per_h * TICK_H
    never = np.full(most + 1, np.inf)
    never[0] = 0.0
    none, bought = never.copy(), never.copy()
    held = [never.copy() for _ in zones]
    for tick in range(setting.deadline - 1, -1, -1):
        running = _after(bought, on_demand)
        on_spot = [
            _after(value, spot) if zone[start + tick] else None for zone, value in zip(zones, held, strict=True)
        ]  # fmt: skip
        best_none = none.copy()
        for after in (running, *on_spot):
            if after is not None:
                np.minimum(best_none, _started(after, setting.changeover), out=best_none)
        none = best_none
        bought = np.minimum(none, running)
        held = [none if after is None else np.minimum(none, after) for after in on_spot]
    return float(none[setting.work])


def _after(value: Row, cost: float) -> Row:
    """One tick of a machine that is up."""
    after = np.empty_like(value)
    after[0] = 0.0
    after[1:] = value[:-1] + cost
    return after


def _started(after: Row, changeover: int) -> Row:
    """A start: more work. Nobody with work left beyond the table starts in time."""
    started = np.full_like(after, np.inf)
    started[0] = 0.0
    started[1 : len(after) - changeover] = after[1 + changeover :]
    return started
