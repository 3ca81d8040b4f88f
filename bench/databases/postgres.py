"""Postgres: how long a branch takes until it answers, beside what was announced."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from bough.adapters.sql.postgres import Postgres


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        engine = Postgres(Path(folder))
        way = next((each.name for each in engine.ways() if each.fits), "")
        if not way:
            raise SystemExit("; ".join(each.why_not for each in engine.ways()))
        handle = engine.make(way)
        try:
            fill(engine, handle, asked.megabytes)
            for _ in range(asked.rounds):
                one(engine, handle)
        finally:
            engine.stop()


def fill(engine: Postgres, handle: str, megabytes: int) -> None:
    server = engine._server(handle)
    rows = megabytes * 1000
    server.psql(f"CREATE TABLE rows AS SELECT g AS id, repeat('x', 950) AS text FROM generate_series(1, {rows}) g")
    server.psql("CHECKPOINT")


def one(engine: Postgres, handle: str) -> None:
    told = engine.announce(handle)
    began = time.perf_counter()
    made = engine.cut(handle)
    engine.ensure(made.handle)
    seconds = time.perf_counter() - began
    print(
        f"{told.way}, {told.size / 1e6:.0f} MB: ready in {seconds:.2f} s (announced {told.seconds:.2f}),"
        f" held still for {made.held_s:.2f} s (announced {told.held_s:.2f})"
    )
    engine.close(made.handle)


if __name__ == "__main__":
    main()
