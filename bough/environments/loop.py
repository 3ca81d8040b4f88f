"""Discards environments whose time to live is over."""

from __future__ import annotations

from bough.environments import branching, store
from bough.kernel.clock import Clock
from bough.kernel.context import SYSTEM, Context, Parts
from bough.kernel.events import Events
from bough.kernel.operations import Store
from bough.kernel.reconcile import Handler, Turn


def handler(kept: Store, events: Events, clock: Clock) -> Handler:
    """The handler for environments."""

    def turn(turn: Turn) -> float | None:
        project, _, name = turn.id.partition("/")
        with turn.apply() as tx:
            if not store.exists(tx, (project, name)):
                return None
            found = store.view(tx, (project, name))
            left = found.expires_at - turn.clock.now()
            if not found.expires_at or found.protected:
                return None
            if left > 0:  # a deploy has prolonged it
                return left
            branching.discard(Context(SYSTEM, tx, clock, events, Parts({}), kept), (project, name))
        return None

    return turn
