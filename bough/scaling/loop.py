"""Follows the rule for every service with a `scale`: once a second, from what the gateway and the engine say.

    gateway ── counters ──> watch ── observation ──> rule ── wish ──> deployment row ──> serving starts and stops,
                                                                                         the gateway's table follows

Nothing here is needed for a request: a gateway that is short of replicas takes those of the warm pool by itself, and
wakes what sleeps. A server that is gone leaves the numbers as they are. What the past has shown is lost with the
server, so for its first minute nothing is given up.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import sqlalchemy as sa

from bough.adapters.engine import Attempt, Engine
from bough.gateway.loop import changed as table_changed
from bough.gateway.models import GatewayState, LaneState
from bough.kernel.reconcile import Handler, Turn, wake
from bough.kernel.scale import floor_of
from bough.runtime.spec import Usage
from bough.scaling import store
from bough.scaling.models import CPU, GPU, SLEPT, Costs, Decision, Observation, Place, Wish
from bough.scaling.policy import Autoscaler, day_of
from bough.scaling.watching import Watch
from bough.serving import store as serving
from bough.serving.models import ASLEEP, READY, Deployment

KIND, ID = "scale", "all"
SECOND_S = 1.0
REST_S = 30.0  # while nothing scales
WARM_UP_S = 60.0
FORGET_S = 3600.0


def changed(tx: sa.Connection, _event: object = None) -> None:
    """There may be something to scale."""
    wake(tx, KIND, ID)


class Scaled:
    """One deployment that follows its traffic."""

    def __init__(self, deployment: Deployment, now: float, spent_s: float) -> None:
        self.scaler = Autoscaler(deployment.settings.scale)
        self.scaler.day_at, self.scaler.spent_s = day_of(now), spent_s
        self.watch = Watch()
        self.since = self.seen_at = now
        self.wished = (deployment.answering, deployment.waiting)
        self.runs = False  # it was not asleep when it was last looked at

    def decide(self, now: float, deployment: Deployment, seen: Observation, taken: int) -> Wish:
        scale = deployment.settings.scale
        if scale != self.scaler.scale:
            self.scaler.scale = scale
        self.scaler.costs = Costs(start_s=self.watch.start_s, activation_s=self.watch.activation_s)
        wish = self.scaler.wish(seen, floor_of(scale.schedule, now))
        if now - self.since < WARM_UP_S:
            wish = wish.keeping(deployment.answering)
        if taken and wish.active < deployment.answering + taken and seen.queued:
            wish = msgspec.structs.replace(wish, active=min(deployment.answering + taken, scale.most), why="taken")
        return msgspec.structs.replace(wish, pool=max(0, min(wish.pool, scale.most - wish.active)))


class Scaling:
    """The handler."""

    def __init__(self, ask: Callable[[], GatewayState | None], engine: Engine) -> None:
        self._ask, self._engine = ask, engine
        self._scaled: dict[str, Scaled] = {}
        self._forgot_at = 0.0

    def handle(self, turn: Turn) -> float | None:
        with turn.read() as tx:
            found = [each for each in serving.in_state(tx, READY, ASLEEP) if each.settings.scale.max]
        for each in found:
            if each.state == ASLEEP and each.id in self._scaled and self._scaled[each.id].runs:
                self._slept(turn, each)
        self._scaled = {each.id: self._scaled[each.id] for each in found if each.id in self._scaled}
        awake = [each for each in found if each.state == READY and not each.settings.mock]
        if not awake:
            return REST_S if found else None
        state, now = self._ask(), turn.clock.now()
        if state is None:
            return SECOND_S
        attempts = self._engine.snapshot()
        wanted = any({CPU, GPU} & set(each.settings.scale.signals) for each in awake)
        usage = self._engine.usage() if wanted else {}
        for deployment in awake:
            lanes = [each for each in state.lanes if each.deployment == deployment.id]
            if lanes:
                self._follow(turn, now, deployment, lanes, attempts, usage)
        if now - self._forgot_at > FORGET_S:
            self._forgot_at = now
            with turn.apply() as tx:
                store.forget(tx, now)
        return max(0.05, SECOND_S - (turn.clock.now() - now))

    def _begin(self, turn: Turn, now: float, deployment: Deployment) -> Scaled:
        """What its budget has borne today is known from what was decided."""
        with turn.read() as tx:
            spent_s = store.spent_s(tx, place_of(deployment), day_of(now), now, Costs().pool_price)
        made = self._scaled[deployment.id] = Scaled(deployment, now, spent_s)
        return made

    def _slept(self, turn: Turn, deployment: Deployment) -> None:
        scaled = self._scaled[deployment.id]
        scaled.runs = False
        with turn.apply() as tx:
            store.decided(tx, place_of(deployment), Decision(
                deployment=deployment.id, at=turn.clock.now(), active=0, pool=0, why=SLEPT, needs={},
                seen=Observation(at=scaled.seen_at, arrived=0),
            ))  # fmt: skip

    def _follow(
        self, turn: Turn, now: float, deployment: Deployment, lanes: list[LaneState], attempts: list[Attempt],
        usage: dict[str, Usage],
    ) -> None:  # fmt: skip
        scaled = self._scaled.get(deployment.id) or self._begin(turn, now, deployment)
        seen = scaled.watch.look(now, now - scaled.seen_at or SECOND_S, deployment, lanes, attempts, usage)
        scaled.seen_at, scaled.runs = now, True
        wish = scaled.decide(now, deployment, seen, sum(each.taken for each in lanes))
        minute, place = scaled.watch.minute(seen), place_of(deployment)
        if (wish.active, wish.pool) == (deployment.answering, deployment.waiting) and minute is None:
            return
        with turn.apply() as tx:
            if minute is not None:
                store.passed(tx, place, minute)
            if (wish.active, wish.pool) != (deployment.answering, deployment.waiting):
                serving.scaled(tx, deployment.id, now, wish.active, wish.pool)
                store.decided(tx, place, Decision(
                    deployment=deployment.id, at=now, active=wish.active, pool=wish.pool, why=wish.why,
                    needs=wish.needs, seen=seen,
                ))  # fmt: skip
                table_changed(tx)


def handler(ask: Callable[[], GatewayState | None], engine: Engine) -> Handler:
    """`ask`: what the gateway says of itself now."""
    return Scaling(ask, engine).handle


def place_of(deployment: Deployment) -> Place:
    return deployment.project, deployment.environment, deployment.service
