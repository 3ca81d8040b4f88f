"""Branches, writes and merges until it is killed: python branching_process.py HOME NAME ROUNDS

Every round writes one number under two kinds in a branch and merges it. What it prints has been committed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bough.adapters.engine.fake import FakeEngine
from bough.app import Bough
from bough.kernel import catalog
from bough.kernel.catalog import FILE, TABLE, Write
from bough.kernel.clock import SystemClock
from bough.kernel.context import SYSTEM
from bough.kernel.platform import Platform


def main(home: Path, name: str, rounds: int) -> None:
    clock = SystemClock()
    bough = Bough(home, Platform(), engine=FakeEngine(clock), clock=clock)

    def call(operation: str, **fields: object) -> None:
        bough.operations.call(operation, {"project": "shop", **fields}, SYSTEM)

    for number in range(1, rounds + 1):
        branch = f"{name}-{number}"
        call("environments.create", branch=branch)
        with bough.database.write() as tx:
            layer = catalog.layer_of(tx, "shop", branch)
            both = [Write(FILE, name, number), Write(TABLE, name, number)]
            catalog.commit(tx, layer, both, at=clock.now(), by=name, why=f"round {number}")
        call("environments.merge", branch=branch)
        print(number, flush=True)
        call("environments.discard", branch=branch)
    bough.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
