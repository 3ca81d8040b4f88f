"""The planner: exact backward induction over time left, slack, the zone with the age of its spell, and what runs.

Slack is the time beyond the work. Work on any machine leaves it as it is, waiting uses it up, a start takes a
changeover of it. A state whose slack no longer pays for a start of on-demand does not exist unless on-demand runs: the
grid of slacks begins there, so a plan cannot contain a step that could miss the deadline.

    values[time][mode, state, slack]   the least expected cost from there to the end
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
from bough.capacity.rules import TIE_H, Market

Grid = NDArray[np.float32]
AGES = len(PRIOR_PER_H)
STATES = 2 * AGES
NEVER = np.float32(1e9)
STEPS = 200  # of time; more cost time, and change what a job costs by about a thousandth


class Plan(NamedTuple):
    """`choices[time, choice, state, slack]`: what each choice costs from there to the end."""

    step_h: float
    market: Market
    choices: Grid

    def covers(self, time_h: float, slack_h: float) -> bool:
        """Whether the grid reaches so far; a little beyond its end, its end will do."""
        room = 2.0 * self.step_h
        times, _, _, slacks = self.choices.shape
        return bool(time_h <= (times - 1) * self.step_h + room and slack_h <= self.least + slacks * self.step_h + room)

    def costs(self, time_h: float, slack_h: float, up: bool, age_step: int) -> list[float]:
        """Of wait, start spot, start on-demand, keep spot, keep on-demand; between cells, in between."""
        times, _, _, slacks = self.choices.shape
        # The first cell of slack knows no waiting; that a shorter wait than a step is possible, the deadline's own rule
        # sees to.
        time, slack = time_h / self.step_h, max((slack_h - self.least) / self.step_h, 1.0)
        time, slack = min(time, times - 1.0), min(slack, slacks - 1.0)
        row, column = min(int(time), times - 2), min(int(slack), slacks - 2)
        late, loose = time - row, slack - column
        cells = self.choices[row : row + 2, :, age_step + (0 if up else AGES), column : column + 2]
        below, above = cells[..., 0], cells[..., 1]
        there = (1.0 - loose) * below + loose * above
        # Cells begin anywhere beside the slack that a start of spot needs, and must neither forbid nor allow one.
        if slack_h >= self.least + self.market.changeover - TIE_H:
            there = np.where(below >= NEVER, above, there)
        else:
            there[:, START_SPOT] = NEVER
        found: list[float] = ((1.0 - late) * there[0] + late * there[1]).tolist()
        return found

    def forecast(self, time_h: float, slack_h: float, *, up: bool, age_step: int) -> Forecast:
        return forecast(self, time_h, slack_h, up=up, age_step=age_step)

    def picture(self, *, up: bool, age_step: int) -> list[str]:
        return decision_map(self, up=up, age_step=age_step)

    @property
    def least(self) -> float:
        """The slack at which the grid begins."""
        return self.market.changeover + self.market.loss


_HALF = np.float32(0.5)
_HALVES = 64  # parts of a step in which a chance is worked out
MET = step_of(UNKNOWN_AGE_H)  # age of a zone that was not in use and is needed now
WAIT, START_SPOT, BUY, STAY, BOUGHT = range(5)


def plan(market: Market, time_h: float, slack_h: float, *, steps: int = STEPS) -> Plan:
    """For a job with `time_h` until its deadline and `slack_h` of that beyond its work."""
    step = time_h / steps
    slacks = market.changeover + market.loss + step * np.arange(max(math.ceil(slack_h / step), 1) + 1)
    now = step * np.arange(steps + 1)[:, None]
    work = np.maximum(now - slacks, 0.0)
    first, half = np.minimum(work, step), np.minimum(work, step / 2.0)
    prices = np.stack([market.on_demand * first, market.spot * half, market.spot * first], axis=1).astype(np.float32)
    busy = (work > 0.0).sum(axis=1).tolist()
    choices = np.empty((steps + 1, 5, STATES, len(slacks)), np.float32)
    choices[:, WAIT, :, 0] = choices[:, START_SPOT] = choices[:, STAY] = NEVER
    # After starting on-demand: where too little slack remains to leave it again, it runs to the end.
    choices[:, BUY] = (market.on_demand * np.maximum(now - slacks + market.changeover, 0.0))[:, None]
    choices[0] = 0.0
    induction = _Induction(market, step, len(slacks))
    for number in range(1, steps + 1):
        induction.go_back(choices[number], prices[number], busy[number])
    return Plan(step, market, choices)


class _Induction:
    """The values of one time, and beside them all that those of the step before are made of besides, so that a step
    back is three products of matrices and little else: for so few cells, a call of numpy takes longer than its work.

        bought, price | half a price, price, gone, spot | back, none    rows; their columns are the slacks, and each
                                                                        part is what one product takes
    """

    def __init__(self, market: Market, step: float, slacks: int) -> None:
        move = zone_moves(market, step)
        stays, ends, comes = move[:AGES, :AGES], move[:AGES, AGES], move[AGES:, 0]
        rows = np.zeros((3 * STATES + 5 - AGES, slacks), np.float32)
        cuts = np.cumsum((STATES, 1, 2, 1, AGES, 1))
        self._bought, _, _, gone, self._spot, back, self._none = np.split(rows, cuts)
        self._prices, self._gone, self._back = rows[STATES : STATES + 3], gone[0], back[0, :-1]
        self._to_bought, self._to_stay, self._to_wait = rows[: cuts[1]], rows[cuts[1] : cuts[4]], rows[cuts[4] :, :-1]
        self._bought_moves = np.hstack([move, np.ones((STATES, 1), np.float32)])
        self._stay_moves = np.column_stack([ends, 1.0 - ends, ends, stays])
        self._wait_moves = np.hstack([np.zeros((STATES, 1), np.float32), move])
        # What comes back within a step is used from its middle on.
        self._wait_moves[AGES:, 0], self._wait_moves[AGES:, 1] = comes, 0.0
        self._changeover, self._loss = _Shift.by(market.changeover / step), _Shift.by(market.loss / step / 2.0)
        self._started = np.full((STATES, slacks), NEVER)
        self._elsewhere = np.float32(market.elsewhere)

    def go_back(self, here: Grid, prices: Grid, busy: int) -> None:
        """From the values of one time to those of the step before: `here` gets what each choice costs then. Of the
        slacks, the first `busy` leave work to do."""
        wait, start, buy, stay, keep = here
        start, stay, none = start[:AGES], stay[:AGES], self._none
        self._prices[:] = prices
        np.matmul(self._bought_moves, self._to_bought, out=keep)
        self._changeover(keep, self._started)
        np.minimum(buy, self._started, out=buy)
        np.add(none[0, 1:], none[0, :-1], out=self._back)
        self._back *= _HALF
        self._back += prices[1, 1:]
        np.matmul(self._wait_moves, self._to_wait, out=wait[:, 1:])
        # What is taken away within a step was used until its middle.
        gone = np.minimum(wait[AGES], buy[AGES])
        gone += none[AGES]
        gone *= _HALF
        if self._elsewhere:
            gone += self._elsewhere * (none[MET] + prices[1] - gone)
        self._loss(gone, self._gone)
        np.matmul(self._stay_moves, self._to_stay, out=stay)
        self._changeover(stay, start)
        here[..., busy:] = 0.0
        np.minimum(wait, buy, out=none)
        np.minimum(none[:AGES], start, out=none[:AGES])
        np.minimum(none[:AGES], stay, out=self._spot)
        np.minimum(none, keep, out=self._bought)


class _Shift(NamedTuple):
    """Values at a slack that is smaller by so many cells; where there is none: never."""

    cells: int
    near: Any  # between cells: the part of the nearer one
    far: Any

    @classmethod
    def by(cls, cells: float) -> _Shift:
        whole = math.ceil(cells)
        return cls(whole, np.float32(whole - cells), np.float32(1.0 - (whole - cells)))

    def __call__(self, values: Grid, into: Grid) -> None:
        """All rows as if they were one, which is several times as fast: what one gives to the next is overwritten."""
        source, target = values.ravel(), into.reshape(-1)
        count = max(len(source) - self.cells, 0)
        shifted = target[len(target) - count :]
        np.multiply(source[:count], self.far, out=shifted)
        if self.near:
            shifted += self.near * source[1 : count + 1]
        into[..., : self.cells] = NEVER


def zone_moves(market: Market, step: float) -> Grid:
    """Chances of a zone from state to state within a step; one spell ends in it at most."""
    moves = np.zeros((STATES, STATES), np.float32)
    moves[:AGES, :AGES], moves[:AGES, AGES] = _chances(market.available, step)
    moves[AGES:, AGES:], moves[AGES:, 0] = _chances(market.away, step)
    return moves


def _chances(leaving: Sequence[float], step: float) -> tuple[Grid, Grid]:
    """Of a spell, by age: that it lasts for a step and how old it is then, and that it ends."""
    widths = [high - low for low, high in zip((0.0, *EDGES_H), (*EDGES_H, math.inf), strict=True)]
    rate = np.diag([-leave - 1.0 / width for leave, width in zip(leaving, widths, strict=True)])
    rate += np.diag([1.0 / width for width in widths[:-1]], 1)
    lasts = np.linalg.matrix_power(np.linalg.inv(np.eye(AGES) - rate * step / _HALVES), _HALVES)
    return lasts.astype(np.float32), (1.0 - lasts.sum(axis=1)).astype(np.float32)


class Forecast(NamedTuple):
    """What following a plan comes to, over many made-up courses of the market."""

    cost: float
    low: float  # one in ten costs less
    high: float  # one in ten costs more
    hours: float  # until it is done
    losses: float
    only_spot: float  # chances
    some_on_demand: float
    only_on_demand: float


COURSES = 2000


def forecast(plan: Plan, time_h: float, slack_h: float, *, up: bool, age_step: int, seed: int = 0) -> Forecast:
    """Plays the plan `COURSES` times from here."""
    chance = np.random.default_rng(seed)
    market, step = plan.market, plan.step_h
    moves = zone_moves(market, step).astype(np.float64).cumsum(axis=1)
    state = np.full(COURSES, age_step + (0 if up else AGES))
    mode, slack = np.zeros(COURSES, int), np.full(COURSES, slack_h)
    spot, bought, done_at = np.zeros(COURSES), np.zeros(COURSES), np.full(COURSES, time_h)
    losses = np.zeros(COURSES)
    for left in np.arange(time_h, 0.0, -step):
        work = left - slack
        busy = work > 1e-9
        done_at[~busy & (done_at == time_h)] = time_h - left
        choice = _chosen(plan, left, slack, state, mode)
        starts = ((choice == SPOT_MODE) & (mode != SPOT_MODE)) | ((choice == BOUGHT_MODE) & (mode != BOUGHT_MODE))
        used = np.minimum(work + np.where(starts, market.changeover, 0.0), step) * busy
        spot += used * (choice == SPOT_MODE)
        bought += used * (choice == BOUGHT_MODE)
        slack = slack - np.where(choice == 0, step, np.where(starts, market.changeover, 0.0)) * busy
        following = (moves[state] < chance.random(COURSES)[:, None]).sum(axis=1).clip(0, STATES - 1)
        lost = busy & (choice == SPOT_MODE) & (following >= AGES)
        losses += lost
        elsewhere = lost & (chance.random(COURSES) < market.elsewhere)
        state = np.where(elsewhere, MET, following)
        mode = np.where(lost, 0, choice)
        slack = slack - np.where(lost, market.loss / 2.0, 0.0)
    cost = spot * market.spot + bought * market.on_demand
    low, high = np.quantile(cost, (0.1, 0.9))
    never, always = float((bought <= 1e-9).mean()), float((spot <= 1e-9).mean())
    return Forecast(
        *(float(cost.mean()), float(low), float(high), float(done_at.mean()), float(losses.mean())),
        *(never, max(1.0 - never - always, 0.0), always),
    )


SPOT_MODE, BOUGHT_MODE = 1, 2


def _chosen(plan: Plan, left: float, slack: Any, state: Any, mode: Any) -> Any:
    """What the plan does in every course: 0 waits."""
    times, _, _, slacks = plan.choices.shape
    row = min(round(left / plan.step_h), times - 1)
    column = np.clip(((slack - plan.least) / plan.step_h).round().astype(int), 1, slacks - 1)
    cells = plan.choices[row][:, state, column]
    keep = np.where(mode == SPOT_MODE, cells[STAY], np.where(mode == BOUGHT_MODE, cells[BOUGHT], NEVER))
    costs = np.stack([cells[WAIT], cells[START_SPOT], cells[BUY]])
    fresh = costs.argmin(axis=0)
    chosen = np.where(keep <= costs.min(axis=0), mode, fresh)
    tight = slack - plan.step_h < plan.market.changeover
    return np.where(tight & (mode != SPOT_MODE), BOUGHT_MODE, chosen)


def decision_map(plan: Plan, *, up: bool, age_step: int, columns: int = 64, rows: int = 16) -> list[str]:
    """The plan as a picture in letters, from nothing running: time goes to the right, the work that is left upwards.
    `s` spot, `.` waits, `o` on-demand, a blank what cannot be in time any more or is not in the plan."""
    times, _, _, slacks = plan.choices.shape
    most = (times - 1) * plan.step_h
    work_most = most - plan.least
    lines = []
    for row in range(rows):
        work = work_most * (1.0 - (row + 0.5) / rows)
        line = ""
        for column in range(columns):
            left = most * (1.0 - (column + 0.5) / columns)
            slack = left - work
            if slack < plan.market.changeover or slack > plan.least + (slacks - 1) * plan.step_h:
                line += " "
                continue
            wait, spot, buy, *_ = plan.costs(left, slack, up, age_step)
            if slack - plan.step_h < plan.market.changeover:
                wait = spot = float(NEVER)
            line += "o" if buy <= min(wait, spot) else "s" if spot <= wait else "."
        lines.append(line)
    return lines
