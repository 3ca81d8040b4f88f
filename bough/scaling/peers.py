"""Other autoscalers' rules as they are documented, with their defaults, to be simulated beside ours."""

from __future__ import annotations

import math
from collections import deque

from bough.scaling.models import Observation, Wish
from bough.scaling.simulating import Policy


class Bounded:
    """Another rule between the bounds of a service."""

    def __init__(self, rule: Policy, least: int = 1, most: int = 1) -> None:
        self._rule, self.least, self.most = rule, least, most

    def wish(self, seen: Observation) -> Wish:
        return Wish(active=min(self.most, max(self.least, self._rule.wish(seen).active)))


class KnativeKpa:
    """Knative Serving's pod autoscaler: concurrency averaged over 60 s, over 6 s when that needs twice what is there
    (panic: never down for a stable window), 70 % of what a replica takes, every 2 s, at least `least` replicas."""

    STABLE_S, PANIC_S, PANIC_AT, TARGET, TICK_S = 60, 6, 2.0, 0.7, 2
    UP_RATE, DOWN_RATE = 1000.0, 2.0

    def __init__(self, least: int = 1) -> None:
        self._least = least
        self._seen: deque[float] = deque(maxlen=self.STABLE_S)
        self._panic_at = -math.inf
        self._most = 0
        self._wish = least

    def wish(self, seen: Observation) -> Wish:
        self._seen.append(seen.in_flight + seen.queued)
        if int(seen.at) % self.TICK_S:
            return Wish(active=self._wish)
        target, ready = self.TARGET * seen.slots, max(1, seen.active)
        recent = list(self._seen)[-self.PANIC_S :]
        down, up = math.floor(ready / self.DOWN_RATE), math.ceil(ready * self.UP_RATE)
        stable = min(max(math.ceil(sum(self._seen) / len(self._seen) / target), down), up)
        panic = min(max(math.ceil(sum(recent) / len(recent) / target), down), up)
        if panic / ready >= self.PANIC_AT:
            if self._panic_at == -math.inf:
                self._most = 0
            self._panic_at = seen.at
        elif seen.at - self._panic_at > self.STABLE_S:
            self._panic_at = -math.inf
        if self._panic_at != -math.inf:
            self._most = max(self._most, panic, ready)
            self._wish = self._most
        else:
            self._wish = stable
        self._wish = max(self._wish, self._least)
        return Wish(active=self._wish)


class KubernetesHpa:
    """The Horizontal Pod Autoscaler: every 15 s, `target` of CPU or of concurrency, tolerance 0.1, up by at most twice
    or four in 15 s, down to the highest recommendation of the last 300 s. `queue`: whether what waits counts, as it
    does for concurrency and cannot for CPU."""

    TICK_S, TOLERANCE, DOWN_S = 15, 0.1, 300

    def __init__(self, target: float, *, queue: bool, least: int = 1) -> None:
        self._target, self._queue, self._least = target, queue, least
        self._seen: deque[float] = deque(maxlen=self.TICK_S)
        self._recommended: deque[tuple[float, int]] = deque()
        self._wish = least

    def wish(self, seen: Observation) -> Wish:
        self._seen.append((seen.in_flight + (seen.queued if self._queue else 0)) / seen.slots)
        if int(seen.at) % self.TICK_S:
            return Wish(active=self._wish)
        ready = max(1, seen.active)
        ratio = sum(self._seen) / len(self._seen) / ready / self._target
        wanted = ready if abs(ratio - 1.0) <= self.TOLERANCE else math.ceil(ready * ratio)
        self._recommended.append((seen.at, wanted))
        while self._recommended[0][0] <= seen.at - self.DOWN_S:
            self._recommended.popleft()
        before = self._wish
        if wanted > before:
            self._wish = min(wanted, max(2 * before, before + 4))
        else:
            self._wish = min(before, max(each for _, each in self._recommended))
        self._wish = max(self._wish, self._least)
        return Wish(active=self._wish)


class RayServe:
    """Ray Serve's rule: ongoing requests averaged over 30 s, a target for each replica, up after 30 s of wanting more,
    down after 600 s of wanting less. The target is one for each slot: its default of two would queue behind every
    request of a replica that works on one."""

    LOOK_S, UP_S, DOWN_S = 30, 30, 600

    def __init__(self, least: int = 1) -> None:
        self._least = self._wish = least
        self._seen: deque[float] = deque(maxlen=self.LOOK_S)
        self._more = self._less = 0

    def wish(self, seen: Observation) -> Wish:
        self._seen.append(seen.in_flight + seen.queued)
        wanted = max(self._least, math.ceil(sum(self._seen) / len(self._seen) / seen.slots))
        self._more = self._more + 1 if wanted > self._wish else 0
        self._less = self._less + 1 if wanted < self._wish else 0
        if self._more > self.UP_S or self._less > self.DOWN_S:
            self._wish, self._more, self._less = wanted, 0, 0
        return Wish(active=self._wish)


class TargetTracking:
    """Tracking of 70 % utilisation by alarms of one-minute datapoints, as AWS does: out after three above the target,
    in after fifteen below nine tenths of it."""

    TARGET, OUT, IN = 0.7, 3, 15

    def __init__(self, least: int = 1) -> None:
        self._least = self._wish = least
        self._minute: list[float] = []
        self._points: deque[float] = deque(maxlen=self.IN)

    def wish(self, seen: Observation) -> Wish:
        self._minute.append(seen.in_flight / seen.slots / max(1, seen.active))
        if len(self._minute) < 60:
            return Wish(active=self._wish)
        self._points.append(sum(self._minute) / 60)
        self._minute = []
        last = list(self._points)
        if len(last) >= self.OUT and min(last[-self.OUT :]) > self.TARGET:
            self._wish = max(self._wish, math.ceil(seen.active * last[-1] / self.TARGET))
        elif len(last) == self.IN and max(last) < 0.9 * self.TARGET:
            self._wish = max(self._least, math.ceil(seen.active * max(last) / self.TARGET))
            self._points.clear()
        return Wish(active=self._wish)


class FixedKeepAlive:
    """A replica for every request at once, kept for `keep_s` after the last time that it was needed."""

    def __init__(self, keep_s: int = 600, least: int = 1) -> None:
        self._least = least
        self._seen: deque[int] = deque(maxlen=keep_s)

    def wish(self, seen: Observation) -> Wish:
        self._seen.append(math.ceil((seen.in_flight + seen.queued) / seen.slots))
        return Wish(active=max(self._least, max(self._seen)))
