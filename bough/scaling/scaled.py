"""One deployment that follows its traffic, and for how long nobody has to look at it.

After half a minute in which nobody asked, what is seen is the same every second: nothing. So what the rule would do in
each of the next seconds is calculated on a copy of it, and the first second in which it would do something is the next
in which it is looked at, unless somebody asks before (`listening.py`). The seconds that nobody saw are shown to the
rule then, or the copy, to which they have been shown already, takes its place: it has the same past as one that was
asked every second, and decides the same. Once all is settled, the rule itself leaves out seconds (`stillness.py`), and
those need no copy.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping

import msgspec

from bough.adapters.engine import Attempt
from bough.gateway.models import LaneState
from bough.kernel.scale import floor_of
from bough.runtime.spec import Usage
from bough.scaling.models import Costs, Learnt, Observation, Wish
from bough.scaling.policy import Autoscaler, day_of
from bough.scaling.watching import LATENCY_OVER_S, Watch
from bough.serving.models import Deployment

SECOND_S = 1.0
WARM_UP_S = 60.0
SILENT_S = LATENCY_OVER_S + 1  # then no answer is left in what is seen
LONGEST_S = 30  # what nobody is told of, such as work without requests, is seen so late at most
MOST_RESTED_S = 3600  # seconds that are made up for: a clock that was set by days has not brought a rest of days


class Scaled:
    """`spent_s`: replica-seconds that its budget has borne today; `learnt`: of late requests."""

    def __init__(self, deployment: Deployment, now: float, spent_s: float, learnt: Learnt) -> None:
        self.deployment, self.since, self.seen_at = deployment, now, now
        self.scaler = Autoscaler(deployment.settings.scale)
        self.scaler.resume(learnt)
        self.scaler.day_at, self.scaler.spent_s = day_of(now), spent_s
        self.watch = Watch(deployment.id)
        self.runs = False  # it was not asleep when it was last looked at
        self.slept = False  # it was, and nobody has seen it awake since
        self.spent = False  # the budget of its environment
        self.refused = False  # for that it may not grow, which has been said
        self._silent_s, self._stays, self._rests = 0, False, False
        self._ahead: tuple[int, Autoscaler] | None = None  # the rule as it is after so many seconds of rest
        self._seen = Observation(at=now, arrived=0)

    def look(
        self, now: float, deployment: Deployment, lanes: list[LaneState], attempts: list[Attempt],
        usage: Mapping[str, Usage],
    ) -> Observation:  # fmt: skip
        """What was seen in the last second; seconds of rest before it are made up for."""
        self.deployment, self.runs = deployment, True
        passed_s = now - self.seen_at or SECOND_S
        rested = min(max(0, round(passed_s) - 1), MOST_RESTED_S) if self._rests else 0
        if self._ahead is not None and self._ahead[0] == rested and self._ahead[1].scale == deployment.settings.scale:
            self.scaler = self._ahead[1]
        else:
            passed = 0 if self._is_scheduled else self.scaler.pass_by(rested)
            for second in range(passed + 1, rested + 1):
                self._wish(self.scaler, _later(self._seen, second))
        self._ahead = None
        seen = self.watch.look(now, passed_s - rested, deployment, lanes, attempts, usage, rested_s=rested)
        self.seen_at, self._seen, self._rests = now, seen, False
        self._silent_s = self._silent_s + rested + 1 if seen.is_silent else 0
        return seen

    def decide(self, seen: Observation, taken: int) -> Wish:
        """`taken`: replicas that the gateway took from the pool by itself."""
        self.scaler.costs = Costs(start_s=self.watch.start_s, activation_s=self.watch.activation_s)
        wish, answering, most = self._wish(self.scaler, seen), self.deployment.answering, self._most
        if taken and wish.active < answering + taken and seen.queued:
            wish = msgspec.structs.replace(wish, active=min(answering + taken, most), why="taken")
        self._stays = not self._changes(wish)
        return msgspec.structs.replace(wish, pool=max(0, min(wish.pool, most - wish.active)))

    def rest_s(self) -> float:
        """Until the rule would do something if nobody asks; a second where that is not known."""
        if self._silent_s < SILENT_S:
            return SECOND_S
        longest = min(LONGEST_S, self.watch.minute_left_s(self.seen_at))
        if self._stays and self.scaler.still_s and not self._is_scheduled:
            self._rests = True
            return min(longest, self.scaler.still_s + 1) * SECOND_S
        ahead: Autoscaler = pickle.loads(pickle.dumps(self.scaler))  # noqa: S301 - ours, and a third of what a copy costs
        second, stays = 1, True
        while stays and second < longest:
            stays = not self._changes(self._wish(ahead, _later(self._seen, second)))
            second += stays
        self._rests = second > 1
        self._ahead = (second - 1, ahead) if stays else None
        return second * SECOND_S

    def _wish(self, scaler: Autoscaler, seen: Observation) -> Wish:
        scale = self.deployment.settings.scale
        if scale != scaler.scale:
            scaler.scale = scale
        wish = scaler.wish(seen, floor_of(scale.schedule, seen.at), self._held)
        least = self.deployment.answering if seen.at - self.since < WARM_UP_S else 1  # whoever is awake answers
        return wish.keeping(least, scale.buffer)

    def _changes(self, wish: Wish) -> bool:
        pool = max(0, min(wish.pool, self._most - wish.active))
        return (wish.active, pool) != (self.deployment.answering, self.deployment.waiting)

    @property
    def _is_scheduled(self) -> bool:
        """What is asked for changes by itself."""
        return bool(self.deployment.settings.scale.schedule)

    @property
    def _most(self) -> int:
        return int(min(self.deployment.settings.scale.most, self._held))

    @property
    def _held(self) -> float:
        """Replicas, pool included, beyond which it may not grow."""
        least, there = self.deployment.settings.scale.min, self.deployment.answering + self.deployment.waiting
        return max(1, least, there) if self.spent else math.inf


def _later(seen: Observation, seconds: int) -> Observation:
    """The same nothing, seen then."""
    return msgspec.structs.replace(seen, at=seen.at + seconds * SECOND_S, begun=0, late=0, service_s=0.0)
