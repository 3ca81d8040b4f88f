"""Reads meters now and then, and adds what is new to the usage of whom they are for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import sqlalchemy as sa

from bough.adapters.engine import EXITED, Attempt, Engine
from bough.costs import rules, store
from bough.costs.budgets import Budgets
from bough.costs.models import Prices, Reading
from bough.kernel.clock import Clock
from bough.kernel.errors import Unavailable
from bough.kernel.events import Event
from bough.kernel.paying import Meter, Payer, payer_of
from bough.kernel.reconcile import Handler, Turn, wake
from bough.runtime.spec import Usage

KIND, ALL = "costs", "all"
LOOK_S = 15.0  # what a process uses after the last look before a kill is not counted
SOON_S = 1.0  # what happens to units comes in swarms, which are looked at once

Payers = Callable[[sa.Connection], Mapping[str, Payer]]
"""Who pays for the units whose names begin like this, and say nothing of it themselves."""
Servers = Callable[[], list[Meter]]
"""What runs outside the engine."""


class ReadToTheEnd:
    """An engine that reads a unit once more before it forgets it, so that one that began and ended between two looks is
    counted. In all else it is the engine that it is given."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ended: list[tuple[Attempt, Usage]] = []

    def forget(self, unit: str) -> None:
        for each in self._engine.snapshot():
            if each.unit == unit and each.state == EXITED:
                key = f"{unit}/{each.attempt}"
                self._ended.append((each, self._engine.usage().get(key, Usage())))  # first, so that no look misses it
        self._engine.forget(unit)

    def ended(self) -> list[tuple[Attempt, Usage]]:
        """Those that were forgotten and are not counted yet."""
        return list(self._ended)

    def counted(self, ended: Collection[tuple[Attempt, Usage]]) -> None:
        """Their usage is written down: the first of `ended`, in its order."""
        del self._ended[: len(ended)]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


class Metering:
    """The handler."""

    def __init__(
        self, engine: ReadToTheEnd, payers: Payers, servers: Servers, prices: Prices, budgets: Budgets
    ) -> None:
        self._engine, self._payers, self._servers = engine, payers, servers
        self._prices, self._budgets = prices, budgets

    def handle(self, turn: Turn) -> float | None:
        try:
            attempts, used = self._engine.snapshot(), self._engine.usage()
        except Unavailable:
            return LOOK_S
        read = {f"{each.unit}/{each.attempt}": (each, used.get(f"{each.unit}/{each.attempt}", Usage()))
                for each in attempts}  # fmt: skip
        ended = self._engine.ended()
        read |= {f"{each.unit}/{each.attempt}": (each, of) for each, of in ended}
        servers, now = self._servers(), turn.clock.now()
        with turn.apply(lasting=False) as tx:  # a power cut ends the processes too, and costs the last of their usage
            who, before, shown = self._payers(tx), store.meters(tx), {each.key: each for each in servers}
            for attempt, of in read.values():
                payer = payer_of(attempt.labels) or who.get(attempt.unit.rpartition("-")[0])
                if payer is not None:
                    meter = rules.meter(payer, attempt, of, now)
                    shown[meter.key] = meter
            self._add(tx, before, shown, now)
            self._budgets.tell(tx, now)
        self._engine.counted(ended)
        return LOOK_S if any(not each.ended for each in shown.values()) else None

    def _add(self, tx: sa.Connection, before: Mapping[str, Reading], shown: Mapping[str, Meter], now: float) -> None:
        changed: dict[str, Reading] = {}
        for key, meter in shown.items():
            known = before.get(key, Reading())
            if (reading := rules.together(known, meter)) != known:
                changed[key] = reading
                store.add(tx, meter.payer, rules.usage(meter, rules.grown(known, meter), self._prices), now)
        store.keep_meters(tx, changed, rules.gone(before, shown))


def handler(engine: ReadToTheEnd, payers: Payers, servers: Servers, prices: Prices, budgets: Budgets) -> Handler:
    return Metering(engine, payers, servers, prices, budgets).handle


def changed(tx: sa.Connection, event: Event | None = None) -> None:
    """There may be something to meter, or a budget is another one."""
    wake(tx, KIND, ALL)


def happened(tx: sa.Connection, clock: Clock) -> None:
    """Something has begun or ended."""
    wake(tx, KIND, ALL, at=clock.now() + SOON_S)
