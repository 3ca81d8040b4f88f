"""When a service that nobody asks is kept, put to sleep, and made ready again: from how long it was idle before.

Minute t of an idle time is spent awake while  h(t) ≥ PRICE,  h(t) = (n(t) + K·p(t)) / (N(t) + K):  the chance that
the next request comes in this minute, given that it has not come yet. n counts idle times that ended in that minute
(and half as much in its neighbours), N those that lasted as long; p(t) = 1 / (t + 1) is what is believed of a service
that has shown nothing yet: the longer it has been quiet, the longer it will be. So a timer's service sleeps between its
calls and is awake for each, one that was busy is kept for a while, and one that is asked once a day is let go soon.
"""

from __future__ import annotations

from collections.abc import Sequence

LONGEST_MIN = 480  # idle times beyond this are one class
# A minute awake for nothing is worth a seventieth of a cold start, so a service that has shown nothing yet is kept for
# 70 minutes: most of what is asked seldom is asked by a clock, once an hour, and a price above a sixtieth puts all of
# that to sleep a moment before it is asked.
PRICE = 1 / 70
BELIEF = 1.5  # idle times that it takes to outweigh what is believed without any: clocks show soon what they are


class Habits:
    """Idle times of one service, in minutes. Only adds up; `as_counts` and `from_counts` keep it."""

    def __init__(self, counts: dict[int, int] | None = None) -> None:
        self._counts = [0.0] * (LONGEST_MIN + 2)
        self._total = 0.0
        for minute, count in (counts or {}).items():
            self._counts[min(minute, LONGEST_MIN)] += count
            self._total += count

    def ended(self, idle_min: float) -> None:
        """A request came after so long."""
        self._counts[min(int(idle_min), LONGEST_MIN)] += 1
        self._total += 1

    def as_counts(self) -> dict[int, int]:
        return {minute: int(count) for minute, count in enumerate(self._counts) if count}

    def awake(self, until: int = LONGEST_MIN) -> list[bool]:
        """For each minute of an idle time, whether it is spent awake."""
        return awake(self._counts, self._total, until)


def awake(counts: Sequence[float], total: float, until: int) -> list[bool]:
    lasting, found = total, []
    for minute in range(until):
        near = counts[minute] + (counts[minute - 1] if minute else 0.0) / 2 + counts[minute + 1] / 2
        chance = (near / 2 + BELIEF / (minute + 1)) / (lasting + BELIEF)
        found.append(chance >= PRICE)
        lasting -= counts[minute]
    return found


def until_change_s(plan: Sequence[bool], idle_s: float) -> tuple[bool, float]:
    """Whether to be awake after so much idle time, and for how long that stays so."""
    minute = int(idle_s // 60)
    if minute >= len(plan):
        return False, float("inf")
    now, later = plan[minute], minute
    while later < len(plan) and plan[later] == now:
        later += 1
    return now, later * 60 - idle_s if later < len(plan) else float("inf")
