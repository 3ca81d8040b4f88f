"""Services that sleep learn when they are asked: kept awake while the next request is likely, made ready before it.

Looks every few seconds at how long each has been idle; where a request came after more than a minute, the idle time is
kept. From all of them follow the minutes that are spent awake (`keeping.py`). Putting to sleep is the gateway
capability's; here is only said for how long to stay awake, and when to be ready again.
"""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from bough.gateway.loop import changed as table_changed
from bough.gateway.models import GatewayState, LaneState
from bough.gateway.sleeping import changed as sleep_changed
from bough.kernel.events import Events
from bough.kernel.reconcile import Handler, Turn, wake
from bough.scaling import store
from bough.scaling.keeping import Habits, until_change_s
from bough.scaling.loop import place_of
from bough.serving import replicas
from bough.serving import store as serving
from bough.serving.models import ASLEEP, READY, Deployment

KIND, ID = "idleness", "all"
LOOK_S = 5.0
SHORT_S = 60.0  # idle times below this are no time to sleep
STEP_S = 1.0  # a change of plan that is smaller is none


def changed(tx: sa.Connection, _event: object = None) -> None:
    wake(tx, KIND, ID)


class Idleness:
    """The handler."""

    def __init__(self, ask: Callable[[], GatewayState | None], events: Events) -> None:
        self._ask, self._events = ask, events
        self._habits: dict[str, Habits] = {}
        self._active_at: dict[str, float] = {}
        self._gateway = 0.0

    def handle(self, turn: Turn) -> float | None:
        with turn.read() as tx:
            found = [each for each in serving.in_state(tx, READY, ASLEEP) if each.learns_sleep]
        if not found:
            return None
        state, now = self._ask(), turn.clock.now()
        if state is None:
            return LOOK_S
        if state.started_at != self._gateway:  # its counts begin anew
            self._gateway, self._active_at = state.started_at, {}
        for deployment in found:
            lanes = [each for each in state.lanes if each.deployment == deployment.id]
            if lanes:
                self._consider(turn, now, deployment, lanes)
        return LOOK_S

    def _consider(self, turn: Turn, now: float, deployment: Deployment, lanes: list[LaneState]) -> None:
        busy = any(each.queued or each.in_flight for each in lanes)
        idle_s = 0.0 if busy else min(each.idle_s for each in lanes)
        habits = self._learn(turn, now - idle_s, deployment)
        awake, left_s = until_change_s(habits.awake(), idle_s)
        if awake and deployment.state == ASLEEP:
            with turn.apply(serving.stands(deployment)) as tx:
                replicas.change(tx, self._events, deployment.id, now, state=READY)
                serving.stay_awake(tx, deployment.id, idle_s + left_s)
                wake(tx, serving.KIND, deployment.id)
                table_changed(tx)
            return
        until_s = idle_s + left_s if awake else max(STEP_S, min(idle_s, deployment.awake_s or idle_s))
        if abs(until_s - deployment.awake_s) > STEP_S and deployment.state == READY:
            with turn.apply(serving.stands(deployment)) as tx:
                serving.stay_awake(tx, deployment.id, until_s)
                sleep_changed(tx)

    def _learn(self, turn: Turn, active_at: float, deployment: Deployment) -> Habits:
        place = place_of(deployment)
        habits = self._habits.get(deployment.id)
        if habits is None:
            with turn.read() as tx:
                habits = self._habits[deployment.id] = Habits(store.habits(tx, place))
        before = self._active_at.get(deployment.id)
        self._active_at[deployment.id] = active_at
        if before is not None and active_at - before >= SHORT_S:
            habits.ended((active_at - before) / 60)
            with turn.apply() as tx:
                store.keep_habits(tx, place, habits.as_counts())
        return habits


def handler(ask: Callable[[], GatewayState | None], events: Events) -> Handler:
    return Idleness(ask, events).handle
