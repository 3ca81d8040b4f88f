"""The line that arrivals follow: how many come in a second now, and by how many more in each second.

A mean over a short time follows every bend, and half of what it follows is chance; a mean over a long one is calm, and
late wherever there is a bend. Which is right is a matter of the traffic. So there are several lines, and each counts
for as much as what it foretold makes likely: Bayes' rule, over the last hour, with the noise that arrivals have.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

MEMORIES_S = (120.0, 300.0, 900.0)  # of the mean of arrivals, and of the mean of that: a third counts from before
FORETOLD_S = 3600.0  # the same of how well a line has foretold what came
KNOWN_S = 60  # until which there is a level and no slope
SURE = 60.0  # e to the minus this is nothing


class Trend:
    """One per service. `mean` of arrivals a second is behind the line, as means are."""

    def __init__(self, memories_s: Sequence[float] = MEMORIES_S) -> None:
        self.mean = 0.0
        self._lines = [_Line(memory_s) for memory_s in memories_s]

    def follow(self, arrived: int, peak: float) -> tuple[float, float]:
        """One second later: the level, and the slope. `peak`: variance of arrivals over their mean."""
        variance = peak * max(1.0, self.mean)
        for each in self._lines:
            each.follow(arrived, variance)
        return self._weighed()

    def rest(self, seconds: int) -> tuple[float, float]:
        """So many seconds at once in which nobody came, nor was expected: they speak for no line."""
        for each in self._lines:
            each.rest(seconds)
        return self._weighed()

    def _weighed(self) -> tuple[float, float]:
        likeliest = max(each.likely for each in self._lines)
        weights = [math.exp(max(-SURE, each.likely - likeliest)) for each in self._lines]
        total = sum(weights)
        shares = [weight / total for weight in weights]
        self.mean = sum(share * each.once for share, each in zip(shares, self._lines, strict=True))
        level = sum(share * each.level for share, each in zip(shares, self._lines, strict=True))
        return level, sum(share * each.slope for share, each in zip(shares, self._lines, strict=True))


class _Line:
    """`likely`: the logarithm of how likely what came was, if this line is the true one, but for a constant."""

    def __init__(self, memory_s: float) -> None:
        self._memory_s, self._seconds = memory_s, 0
        self.once = self._twice = 0.0  # mean of arrivals a second, and the mean of that
        self.level = self.slope = self.likely = 0.0

    def follow(self, arrived: int, variance: float) -> None:
        missed = arrived - max(0.0, self.level + self.slope)
        self.likely = self.likely * (1 - 1 / FORETOLD_S) - missed * missed / variance / 2
        self._seconds += 1
        share = self._share(self._seconds)
        self.once += share * (arrived - self.once)
        self._twice += share * (self.once - self._twice)
        self._draw(share)

    def rest(self, seconds: int) -> None:
        shares = [self._share(self._seconds + second) for second in range(1, seconds + 1)]
        left = math.prod(1 - share for share in shares)
        self._twice = (self._twice + self.once * sum(shares)) * left
        self.once *= left
        self.likely *= (1 - 1 / FORETOLD_S) ** seconds
        self._seconds += seconds
        self._draw(shares[-1])

    def _share(self, seconds: int) -> float:
        """Of the newest second in a mean, once there were so many."""
        return max(1 / self._memory_s, 2 / (seconds + 1))

    def _draw(self, share: float) -> None:
        lag, known = self.once - self._twice, self._seconds >= KNOWN_S
        self.level, self.slope = (self.once + lag, lag * share / (1 - share)) if known else (self.once, 0.0)
