"""Postgres: how long a branch takes until it answers, by each way that fits here, beside what was announced."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from bough.adapters.sql import Announced
from bough.adapters.sql.postgres import Postgres
from bough.adapters.sql.postgres_server import Server

PATIENCE_S = 120.0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ways", nargs="*", default=[])
    parser.add_argument("--folder", type=Path, default=None)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        engine = Postgres(Path(folder))
        fit = [each.name for each in engine.ways() if each.fits]
        if not fit:
            raise SystemExit("; ".join(each.why_not for each in engine.ways()))
        try:
            for way in [each for each in fit if not asked.ways or each in asked.ways]:
                measure(engine, way, asked.megabytes, asked.rounds)
        finally:
            engine.stop()


def measure(engine: Postgres, way: str, megabytes: int, rounds: int) -> None:
    handle = engine.make(way)
    server = engine._server(handle)
    fill(server, megabytes)
    ready, cut, held = list[float](), list[float](), list[float]()
    told = engine.announce(handle)
    for number in range(rounds):
        told = prepared(engine, handle, way)
        server.psql(f"INSERT INTO small VALUES ({number})")
        began = time.perf_counter()
        made = engine.cut(handle)
        cut.append(time.perf_counter() - began)
        engine.ensure(made.handle)
        found = engine._server(made.handle).ask("SELECT count(*) FROM small")
        ready.append(time.perf_counter() - began)
        held.append(made.held_s)
        assert found == str(number + 1), found
        if number == rounds - 1:
            began = time.perf_counter()
            engine._server(made.handle).ask("SELECT count(*) FROM rows")
            print(f"{way}: all rows read for the first time in {time.perf_counter() - began:.2f} s")
        engine.close(made.handle)
    print(
        f"{told.way}, {told.size / 1e6:.0f} MB: answers after {ms(ready)} ms (announced {1000 * told.seconds:.0f}),"
        f" cut in {ms(cut)} ms, parent held still for {ms(held)} ms (announced {1000 * told.held_s:.0f}),"
        f" {told.bytes} bytes"
    )
    engine.close(handle)
    engine.sweep([], -1)


def prepared(engine: Postgres, handle: str, way: str) -> Announced:
    """What the loop does in the seconds between two branches; then what is announced."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        engine.settle(handle)
        engine.keep(handle)
        engine._bases.wait(engine._server(handle))
        engine._followers.wait(engine._server(handle))
        if (told := engine.announce(handle)).way == way:
            return told
        if time.monotonic() > deadline:
            raise SystemExit(f"{way} is announced as {told.way} for {PATIENCE_S} s")
        time.sleep(0.1)


def fill(server: Server, megabytes: int) -> None:
    rows = megabytes * 1000
    server.psql(f"CREATE TABLE rows AS SELECT g AS id, repeat('x', 950) AS text FROM generate_series(1, {rows}) g")
    server.psql("CREATE TABLE small (id integer)")
    server.psql("CHECKPOINT")


def ms(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1000:.0f} (worst {max(seconds) * 1000:.0f})"


if __name__ == "__main__":
    main()
