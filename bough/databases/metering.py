"""What servers of databases use. SQLite has none: its work is that of the programs that open it."""

from __future__ import annotations

import sqlalchemy as sa

from bough.databases import store
from bough.databases.disk import Databases
from bough.databases.models import READY
from bough.kernel.paying import DATABASE, Meter, Payer

CENTER = "databases"


def meters(tx: sa.Connection, disk: Databases) -> list[Meter]:
    """Of those that run."""
    found = []
    for each in store.every(tx):
        running = disk.engine(each.engine).running(each.handle) if each.state == READY else None
        if running is not None:
            payer = Payer(
                project=each.project, environment=each.environment, cost_center=CENTER, kind=DATABASE,
                workload=each.name,
            )  # fmt: skip
            found.append(
                Meter(key=f"{each.handle}/{running.mark}", payer=payer, seconds=running.seconds, cpu_s=running.cpu_s)
            )
    return found
