"""A program that works at a Redis database without end, and says on standard output what is done: it is killed.

write: w N         number N was answered; now and then the log is rewritten
cut:   c HANDLE N  HANDLE was cut when N, and maybe more, had been answered; some are started, and cut in their turn
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from bough.adapters.sql.redis import Redis


def main(what: str, root: str, handle: str, seed: str) -> None:
    (write if what == "write" else cut)(Redis(Path(root)), handle, random.Random(int(seed)))


def write(engine: Redis, handle: str, chance: random.Random) -> None:
    server = engine._server(handle)
    with server.line() as line:
        number = int(line.ask("GET", "number") or 0)
        while True:
            number += 1
            pad = "x" * chance.randrange(3000)
            line.ask_all([("MULTI",), ("SET", "number", number), ("RPUSH", "rows", f"{number} {pad}"), ("EXEC",)])
            print("w", number, flush=True)
            if chance.random() < 0.02:
                line.ask_all([("BGREWRITEAOF",)])  # refused while one is being made


def cut(engine: Redis, handle: str, chance: random.Random) -> None:
    while True:
        with engine._server(handle).line() as line:
            before = int(line.ask("GET", "number") or 0)
        made = engine.cut(handle).handle
        print("c", made, before, flush=True)
        if chance.random() < 0.5:
            engine.ensure(made)
        if chance.random() < 0.5:
            print("c", engine.cut(made).handle, before, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
