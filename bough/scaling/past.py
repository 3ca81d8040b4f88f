"""What a service has shown of itself, second by second: all that decisions rest on, and nothing unmeasurable.

A `Past` only adds up. The same observations, and decisions on them, give the same past, live or simulated, so a curve
can be made again.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque

from bough.scaling import rules
from bough.scaling.models import Observation, Outlook

_KEPT_S = 121  # of counts: as far as a slope is looked for
_USUAL_S = 300.0  # over which the usual load is averaged
_BUSY_S = 15  # over which what is in flight is averaged
_FOLLOWS = 0.03  # of the variance of the last ten seconds is believed
_ANEW_S = 5  # between two looks at which idle times are worth keeping


class Past:
    """One per service. `observe` once a second, then `outlook`."""

    def __init__(self) -> None:
        self._sums = [0.0]
        self._seconds = 0
        self._service_s = 0.0
        self._measured = 0  # requests
        self._peak = 1.0
        self._in_flight = 0.0
        self._late = self._begun = 0.0  # of the last minutes
        self._trim = 1.0
        self._needed: list[int] = []  # by level: the last second in which the load reached it
        classes = len(rules.EDGES_S) + 1
        self._returns, self._exposure_s = [0.0] * classes, [0.0] * classes
        self._usual = 0.0
        self._jumps = [0.0] * len(rules.RATIOS)
        self._armed = [True] * len(rules.RATIOS)
        self._watched_s = 0.0
        self._keep: tuple[int, float, list[bool]] = (-1, 0.0, [])
        self._wished: deque[tuple[int, int]] = deque()  # second and number, each larger than all that came after it

    @property
    def service_s(self) -> float:
        """For which a request keeps a slot busy, in the mean."""
        return self._service_s or 0.1

    @property
    def peak(self) -> float:
        """Variance of the arrivals over their mean."""
        return self._peak

    def observe(self, seen: Observation) -> None:
        self._seconds += 1
        self._sums.append(self._sums[-1] + seen.arrived)
        if len(self._sums) > _KEPT_S:
            del self._sums[0]
        if seen.begun and seen.service_s > 0:
            self._measured += seen.begun
            weight = max(min(0.05, seen.begun / 1000), min(1.0, seen.begun / self._measured))
            self._service_s += weight * (seen.service_s - self._service_s)
        self._in_flight += (seen.in_flight - self._in_flight) / min(_BUSY_S, self._seconds)
        self._late += seen.late - self._late / _USUAL_S
        self._begun += seen.begun - self._begun / _USUAL_S
        if self._seconds % 10 == 0:
            if self._begun > 100:
                self._trim = rules.trimmed(self._trim, self._late / self._begun)
            counts = [later - sooner for sooner, later in zip(self._sums[-11:], self._sums[-10:], strict=False)]
            found = min(8.0, max(0.5, rules.peakedness(counts)))
            self._peak = max(1.0, self._peak + _FOLLOWS * (found - self._peak))

    def rest(self, seconds: int, least: int) -> None:
        """So many seconds at once in which nobody came, after more than `_USUAL_S` of those, which all decided the
        same."""
        tens = (self._seconds + seconds) // 10 - self._seconds // 10
        for _ in range(tens if self._begun > 100 else 0):
            self._trim = rules.trimmed(self._trim, self._late / self._begun)
        self._seconds += seconds
        fades, keeps = (1 - 1 / _USUAL_S) ** seconds, 1 - 1 / rules.MEMORY_S
        self._in_flight *= (1 - 1 / _BUSY_S) ** seconds
        self._late, self._begun, self._usual = self._late * fades, self._begun * fades, self._usual * fades
        self._peak = 1.0 + (self._peak - 1.0) * (1 - _FOLLOWS) ** tens
        forgotten = 1 - keeps**seconds
        self._watched_s += forgotten * (keeps * rules.MEMORY_S - self._watched_s)
        self._needed[:least] = [self._seconds] * least
        for last in self._needed[least:]:
            idle = self._seconds - last
            place = bisect_right(rules.EDGES_S, idle)
            here = min(seconds, idle - math.ceil(rules.EDGES_S[place - 1]) + 1)  # no class is that short by then
            self._exposure_s[place] += here
            self._exposure_s[place - 1] += seconds - here

    def wished(self, needed: int) -> None:
        """What was decided on the last outlook."""
        while self._wished and self._wished[-1][1] <= needed:
            self._wished.pop()
        self._wished.append((self._seconds, needed))

    def outlook(self, seen: Observation, start_s: float, again_s: float, worth: float, least: int) -> Outlook:
        """`again_s`: a replica that is kept for so long costs as much as one that starts; `worth`: of a replica that is
        there when it is needed, over the price of keeping it for a second."""
        per_request = self.service_s / max(1, seen.slots)
        asked = self._sums[-1] > self._sums[0]
        rate = rules.rate(self._sums, self._peak) if asked else 0.0
        load = rate * per_request
        rise = rules.slope(self._sums, self._peak) * start_s * per_request if asked else 0.0
        level = max(least, math.ceil(load))
        self._touch(level)
        while self._wished and self._wished[0][0] < self._seconds - again_s:
            self._wished.popleft()
        return Outlook(
            rate=rate, service_s=self.service_s, load=load, ahead=min(2 * load + 1, load + rise),
            kept=self._kept(load, level, worth, start_s), jump=self._jump(load, worth), peak=self._peak,
            trim=self._trim, lately=self._wished[0][1] if self._wished else 0,
            in_flight=self._in_flight, idle_s=[self._seconds - each for each in self._needed[level:]],
        )  # fmt: skip

    def _touch(self, level: int) -> None:
        now, needed = self._seconds, self._needed
        for each in range(min(level, len(needed))):
            if (idle := now - needed[each]) > 1:
                self._returns[bisect_right(rules.EDGES_S, idle)] += 1
            needed[each] = now
        needed.extend([now] * (level - len(needed)))
        for last in needed[level:]:
            self._exposure_s[bisect_right(rules.EDGES_S, now - last)] += 1

    def _kept(self, load: float, level: int, worth: float, start_s: float) -> float:
        """The highest level that is worth keeping, or worth making ready again."""
        anew = self._seconds // _ANEW_S
        if self._keep[:2] != (anew, worth):
            self._keep = anew, worth, rules.worth_keeping(self._returns, self._exposure_s, worth)
        keep = self._keep[2]
        for each in range(len(self._needed) - 1, level - 1, -1):
            idle = self._seconds - self._needed[each]
            if keep[bisect_right(rules.EDGES_S, idle)] or keep[bisect_right(rules.EDGES_S, idle + start_s)]:
                return float(each + 1)
        return load

    def _jump(self, load: float, worth: float) -> float:
        """The load that a jump would lead to for which it pays to be ready."""
        if self._seconds < 5:
            self._usual = load
            return 0.0
        usual = max(self._usual, 0.5)
        for place, ratio in enumerate(rules.RATIOS):
            if load >= ratio * usual and self._armed[place]:
                self._jumps[place] += 1
                self._armed[place] = False
            elif load < 1.1 * usual:
                self._armed[place] = True
        self._usual += (load - self._usual) * max(1 / _USUAL_S, 1 / self._seconds)
        self._watched_s = (self._watched_s + 1) * (1 - 1 / rules.MEMORY_S)
        return rules.jump_to_expect(self._jumps, self._watched_s, worth, usual) * usual
