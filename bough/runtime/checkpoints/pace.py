"""When the next save is due, from what saving has cost this program so far."""

from __future__ import annotations

import statistics
from collections import deque
from typing import Optional

from bough.runtime.checkpoints import interval
from bough.runtime.checkpoints.interval import Every, Losses

_REMEMBERED = 5  # saves; their median is what one costs
_STEPS = 200  # whose times are remembered
_FRESH_S = 1.0  # for which an interval is not worked out again: steps may be shorter than that takes


class Pace:
    """Told of every step and every save, in the program's own thread. Times are of a monotonic clock."""

    def __init__(self, every: Every, losses: Losses, prior_s: float, began: float) -> None:
        self.every, self._losses, self._prior_s, self._began = every, losses, prior_s, began
        self._stalls: deque[float] = deque(maxlen=_REMEMBERED)
        self._persists: deque[float] = deque(maxlen=_REMEMBERED)
        self._idle: deque[float] = deque(maxlen=_STEPS)  # steps while nothing was on its way to the disk
        self._busy: deque[float] = deque(maxlen=_STEPS)  # and while something was
        self._last_step_at: Optional[float] = None
        self._first_s: Optional[float] = None
        self.saved_at: Optional[float] = None
        self.saved_step = -1
        self.stall_s = 0.0
        self._interval_s = 0.0
        self._worked_out_at: Optional[float] = None

    def stepped(self, now: float, busy: bool) -> None:
        if self._last_step_at is not None:
            taken = now - self._last_step_at
            (self._busy if busy else self._idle).append(taken)
            self._first_s = taken if self._first_s is None else self._first_s
        self._last_step_at = now

    def resumed(self, now: float) -> None:
        """The step that begins now is not held responsible for what was before."""
        self._last_step_at = now

    def restored(self, step: int, now: float) -> None:
        """What was restored is as good as saved."""
        self.saved_step, self.saved_at, self._last_step_at = step, now, now

    def began_to_save(self, step: int, began: float, now: float) -> None:
        """Held the program up from `began` to `now`."""
        self._stalls.append(now - began)
        self.stall_s += now - began
        self.saved_at, self.saved_step, self._last_step_at = now, step, now
        self._worked_out_at = None

    def persisted(self, seconds: float) -> None:
        self._persists.append(seconds)
        self._worked_out_at = None

    def failed(self) -> None:
        """The state of that step is not on the disk after all."""
        self.saved_step = -1

    def is_due(self, step: int, now: float) -> bool:
        """The very first offer is: what cannot be saved is better known after one step than after an hour."""
        if self.saved_at is None:
            return True
        if self.every.steps:
            return step - self.saved_step >= self.every.steps
        if self._worked_out_at is None or now - self._worked_out_at >= _FRESH_S:
            self._interval_s, self._worked_out_at = self.interval_s(now), now
        return now - self.saved_at >= self._interval_s

    def interval_s(self, now: float) -> float:
        """Seconds between two saves, as things are."""
        if self.every.steps:
            return self.every.steps * self.step_s
        if self.every.seconds:
            return self.every.seconds
        between = interval.between_losses(self._losses, now - self._began, self._prior_s)
        return interval.best_s(self.cost_s, between, self.persist_s)

    @property
    def cost_s(self) -> float:
        """What a save takes from the program: the stall, and what its steps lose while the disk is busy. The first
        stall is the longest, because its memory was never touched; the median forgets it."""
        slower = 0.0
        if len(self._idle) >= _REMEMBERED and len(self._busy) >= _REMEMBERED:
            idle, busy = _median(self._idle), _median(self._busy)
            slower = max(0.0, 1 - idle / busy) if busy else 0.0
        return _median(self._stalls) + slower * _median(self._persists)

    @property
    def persist_s(self) -> float:
        return _median(self._persists)

    @property
    def step_s(self) -> float:
        return _median(self._idle) or _median(self._busy)

    @property
    def warm_s(self) -> float:
        """By which the first step took longer than steps do."""
        return max((self._first_s or 0.0) - self.step_s, 0.0)


def _median(values: deque[float]) -> float:
    return statistics.median(values) if values else 0.0
