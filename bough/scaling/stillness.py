"""Seconds in which nothing is decided, since there is nothing to decide on: nobody comes, and all that did is settled.

After some minutes of silence a rule's mind changes only with what is forgotten, which takes minutes. So it is made up
once in half a minute, and the seconds between are added to the past at once: live and simulated alike, and a service
that nobody asks costs next to nothing in either.
"""

from __future__ import annotations

from bough.scaling.models import Observation

SETTLED_S = 300  # of silence: averages over less have nothing of what was before
STEP_S = 30  # from one decision to the next; idle times are told apart by no less than three of them by then


class Stillness:
    """One per service, told of each second: `passes` of those in which nothing is decided, `decided` of the others."""

    def __init__(self) -> None:
        self.passed_s = self.left_s = 0  # since the last decision, and until the next if nobody comes
        self._silent_s = 0
        self._terms: tuple[object, ...] = ()

    def passes(self, seen: Observation, terms: tuple[object, ...]) -> bool:
        """`terms`: all else that a decision rests on. When they change, one is made."""
        if not self.left_s or terms != self._terms or not seen.is_silent:
            return False
        return self.pass_by(1) == 1

    def pass_by(self, seconds: int) -> int:
        """The same for so many at once, which nobody needs to see; of which this many were passed."""
        passed = min(seconds, self.left_s)
        self.left_s -= passed
        self.passed_s += passed
        return passed

    def decided(self, seen: Observation, terms: tuple[object, ...], *, settled: bool) -> None:
        """`settled`: whether nothing is left of the requests that came last in what is simulated beside."""
        lasts = seen.is_silent and terms == self._terms
        self._silent_s = self._silent_s + self.passed_s + 1 if lasts else 0
        self.left_s = STEP_S - 1 if settled and self._silent_s >= SETTLED_S else 0
        self._terms, self.passed_s = terms, 0
