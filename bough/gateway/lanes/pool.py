"""A lane's warm pool: replicas that are up and take no traffic until those that answer do not keep up."""

from __future__ import annotations

from collections.abc import Sequence

from bough.gateway import rules
from bough.gateway.call import Call
from bough.gateway.models import Route, Target


class WarmPool:
    """Which of its replicas are taken. `there`: the lane has one."""

    __slots__ = ("_taken", "there")

    def __init__(self) -> None:
        self.there = False
        self._taken: dict[str, float] = {}  # units that answer, and when they last had something to do

    @property
    def taken(self) -> int:
        """How many replicas are."""
        return len(self._taken)

    def update(self, route: Route) -> None:
        """What the route does not list as warm any more is in the pool no more."""
        warm = {target.unit for target in route.targets if target.warm}
        self.there = bool(warm)
        self._taken = {unit: at for unit, at in self._taken.items() if unit in warm}

    def rests(self, target: Target) -> bool:
        return target.warm and target.unit not in self._taken

    def taken_at(self, unit: str) -> float | None:
        """When it last had something to do, which is when it was taken for one that has not answered yet; None: it is
        not taken."""
        return self._taken.get(unit)

    def is_needed(self, queue: Sequence[Call], answering: Sequence[str], item_s: float, now: float) -> bool:
        """Whether one more replica should be taken, beside the units that answer and the taken ones that are about to.
        Asked at every dealing out, so that several are taken as long as it does not help."""
        coming = len(self._taken) - sum(unit in self._taken for unit in answering)
        oldest = queue[0]
        if oldest.attempts:
            return False
        return rules.may_take(len(queue), item_s, len(answering) + coming, now - oldest.arrived)

    def take(self, unit: str, now: float) -> None:
        self._taken[unit] = now

    def goes_back(self, unit: str, busy: bool, now: float) -> bool:
        """Whether a unit was taken and has had nothing to do for long enough: it rests from now on."""
        since = self._taken.get(unit)
        if since is None:
            return False
        if busy:
            self._taken[unit] = now
        elif now - since > rules.GIVE_BACK_S:
            del self._taken[unit]
            return True
        return False
