"""Reads the meters of services now and then, and adds what is new to their usage."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import sqlalchemy as sa

from bough.adapters.engine import Engine
from bough.costs import rules, store
from bough.costs.models import Payer, Reading
from bough.kernel.errors import Unavailable
from bough.kernel.events import Event
from bough.kernel.reconcile import Handler, Turn, wake
from bough.runtime.spec import Usage

KIND, ALL = "costs", "all"
LOOK_S = 15.0  # what a process uses after the last look before it is forgotten is not counted

Payers = Callable[[sa.Connection], Mapping[str, Payer]]
"""Who pays for the units whose names begin like this."""


def handler(engine: Engine, payers: Payers, core_hour: float) -> Handler:
    def turn(turn: Turn) -> float | None:
        try:
            attempts, used = engine.snapshot(), engine.usage()
        except Unavailable:
            return LOOK_S
        with turn.apply(lasting=False) as tx:  # a power cut ends the processes too, and costs the last of their usage
            who, before = payers(tx), store.meters(tx)
            now, shown, found = turn.clock.now(), dict[str, Reading](), []
            for each in attempts:
                payer = who.get(each.unit.rpartition("-")[0])
                if payer is None:
                    continue
                key = f"{each.unit}/{each.attempt}"
                known, reading = before.get(key, Reading()), rules.read(each, used.get(key, Usage()), now)
                shown[key] = rules.together(known, reading)
                found.append((payer, rules.usage(payer, rules.grown(known, reading), core_hour)))
            for payer, sums in rules.added(found).values():
                store.add(tx, payer, sums, now)
            changed = {key: reading for key, reading in shown.items() if before.get(key) != reading}
            store.keep_meters(tx, changed, rules.gone(before, shown))
        return LOOK_S if shown else None

    return turn


def changed(tx: sa.Connection, event: Event | None = None) -> None:
    """There may be something to meter."""
    wake(tx, KIND, ALL)
