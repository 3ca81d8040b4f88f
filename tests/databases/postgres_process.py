"""A program that works at a Postgres database without end, and says on standard output what is done: it is killed.

write: w N         row N is committed; now and then a checkpoint
cut:   c HANDLE N  HANDLE was cut when N rows, and maybe more, were there; some are started, and cut in their turn
"""

from __future__ import annotations

import importlib
import random
import sys
from pathlib import Path

from bough.adapters.sql.postgres import Postgres

COUNT = "SELECT coalesce(max(id), 0) FROM rows"


def main(what: str, root: str, handle: str, seed: str) -> None:
    engine = Postgres(Path(root))
    engine._bases.own_bytes = 1 << 20
    (write if what == "write" else cut)(engine, handle, random.Random(int(seed)))


def write(engine: Postgres, handle: str, chance: random.Random) -> None:
    connection = importlib.import_module("psycopg").connect(engine.url(handle, Path("-")), autocommit=True)
    (number,) = connection.execute(COUNT).fetchone()
    while True:
        number += 1
        with connection.transaction():
            connection.execute("INSERT INTO rows VALUES (%s, %s)", (number, "x" * chance.randrange(3000)))
            connection.execute("UPDATE rows SET text = text || 'y' WHERE id %% 7 = %s", (number % 7,))
        print("w", number, flush=True)
        if chance.random() < 0.02:
            connection.execute("CHECKPOINT")
        if chance.random() < 0.02:
            connection.execute("DELETE FROM rows WHERE id %% 5 = 0 AND id < %s", (number - 50,))
            connection.execute("VACUUM rows")


def cut(engine: Postgres, handle: str, chance: random.Random) -> None:
    while True:
        source = engine._server(handle)
        before = int(source.ask(COUNT))
        made = engine.cut(handle).handle
        print("c", made, before, flush=True)
        if chance.random() < 0.5:
            engine.settle(handle)
        engine.keep(handle)  # begins a follower, where there is a warm pool
        if chance.random() < 0.5:
            engine._followers.wait(source)
        if chance.random() < 0.3:
            engine.ensure(made)
            print("c", engine.cut(made).handle, before, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
