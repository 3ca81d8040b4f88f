"""A program that writes, checkpoints and branches without end, and says on standard output what is done: it is killed.

w N         row N is committed
b HEAD N    HEAD was cut when N rows, and maybe one more, were there
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from bough.adapters.sql.sqlite import Sqlite
from bough.runtime.pages import opening


def main(root: str, handle: str, mode: str, seed: str) -> None:
    engine, chance = Sqlite(Path(root)), random.Random(int(seed))
    if chance.random() < 0.5:
        cut(engine, handle, chance)
        return
    connection = opening.connect(engine.path(handle), isolation_level=None)
    connection.execute(f"PRAGMA journal_mode = {mode}").fetchall()
    (number,) = connection.execute("SELECT coalesce(max(id), 0) FROM rows").fetchone()
    while True:
        number += 1
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO rows VALUES (?, ?)", (number, "x" * chance.randrange(3000)))
        connection.execute("UPDATE rows SET text = text || 'y' WHERE id % 7 = ?", (number % 7,))
        connection.execute("COMMIT")
        print("w", number, flush=True)
        if chance.random() < 0.2:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        if chance.random() < 0.05:
            connection.execute("DELETE FROM rows WHERE text LIKE 'x%' AND id % 5 = 0 AND id < ?", (number - 50,))
            connection.execute("VACUUM")


def cut(engine: Sqlite, handle: str, chance: random.Random) -> None:
    while True:
        made = engine.cut(handle).handle
        print("b", made, flush=True)
        if chance.random() < 0.3:
            engine.settle(handle)
            engine.settle(made)
        if chance.random() < 0.3:  # what a restore of a snapshot is
            print("b", engine.cut(made).handle, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
