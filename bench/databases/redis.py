"""Redis: how long a branch takes until it answers, beside what was announced; what a sync before each answer costs."""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from bough.adapters.sql.redis import Redis

VALUE_BYTES, BATCH = 1000, 1000
COUNTS = 300


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=None)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        engine = Redis(Path(folder))
        fit = [each.name for each in engine.ways() if each.fits]
        if not fit:
            raise SystemExit("; ".join(each.why_not for each in engine.ways()))
        try:
            handle = engine.make(fit[0])
            synced(engine, handle)
            fill(engine, handle, asked.megabytes)
            branches(engine, handle, asked.rounds)
        finally:
            engine.stop()


def synced(engine: Redis, handle: str) -> None:
    with engine._server(handle).line() as line:
        for policy in ("everysec", "always"):
            line.ask("CONFIG", "SET", "appendfsync", policy)
            took = list[float]()
            for _ in range(COUNTS):
                began = time.perf_counter()
                line.ask("INCR", "count")
                took.append(time.perf_counter() - began)
            print(f"appendfsync {policy}: a counter answers in {statistics.median(took) * 1000:.2f} ms (median)")
        line.ask("CONFIG", "SET", "appendfsync", "everysec")


def fill(engine: Redis, handle: str, megabytes: int) -> None:
    with engine._server(handle).line() as line:
        for first in range(0, megabytes * 1000, BATCH):
            line.ask_all([("SET", f"key:{first + each}", os.urandom(VALUE_BYTES)) for each in range(BATCH)])


def branches(engine: Redis, handle: str, rounds: int) -> None:
    cut, held, ready = list[float](), list[float](), list[float]()
    told = engine.announce(handle)
    for number in range(rounds):
        told = engine.announce(handle)
        with engine._server(handle).line() as line:
            line.ask("SET", "round", number)
        began = time.perf_counter()
        made = engine.cut(handle)
        cut.append(time.perf_counter() - began)
        held.append(made.held_s)
        while not engine.ensure(made.handle):
            pass
        with engine._server(made.handle).line() as line:
            assert line.ask("GET", "round") == str(number).encode()
        ready.append(time.perf_counter() - began)
        engine.close(made.handle)
        engine.sweep([handle], -1)
    print(
        f"{told.way}, {told.size / 1e6:.0f} MB: cut in {ms(cut)} ms, writers held for {ms(held)} ms, answers after"
        f" {ms(ready)} ms (announced {1000 * told.seconds:.0f}), {told.bytes} bytes"
    )


def ms(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1000:.0f} (worst {max(seconds) * 1000:.0f})"


if __name__ == "__main__":
    main()
