"""The control plane's side of sleep: puts deployments to sleep that nobody has asked for long enough.

ready ── idle long enough ──> asleep, told to the gateway ── it has heard, still idle ──> units put to sleep
  ^                                        │                                                      │
  └─── a request came, or its hours have ──┘<───────────────── the gateway woke a unit ───────────┘

Nothing is lost on the way: from the moment that the gateway has heard, it asks the node before it sends anything to
such a deployment, and the node does not put to sleep what it was just asked for. What a release has drained while the
gateway was asked stays drained. A gateway that does not answer
cannot say that nobody asks, so then nobody goes to sleep.
"""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from bough.adapters.engine import READY as UNIT_READY
from bough.adapters.engine import RUNNING, STARTING, Engine
from bough.gateway.loop import changed as table_changed
from bough.gateway.models import GatewayState, LaneState
from bough.kernel.errors import Busy
from bough.kernel.events import Events
from bough.kernel.reconcile import Handler, Turn, wake
from bough.kernel.scale import floor_of
from bough.serving import replicas
from bough.serving import store as serving
from bough.serving.models import ASLEEP, READY, Deployment

KIND, ID = "sleep", "all"
SOON_S = 0.1  # until the gateway has read the table
ASK_AGAIN_S = 5.0  # a gateway that is gone, or does not know the deployment yet


def changed(tx: sa.Connection, _event: object = None) -> None:
    """A deployment may have to be looked at sooner."""
    wake(tx, KIND, ID)


def handler(ask: Callable[[], GatewayState | None], engine: Engine, events: Events) -> Handler:
    """`ask`: what the gateway says of itself now."""

    def turn(turn: Turn) -> float | None:
        with turn.read() as tx:
            found = [each for each in serving.in_state(tx, READY, ASLEEP) if each.sleeps_after_s > 0]
        found = [each for each in found if each.state == READY or not each.drained or each.settings.scale.schedule]
        if not found:
            return None
        state = ask()
        if state is None:
            return ASK_AGAIN_S
        return min(_consider(turn, engine, events, each, lanes_of(state, each.id)) for each in found)

    return turn


def lanes_of(state: GatewayState, deployment: str) -> list[LaneState]:
    return [each for each in state.lanes if each.deployment == deployment]


def rest_left_s(deployment: Deployment, lanes: list[LaneState]) -> float:
    """Until it may sleep; 0: now."""
    if any(lane.queued or lane.in_flight for lane in lanes):
        return deployment.sleeps_after_s
    return max(0.0, deployment.sleeps_after_s - min(lane.idle_s for lane in lanes))


def _consider(turn: Turn, engine: Engine, events: Events, deployment: Deployment, lanes: list[LaneState]) -> float:
    if not lanes:
        return ASK_AGAIN_S if deployment.state == READY or deployment.drained else SOON_S
    now, left_s = turn.clock.now(), rest_left_s(deployment, lanes)
    wanted = floor_of(deployment.settings.scale.schedule, now) > 0
    if deployment.state == READY:
        if wanted:
            return ASK_AGAIN_S
        if left_s > 0:
            return max(left_s, SOON_S)
        with turn.apply(serving.stands(deployment)) as tx:
            replicas.change(tx, events, deployment.id, now, state=ASLEEP, drained=False)
            if deployment.settings.scale.max:  # it begins with what it began with
                serving.scaled(tx, deployment.id, now, 0, 0)
        return SOON_S
    if left_s > 0 or wanted:  # a request came meanwhile, or its hours have begun
        with turn.apply(serving.stands(deployment)) as tx:
            replicas.change(tx, events, deployment.id, now, state=READY)
            wake(tx, serving.KIND, deployment.id)
            table_changed(tx)
        return max(left_s, SOON_S)
    if deployment.drained:
        return ASK_AGAIN_S
    if all(lane.asleep for lane in lanes) and _put_to_sleep(engine, deployment):
        with turn.apply(serving.stands(deployment)) as tx:
            serving.drained(tx, deployment.id, turn.clock.now())
        return ASK_AGAIN_S
    return SOON_S


def _put_to_sleep(engine: Engine, deployment: Deployment) -> bool:
    units = {deployment.unit(number) for number in range(deployment.wanted)}
    try:
        for each in engine.snapshot():
            if each.unit in units and each.state in (STARTING, RUNNING, UNIT_READY):
                engine.sleep(each.unit, each.attempt, deployment.settings.grace_s)
    except Busy:  # woken just now: its request will show
        return False
    return True
