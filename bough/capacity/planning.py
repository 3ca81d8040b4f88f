"""The planner: exact backward induction over time left, slack, the zone with the age of its spell, and what runs.

Slack is the time beyond the work. Work on any machine leaves it as it is, waiting uses it up, a start takes a
changeover of it. A state whose slack no longer pays for a start of on-demand does not exist unless on-demand runs: the
grid of slacks begins there, so a plan cannot contain a step that could miss the deadline.

    values[time][mode, slack, state]   the least expected cost from there to the end
    state    available by age, then away by age (rates.EDGES_H); a spell grows older by chance, once a step on average
             in as many steps as the step of age is wide
    mode     nothing runs, spot runs, on-demand runs

One step of `step_h` hours follows the best of: wait, start or keep spot, start or keep on-demand. What each of them
costs is kept for every cell, and a decision is read off between cells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bough.capacity.rates import EDGES_H, PRIOR_PER_H, UNKNOWN_AGE_H, step_of
from bough.capacity.rules import Market

Grid = NDArray[np.float32]
AGES = len(PRIOR_PER_H)
STATES = 2 * AGES
NEVER = np.float32(1e9)
STEPS = 200  # of time; more cost time, and change what a job costs by about a thousandth


class Plan(NamedTuple):
    """`choices[time, choice, slack, state]`: what each choice costs from there to the end."""

    step_h: float
    market: Market
    choices: Grid

    def covers(self, time_h: float, slack_h: float) -> bool:
        """Whether the grid reaches so far; a little beyond its end, its end will do."""
        room = 2.0 * self.step_h
        times, _, slacks, _ = self.choices.shape
        return bool(time_h <= (times - 1) * self.step_h + room and slack_h <= self._least + slacks * self.step_h + room)

    def costs(self, time_h: float, slack_h: float, up: bool, age_step: int) -> list[float]:
        """Of wait, start spot, start on-demand, keep spot, keep on-demand; between cells, in between."""
        times, _, slacks, _ = self.choices.shape
        # The first cell of slack knows no waiting; that a shorter wait than a step is possible, the deadline's own rule
        # sees to.
        time, slack = time_h / self.step_h, max((slack_h - self._least) / self.step_h, 1.0)
        time, slack = min(time, times - 1.0), min(slack, slacks - 1.0)
        row, column = min(int(time), times - 2), min(int(slack), slacks - 2)
        late, loose = time - row, slack - column
        cells = self.choices[row : row + 2, :, column : column + 2, age_step + (0 if up else AGES)]
        there = (1.0 - loose) * cells[..., 0] + loose * cells[..., 1]
        found: list[float] = ((1.0 - late) * there[0] + late * there[1]).tolist()
        return found

    @property
    def _least(self) -> float:
        return self.market.changeover + self.market.loss


_HALVES = 64  # parts of a step in which a chance is worked out
MET = step_of(UNKNOWN_AGE_H)  # age of a zone that was not in use and is needed now
WAIT, START_SPOT, BUY, STAY, BOUGHT = range(5)


def plan(market: Market, time_h: float, slack_h: float, *, steps: int = STEPS) -> Plan:
    """For a job with `time_h` until its deadline and `slack_h` of that beyond its work."""
    step = time_h / steps
    slacks = market.changeover + market.loss + step * np.arange(max(math.ceil(slack_h / step), 1) + 1)
    stays, ends = _chances(market.available, step)
    lasts, comes = _chances(market.away, step)
    move = np.zeros((STATES, STATES), np.float32)  # the zone alone
    move[:AGES, :AGES], move[:AGES, AGES] = stays, ends
    move[AGES:, AGES:], move[AGES:, 0] = lasts, comes
    choices = np.empty((steps + 1, 5, len(slacks), STATES), np.float32)
    choices[0] = 0.0
    none = spot = bought = np.zeros((len(slacks), STATES), np.float32)
    changeover, loss = market.changeover / step, market.loss / step / 2.0  # half of it on average
    for number in range(1, steps + 1):
        here, now = choices[number], number * step
        work = np.maximum(now - slacks, 0.0).astype(np.float32)[:, None]
        first, half = np.minimum(work, step), np.minimum(work, step / 2.0)
        here[BOUGHT] = market.on_demand * first + bought @ move.T
        here[BUY] = _bought(here[BOUGHT], changeover, now, slacks, market)
        here[WAIT, 0] = NEVER
        here[WAIT, 1:, :AGES] = none[:-1] @ move[:AGES].T
        # What comes back within a step is used from its middle on.
        back = (none[1:, :1] + none[:-1, :1]) / 2.0 + market.spot * half[1:]
        here[WAIT, 1:, AGES:] = none[:-1, AGES:] @ lasts.T + back * comes
        # What is taken away within a step was used until its middle.
        gone = np.minimum(here[WAIT, :, AGES], here[BUY, :, AGES])[:, None]
        gone = (gone + none[:, AGES : AGES + 1]) / 2.0
        if market.elsewhere:
            another = none[:, MET : MET + 1] + market.spot * half
            gone = market.elsewhere * another + (1.0 - market.elsewhere) * gone
        gone = _less(gone, loss) + market.spot * half
        here[STAY, :, :AGES] = spot[:, :AGES] @ stays.T + market.spot * first * (1.0 - ends) + gone * ends
        here[START_SPOT, :, :AGES] = _less(here[STAY, :, :AGES], changeover)
        here[START_SPOT, :, AGES:] = here[STAY, :, AGES:] = NEVER
        here[:, work[:, 0] <= 0.0] = 0.0
        none = here[:3].min(axis=0)
        spot = np.minimum(none, here[STAY])
        bought = np.minimum(none, here[BOUGHT])
    return Plan(step, market, choices)


def _chances(leaving: Sequence[float], step: float) -> tuple[Grid, Grid]:
    """Of a spell, by age: that it lasts for a step and how old it is then, and that it ends."""
    widths = [high - low for low, high in zip((0.0, *EDGES_H), (*EDGES_H, math.inf), strict=True)]
    rate = np.diag([-leave - 1.0 / width for leave, width in zip(leaving, widths, strict=True)])
    rate += np.diag([1.0 / width for width in widths[:-1]], 1)
    lasts = np.linalg.matrix_power(np.linalg.inv(np.eye(AGES) - rate * step / _HALVES), _HALVES)
    return lasts.astype(np.float32), (1.0 - lasts.sum(axis=1)).astype(np.float32)


def _less(values: Grid, cells: float) -> Grid:
    """Values at a slack that is smaller by so many cells; where there is none: never."""
    whole, part = int(cells), cells % 1.0
    found = np.full_like(values, NEVER)
    if (room := len(values) - whole) > 0:
        found[whole:] = values[:room]
        if part:
            found[whole] = NEVER
            found[whole + 1 :] += np.float32(part) * (values[: room - 1] - values[1:room])
    return found


def _bought(going: Grid, cells: float, now: float, slacks: NDArray[np.floating[Any]], market: Market) -> Grid:
    """After starting on-demand: where too little slack remains to leave it again, it runs to the end."""
    to_the_end = market.on_demand * np.maximum(now - slacks + market.changeover, 0.0)
    found: Grid = np.minimum(_less(going, cells), to_the_end[:, None].astype(np.float32))
    return found
