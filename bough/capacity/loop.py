"""Looks at the zones of all pools now and then, so that what a job is told does not begin with knowing nothing."""

from __future__ import annotations

import sqlalchemy as sa

from bough.adapters.capacity import SPOT
from bough.capacity.deciding import again_s
from bough.capacity.pools import Pools
from bough.kernel.reconcile import Handler, Turn, wake

KIND, ALL = "capacity", "all"


def handler(pools: Pools) -> Handler:
    def handle(turn: Turn) -> float | None:
        spot = [offer.speed for offer in pools.catalogue() if offer.kind == SPOT]
        if not spot:
            return None
        pools.look()
        return again_s(max(spot))

    return handle


def begin(tx: sa.Connection) -> None:
    wake(tx, KIND, ALL)
