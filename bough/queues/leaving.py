"""An environment that is discarded takes its queues' items along: a later one of its name begins with none, and is fed
from the beginning.

Items lie in a file of their own, which no transaction of the control plane covers, so they go afterwards: at once, and
once more when the gateway has surely left the queues and whoever told of results has ended.
"""

from __future__ import annotations

import sqlalchemy as sa

from bough.adapters.queue import Queues
from bough.environments import store as environments
from bough.kernel.events import Event
from bough.kernel.reconcile import Handler, Turn, wake

KIND = "queues-left"  # id: PROJECT/ENVIRONMENT/TIME, when it was discarded
SETTLED_S = 15.0  # by then nothing that was accepted before the gateway heard of it is on its way


def on_discarded(tx: sa.Connection, event: Event) -> None:
    wake(tx, KIND, f"{event.data['project']}/{event.data['environment']}/{event.at:.3f}")


def handler(queues: Queues) -> Handler:
    def turn(turn: Turn) -> float | None:
        project, environment, text = turn.id.rsplit("/", 2)
        now, discarded_at = turn.clock.now(), float(text)
        with turn.read() as tx:
            here_again = environments.exists(tx, (project, environment))
        for place in queues.tally():
            if place[:2] == (project, environment):
                queues.clear(place, min(discarded_at, now) if here_again else now)
        passed_s = now - discarded_at  # of a clock that was set back by more than that it says nothing
        return SETTLED_S - max(passed_s, 0.0) if abs(passed_s) < SETTLED_S else None

    return turn
