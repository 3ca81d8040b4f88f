"""The ledger: what an entry costs beside its commit, and how long it takes to verify many.

    python bench/registry/ledger.py [FOLDER]    the database lies under FOLDER (default: the temporary folder)

Prints one JSON line; medians.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from bough.adapters.database.migrate import upgrade
from bough.adapters.database.sqlite import SqliteDatabase
from bough.kernel.clock import SystemClock
from bough.ledger import verifying
from bough.ledger.keys import SigningKey
from bough.ledger.store import Ledger

ENTRIES = 100_000
PER_TRANSACTION = 500
EVIDENCE = {"name": "churn", "version": 7, "alias": "champion", "digest": "ab" * 32, "gates": ["cd" * 32] * 4}


def main(folder: str | None) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        path = Path(place) / "bough.db"
        upgrade(path)
        database = SqliteDatabase(path)
        ledger = Ledger(SigningKey(Path(place)), SystemClock())
        spent = []
        for _ in range(ENTRIES // PER_TRANSACTION):
            with database.write() as tx:
                for number in range(PER_TRANSACTION):
                    began = time.perf_counter()
                    ledger.append(
                        tx, "shop", "main", "model.alias_set", f"churn/{number}", by="ann", why="better",
                        evidence=EVIDENCE,
                    )  # fmt: skip
                    spent.append(time.perf_counter() - began)
        seconds = []
        for _ in range(3):
            with database.read() as tx:
                began = time.perf_counter()
                verifying.verify(tx, "")
                seconds.append(time.perf_counter() - began)
        database.close()
    found = {
        "append_ms": round(statistics.median(spent) * 1e3, 3),
        "append_p99_ms": round(statistics.quantiles(spent, n=100)[98] * 1e3, 3),
        "entries": len(spent),
        "verify_s": round(statistics.median(seconds), 2),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
