"""Reconciles per second: claim, empty handler, release, each turn two commits.

    python bench/kernel/reconcile.py [FOLDER]    the database lies under FOLDER (default: the temporary folder)

Prints one JSON line per setting; the figure is the median of five rounds.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from bough.adapters.database.sqlite import SqliteDatabase
from bough.kernel.clock import SystemClock
from bough.kernel.reconcile import Loop, wake
from bough.kernel.tables import metadata

TURNS = 1000
ROUNDS = 5


def main(folder: str | None) -> None:
    for durable in (True, False):
        for objects in (100, 10_000):
            for workers in (1, 4):
                with tempfile.TemporaryDirectory(dir=folder) as place:
                    rates = measure(Path(place), durable, objects, workers)
                setting = {"durable": durable, "objects": objects, "workers": workers}
                print(json.dumps(setting | {"per_second": round(statistics.median(rates))}), flush=True)


def measure(place: Path, durable: bool, objects: int, workers: int) -> list[float]:
    database = SqliteDatabase(place / "bough.db", durable=durable)
    with database.write() as tx:
        metadata.create_all(tx)
        for number in range(objects):
            wake(tx, "thing", str(number))
    loop = Loop(database, SystemClock(), {"thing": lambda turn: 0.0})

    def work_through() -> None:
        for _ in range(TURNS // workers):
            loop.run_once()

    rates = []
    for _ in range(ROUNDS):
        threads = [threading.Thread(target=work_through) for _ in range(workers)]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        rates.append(TURNS / (time.perf_counter() - began))
    database.close()
    return rates


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
