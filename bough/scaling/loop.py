"""Follows the rule for every service with a `scale`: once a second, from what the gateway and the engine say; where
nobody asks, when the rule itself would change something (`scaled.py`).

    gateway ── counters ──> watch ── observation ──> rule ── wish ──> deployment row ──> serving starts and stops,
                                                                                         the gateway's table follows

Nothing here is needed for a request: a gateway that is short of replicas takes those of the warm pool by itself, and
wakes what sleeps. A server that is gone leaves the numbers as they are. What the past has shown is lost with the
server, so for its first minute nothing is given up; only what is learnt of late requests is kept, a row for a service.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec
import sqlalchemy as sa

from bough.adapters.engine import Attempt, Engine
from bough.gateway.loop import changed as table_changed
from bough.gateway.models import GatewayState, LaneState
from bough.kernel.reconcile import Handler, Turn, wake
from bough.runtime.spec import Usage
from bough.scaling import store
from bough.scaling.listening import Listening
from bough.scaling.models import CPU, GPU, SLEPT, SPENT, WOKEN, Costs, Decision, Observation, Place
from bough.scaling.policy import day_of
from bough.scaling.scaled import SECOND_S, Scaled
from bough.serving import store as serving
from bough.serving.models import ASLEEP, READY, Deployment

KIND, ID = "scale", "all"
REST_S = 30.0  # while nothing scales
FORGET_S = 3600.0


Spent = Callable[[sa.Connection, float], Collection[tuple[str, str]]]
"""Environments (project, environment) whose budget is spent at this time."""


def changed(tx: sa.Connection, _event: object = None) -> None:
    """There may be something to scale."""
    wake(tx, KIND, ID)


class Scaling:
    """The handler."""

    def __init__(
        self, ask: Callable[[], GatewayState | None], engine: Engine, listening: Listening, spent: Spent
    ) -> None:
        self._ask, self._engine, self._listening, self._spent = ask, engine, listening, spent
        self._scaled: dict[str, Scaled] = {}
        self._forgot_at = 0.0

    def handle(self, turn: Turn) -> float | None:
        self._listening.wake()
        with turn.read() as tx:
            found = [each for each in serving.in_state(tx, READY, ASLEEP) if each.settings.scale.max]
            spent = self._spent(tx, turn.clock.now()) if found else ()
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
            if lanes := _lanes(state, deployment.id):
                held = (deployment.project, deployment.environment) in spent
                self._follow(turn, now, deployment, lanes, attempts, usage, spent=held)
        if now - self._forgot_at > FORGET_S:
            self._forgot_at = now
            with turn.apply() as tx:
                store.forget(tx, now)
        return self._rest(turn, now, awake)

    def _rest(self, turn: Turn, now: float, awake: list[Deployment]) -> float:
        """Until the next look: a second, or as long as all are quiet and nothing comes."""
        found = [self._scaled.get(each.id) for each in awake]
        rest_s = min(SECOND_S if each is None else each.rest_s() for each in found)
        if rest_s > SECOND_S:
            self._listening.rest({each.watch.deployment: each.watch.arrived for each in found if each is not None})
        return max(0.05, rest_s - (turn.clock.now() - now))

    def _begin(self, turn: Turn, now: float, deployment: Deployment) -> Scaled:
        """What its budget has borne today is known from what was decided; what it has learnt is kept each minute."""
        with turn.read() as tx:
            spent_s = store.spent_s(tx, place_of(deployment), day_of(now), now, Costs().pool_price)
            learnt = store.learnt(tx, place_of(deployment))
        made = self._scaled[deployment.id] = Scaled(deployment, now, spent_s, learnt)
        return made

    def _slept(self, turn: Turn, deployment: Deployment) -> None:
        scaled = self._scaled[deployment.id]
        scaled.runs, scaled.slept = False, True
        with turn.apply() as tx:
            store.decided(tx, place_of(deployment), Decision(
                deployment=deployment.id, at=turn.clock.now(), active=0, pool=0, why=SLEPT, needs={},
                seen=Observation(at=scaled.seen_at, arrived=0),
            ))  # fmt: skip

    def _follow(
        self, turn: Turn, now: float, deployment: Deployment, lanes: list[LaneState], attempts: list[Attempt],
        usage: dict[str, Usage], *, spent: bool,
    ) -> None:  # fmt: skip
        scaled = self._scaled.get(deployment.id)
        if scaled is None or now < scaled.seen_at:  # else of another time: the clock was set back
            scaled = self._begin(turn, now, deployment)
        scaled.spent = spent
        seen = scaled.look(now, deployment, lanes, attempts, usage)
        wish = scaled.decide(seen, sum(each.taken for each in lanes))
        minute, place = scaled.watch.minute(seen), place_of(deployment)
        new_size = (wish.active, wish.pool) != (deployment.answering, deployment.waiting)
        refuses = wish.why == SPENT and not scaled.refused
        scaled.refused = wish.why == SPENT or (scaled.refused and spent)
        woken, scaled.slept = scaled.slept, False  # a request did that, before anybody decided
        if not (new_size or refuses or woken) and minute is None:
            return
        with turn.apply(serving.stands(deployment)) as tx:
            if minute is not None:
                store.passed(tx, place, minute)
                store.keep_learnt(tx, place, scaled.scaler.learnt)
            if new_size or refuses or woken:
                store.decided(tx, place, Decision(
                    deployment=deployment.id, at=now, active=wish.active, pool=wish.pool,
                    why=wish.why if new_size or refuses else WOKEN, needs=wish.needs, seen=seen,
                    late_cost=wish.late_cost,
                ))  # fmt: skip
            if new_size or refuses:
                serving.scaled(tx, deployment.id, now, wish.active, wish.pool)
                table_changed(tx)


def _lanes(state: GatewayState, deployment: str) -> list[LaneState]:
    """With the items of queues that wait for it as requests do, although its lane is given only a few at a time."""
    lanes = [each for each in state.lanes if each.deployment == deployment]
    queues = [each for each in state.queues if each.deployment == deployment and each.ready]
    if not lanes or not queues:
        return lanes
    first, *others = lanes
    queued = first.queued + sum(each.ready for each in queues)
    oldest_s = max(first.oldest_s, *(each.age_s for each in queues))
    return [msgspec.structs.replace(first, queued=queued, oldest_s=oldest_s), *others]


def handler(ask: Callable[[], GatewayState | None], engine: Engine, listening: Listening, spent: Spent) -> Handler:
    """`ask`: what the gateway says of itself now."""
    return Scaling(ask, engine, listening, spent).handle


def place_of(deployment: Deployment) -> Place:
    return deployment.project, deployment.environment, deployment.service
