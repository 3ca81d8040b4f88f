"""A rule for traffic in which nothing happens but noise, and whether this is such traffic.

The rule that answers every traffic keeps what was needed lately, and starts replicas for whatever waits. Where the rate
only drifts and the rest is chance, both are paid for nothing. So beside it goes another one, that follows the trend of
the last minutes, keeps nothing, and starts nothing for a backlog as long as nobody is late. It is simulated on the same
traffic, and decides only while it would have had next to nobody late in all of the last hours: a burst rules it out
until it is forgotten. At a surprise the other rule decides again.

With a warm pool it says how many there are, and the pool's rule how many of them answer. There it waits until jumps are
not feared any more: before that, the pool is what a burst out of nothing is answered with.
"""

from __future__ import annotations

import math
from collections import deque

import msgspec

from bough.kernel.scale import Scale
from bough.scaling import rules
from bough.scaling.beside import Beside
from bough.scaling.models import Observation, Trial, Wish
from bough.scaling.simulating import Terms
from bough.scaling.trend import MEMORIES_S, Trend

SERVICE_S = 600.0  # the same of how long a request takes, which noise would hide longer
SETTLED_S = 180  # until a trend is known so well that what it does not explain is a surprise
SHORT_S = 240  # of traffic from which nothing is concluded
QUIET_S = 120  # after a surprise
STUCK = 3.0  # times the objective: a backlog that old is a surprise
WINDOWS_S = (2, 5, 15, 30, 60)  # in which there may be more, or less, than the trend said before them


class Smooth:
    """One per service. `observe` once a second; `need` is what the rule then asks for, in replicas, and 0 while it does
    not decide. Whoever begins with the `trial` of another one goes on from there, once the trend is known again."""

    def __init__(self, trial: Trial | None = None) -> None:
        self.trial = trial or Trial()
        self.need = 0.0
        self._seconds = self._quiet_s = 0
        self._trend = Trend()
        self._begun = self._busy_s = 0.0
        self._lines: deque[tuple[float, float]] = deque(maxlen=WINDOWS_S[-1])  # level and slope, by second
        self._sums: deque[float] = deque([0.0], maxlen=WINDOWS_S[-1] + 1)
        self._beside: Beside | None = None

    def observe(self, seen: Observation, peak: float, scale: Scale, terms: Terms, least: int) -> None:
        """`peak`: variance of arrivals over their mean; `least` and `scale.most` bound the simulated replicas as they
        do those that there are. With a pool, where the margin waits at a tenth of the price, all of it is there."""
        keeps = 1 - 1 / SERVICE_S
        self._begun = self._begun * keeps + seen.begun
        self._busy_s = self._busy_s * keeps + seen.begun * seen.service_s
        service_s = self._busy_s / self._begun if self._begun else 0.1
        self._sums.append(self._sums[-1] + seen.arrived)
        stuck = self.need > 0 and seen.queued > 0 and seen.oldest_s > STUCK * terms.objective_s
        surprised = stuck or (self._seconds >= SETTLED_S and self._is_surprised(peak))
        self._quiet_s = 0 if surprised else self._quiet_s + 1
        level, slope = self._trend.follow(seen.arrived, peak)
        self._lines.append((level, slope))
        self._seconds += 1
        load = max(level, level + slope * terms.start_s, 0.0) * service_s / max(1, seen.slots)
        spare = rules.tolerable(load, service_s, terms.objective_s, peak)
        pooled = scale.warm != 0
        usual = load + (1.0 if pooled else self.trial.trim) * spare
        rule = _Staffed(usual, spare, terms.objective_s, least, scale.most)
        if self._seconds >= SETTLED_S:
            if self._beside is None or not self._beside.fits(seen):
                self._beside = Beside(seen, terms)
            self._beside.second(rule, seen, seen.service_s or service_s, terms)
            self.trial = rules.tried(self.trial, 1 - 1 / rules.MEMORY_S, seen.arrived, self._beside.late, level)
        self.need = rule.need(seen) if self._decides(rules.FEARED_S if pooled else SHORT_S) else 0.0

    @property
    def is_still(self) -> bool:
        """So little is left of the trend that silence surprises nobody, and nothing happens in what is simulated."""
        beside = self._beside
        return WINDOWS_S[-1] * self._trend.mean < rules.SURPRISE and beside is not None and beside.is_still

    def rest(self, seconds: int) -> None:
        """So many seconds at once in which nobody came, while it `is_still`."""
        fades = (1 - 1 / SERVICE_S) ** seconds
        self._begun, self._busy_s = self._begun * fades, self._busy_s * fades
        self._quiet_s += seconds
        self._seconds += seconds
        self._lines.extend([self._trend.rest(seconds)] * seconds)
        if self._beside is not None:
            self._beside.rest(seconds)
            self.trial = rules.tried(self.trial, (1 - 1 / rules.MEMORY_S) ** seconds, 0, 0, self._trend.mean, seconds)

    def _decides(self, short_s: float) -> bool:
        asked = self.trial.asked * max(1.0, rules.TRUSTED_S / self._seconds)
        return self._seconds > short_s and self._quiet_s > QUIET_S and self.trial.late <= rules.TOLERATED * asked

    def _is_surprised(self, peak: float) -> bool:
        """Something came, or did not, that the line before it does not explain, its own error included."""
        for window in WINDOWS_S:
            level, slope = self._lines[-window]
            expected = max(0.0, window * (level + slope * (window + 1) / 2))
            doubt = rules.SURPRISE * math.sqrt(peak * expected * (1 + window / MEMORIES_S[0]) + 1.0)
            if abs(self._sums[-1] - self._sums[-1 - window] - expected) > doubt:
                return True
        return False


class _Staffed(msgspec.Struct, frozen=True):
    """So many replicas, and `spare` more while somebody is late."""

    usual: float
    spare: float
    objective_s: float
    least: int
    most: int

    def need(self, seen: Observation) -> float:
        return self.usual + (self.spare if seen.oldest_s > self.objective_s else 0.0)

    def wish(self, seen: Observation) -> Wish:
        return Wish(active=min(self.most, max(self.least, rules.whole(self.need(seen)))))
