"""From what gateway and engine say of a deployment, to what the rule is asked with. Pure but for what it remembers."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping

import msgspec

from bough.adapters.engine import EXITED, READY, RUNNING, STARTING, Attempt
from bough.gateway.models import LaneState
from bough.runtime.spec import Usage
from bough.scaling.latencies import within_s
from bough.scaling.models import Minute, Observation
from bough.serving.models import Deployment

USUAL_START_S = 1.0  # of a replica that nobody has seen start yet: a fork of a zygote and a moment
WEB_SLOTS = 8  # requests at once in one process of a web service that says nothing of it
REMEMBERED = 20  # starts
LATENCY_OVER_S = 30


class Watch:
    """Of one deployment: turns counters that only grow into what happened in the last second."""

    def __init__(self, deployment: str) -> None:
        self.deployment = deployment
        self._before: LaneState | None = None
        self._used_before: dict[str, tuple[float, float]] = {}
        self._buckets: deque[list[int]] = deque(maxlen=LATENCY_OVER_S + 1)
        self.activation_s = 0.0
        self._service_s = 0.0
        self._starts_s: dict[str, float] = {}
        self._minute, self._counts, self._late = -1, [0] * 60, 0

    @property
    def start_s(self) -> float:
        """From an attempt's beginning to its being ready, the median."""
        found = sorted(self._starts_s.values())
        return max(USUAL_START_S, found[len(found) // 2]) if found else USUAL_START_S

    @property
    def arrived(self) -> int:
        """Requests, as the gateway counted them when it was last looked at."""
        return self._before.arrived if self._before is not None else 0

    def look(
        self, now: float, second_s: float, deployment: Deployment, lanes: list[LaneState], attempts: list[Attempt],
        usage: Mapping[str, Usage], *, rested_s: float = 0.0,
    ) -> Observation:  # fmt: skip
        """`second_s`: in which what is new came; it was looked `rested_s` sooner before, and nothing came in those."""
        lane = _together(lanes)
        before = self._before if self._before is not None and self._before.arrived <= lane.arrived else None
        self._before = lane
        grown = _grown(before, lane) if before is not None else LaneState(deployment="", queued=0, in_flight=0, links=0)
        if grown.answered:
            self._service_s = grown.busy_s / grown.answered
        ready, starting = self._replicas(deployment, attempts)
        cpu, gpu = self._used(second_s + rested_s, deployment, ready, usage)
        self.activation_s = lane.activation_s or self.activation_s
        settings = deployment.settings
        slots = settings.concurrency or WEB_SLOTS if settings.is_web else lane.slots
        active = sum(number < deployment.answering for number in ready)
        return Observation(
            at=now, arrived=round(grown.arrived / max(second_s, 0.1)), begun=grown.begun, late=grown.late,
            service_s=self._service_s if grown.answered else 0.0, in_flight=float(lane.in_flight), queued=lane.queued,
            oldest_s=lane.oldest_s, active=active, pool=len(ready) - active, slots=slots,
            starting=sum(number < deployment.answering for number in starting),
            pool_starting=sum(number >= deployment.answering for number in starting),
            cpu=cpu, gpu=gpu, latency_s=self._latency(lane.buckets),
        )  # fmt: skip

    def minute_left_s(self, now: float) -> float:
        """Until the present minute is to be kept; infinite where it has had nothing."""
        return (self._minute + 1) * 60 - now + 1 if any(self._counts) else math.inf

    def minute(self, seen: Observation) -> Minute | None:
        """The minute that has just ended."""
        minute, ended = int(seen.at // 60), None
        if minute != self._minute:
            if self._minute >= 0 and any(self._counts):
                ended = Minute(
                    minute=self._minute,
                    counts=self._counts,
                    service_s=self._service_s,
                    late=self._late,
                    slots=seen.slots,
                )
            self._minute, self._counts, self._late = minute, [0] * 60, 0
        self._counts[int(seen.at) % 60] += seen.arrived
        self._late += seen.late
        return ended

    def _replicas(self, deployment: Deployment, attempts: list[Attempt]) -> tuple[list[int], list[int]]:
        ready, starting = [], []
        for each in attempts:
            owner, _, number = each.unit.rpartition("-")
            if owner != deployment.id or not number.isdigit() or each.state == EXITED:
                continue
            if each.state == READY:
                ready.append(int(number))
                if each.started_at:
                    self._starts_s[f"{each.unit}/{each.attempt}"] = max(0.0, each.ready_at - each.started_at)
            elif each.state in (STARTING, RUNNING):
                starting.append(int(number))
        for key in list(self._starts_s)[:-REMEMBERED]:
            del self._starts_s[key]
        return ready, starting

    def _used(
        self, second_s: float, deployment: Deployment, ready: list[int], usage: Mapping[str, Usage]
    ) -> tuple[float, float]:
        """CPU and GPU, of what its replicas may use: their limit, or one each."""
        mine = {key: (each.cpu_s, each.gpu_s) for key, each in usage.items() if key.rpartition("-")[0] == deployment.id}
        before, self._used_before = self._used_before, mine
        resources, seconds = deployment.settings.resources, max(1, len(ready)) * max(second_s, 0.1)
        shares = []
        for place, allowed in enumerate((resources.cpus or 1.0, resources.gpus or 1)):
            used_s = sum(max(0.0, spent[place] - before[key][place]) for key, spent in mine.items() if key in before)
            shares.append(min(1.0, used_s / allowed / seconds))
        return shares[0], shares[1]

    def _latency(self, buckets: list[int]) -> float:
        """Within which 99 of 100 answers of the last half minute came."""
        if self._buckets and (len(self._buckets[-1]) != len(buckets) or sum(self._buckets[-1]) > sum(buckets)):
            self._buckets.clear()  # another release, or another gateway
        self._buckets.append(list(buckets))
        return within_s([after - before for before, after in zip(self._buckets[0], buckets, strict=True)])


def _together(lanes: list[LaneState]) -> LaneState:
    """One deployment may have several lanes: its own, and that of a share."""
    if len(lanes) == 1:
        return lanes[0]
    total = LaneState(deployment="", queued=0, in_flight=0, links=0)
    for each in lanes:
        added = {name: getattr(total, name) + getattr(each, name) for name in _ADDED}
        total = msgspec.structs.replace(
            total,
            oldest_s=max(total.oldest_s, each.oldest_s),
            slots=max(total.slots, each.slots),
            activation_s=max(total.activation_s, each.activation_s),
            buckets=each.buckets or total.buckets,
            **added,
        )
    return total


def _grown(before: LaneState, after: LaneState) -> LaneState:
    counters = ("arrived", "begun", "late", "answered", "busy_s")
    return msgspec.structs.replace(after, **{name: getattr(after, name) - getattr(before, name) for name in counters})


_ADDED = ("queued", "in_flight", "links", "arrived", "begun", "late", "answered", "busy_s", "taken")
