"""Steps: from a value on so many replicas more, as somebody wrote it down, beside what the rule works out. Pure.

A step that is reached adds to what there is, replicas that are starting included. Until `again_s` has passed, only a
step that adds more does anything, and then the difference: what was added has had no time to help. What was added stays
until no step has been reached for the cooldown, and is then given back as it came, the last first, one each cooldown.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from bough.kernel.scale import Scale, Step
from bough.scaling.models import CPU, GPU, IN_FLIGHT, LATENCY, LOAD, QUEUE, Observation

COOLDOWN_S = 300.0  # where the service sets none: as long as others wait before they give up what an alarm has added


class Taken(msgspec.Struct, frozen=True, array_like=True):
    """A step that was taken: its name, what it asked for, and the replicas that came of it within the bounds."""

    name: str
    asked: int
    replicas: int


class Stepped(msgspec.Struct, frozen=True, kw_only=True):
    """What steps have added until now. `base`: replicas before the first of them; `taken`: the oldest first; `at`: when
    the last was; `reached_at`: when any step was reached last; `since`: since when each one is, None where it is not.
    """

    base: int = 0
    taken: tuple[Taken, ...] = ()
    at: float = 0.0
    reached_at: float = 0.0
    since: tuple[float | None, ...] = ()

    @property
    def level(self) -> int:
        """Replicas that the steps ask for; 0: for none."""
        return self.base + sum(each.replicas for each in self.taken)

    @property
    def needs(self) -> dict[str, float]:
        """As a need of a decision, under the name of the step that was taken last."""
        return {self.taken[-1].name: float(self.level)} if self.taken else {}


def advance(scale: Scale, before: Stepped, seen: Observation, load: float) -> Stepped:
    """After one more look. `load`: offered, in replicas."""
    values, now = measured(seen, load), seen.at
    starts = before.since if len(before.since) == len(scale.steps) else (None,) * len(scale.steps)
    since = tuple(
        (now if start is None else start) if values[step.signal] >= step.reaches else None
        for step, start in zip(scale.steps, starts, strict=True)
    )
    reached = [
        step for step, start in zip(scale.steps, since, strict=True) if start is not None and now - start >= step.for_s
    ]
    after = msgspec.structs.replace(before, since=since)
    if reached:
        step = max(reached, key=lambda each: each.add)
        return _taken(scale, msgspec.structs.replace(after, reached_at=now), seen, step)
    calm_s = scale.cooldown if scale.cooldown >= 0 else COOLDOWN_S
    if after.taken and now - after.reached_at >= calm_s:
        left = after.taken[:-1]
        return msgspec.structs.replace(after, taken=left, base=after.base if left else 0, reached_at=now)
    return after


def measured(seen: Observation, load: float) -> Mapping[str, float]:
    """What steps are compared with."""
    active = max(1, seen.active)
    return {
        LOAD: load / active, QUEUE: float(seen.queued), IN_FLIGHT: seen.in_flight / active / max(1, seen.slots),
        CPU: seen.cpu, GPU: seen.gpu, LATENCY: seen.latency_s,
    }  # fmt: skip


def _taken(scale: Scale, before: Stepped, seen: Observation, step: Step) -> Stepped:
    last = before.taken[-1] if before.taken else None
    if last is not None and seen.at - before.at < step.again_s:
        wanted = before.level + step.add - last.asked
        if wanted <= before.level:
            return before
        earlier, below = before.taken[:-1], before.level - last.replicas
    else:
        wanted = max(before.level, seen.active + seen.starting) + step.add
        earlier, below = before.taken, before.level
    base = before.base if before.taken else seen.active + seen.starting
    level = min(wanted, scale.most)
    grown = level - (below or base)
    if grown <= 0 or level <= before.level:
        return before  # there is no room for more
    added = Taken(step.name, step.add, grown)
    return msgspec.structs.replace(before, base=base, taken=(*earlier, added), at=seen.at)
