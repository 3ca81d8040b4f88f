"""SQLite: what a branch costs beside a copy, the backup API and VACUUM INTO; reads and writes beside a plain file."""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bough.adapters.sql import Cut
from bough.adapters.sql.sqlite import Sqlite
from bough.runtime.pages import opening

ROW_BYTES = 1000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=None)
    asked = parser.parse_args()
    if not opening.register():
        raise SystemExit("the extension cannot be built here: a C compiler is needed")
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        measure(Path(folder), asked.megabytes, asked.rounds)


def measure(folder: Path, megabytes: int, rounds: int) -> None:
    plain, engine = folder / "plain.db", Sqlite(folder / "sqlite")
    fill(plain, megabytes * 1000)
    handle = engine.make("pages", plain)
    branch = engine.cut(handle).handle
    cuts, seconds, held = list[Cut](), list[float](), list[float]()
    for number in range(rounds * 4):
        with contextlib.closing(sqlite3.connect(engine.path(handle), isolation_level=None)) as writer:
            writer.execute("UPDATE rows SET text = 'changed' WHERE id = ?", (number,))
        engine.settle(handle)
        began = time.perf_counter()
        cuts.append(engine.cut(handle))
        seconds.append(time.perf_counter() - began)
        held.append(cuts[-1].held_s)
    size = max(engine.own_bytes(each.handle) for each in cuts)
    print(f"branch of {plain.stat().st_size / 1e6:.0f} MB: {ms(seconds)} ms, writers held {ms(held)} ms, {size} bytes")
    for name, copied in (("copy", copy), ("backup API", backup), ("VACUUM INTO", vacuum)):
        print(f"{name}: {once(lambda copied=copied: copied(plain, folder / 'copied')) * 1000:.0f} ms")
        (folder / "copied").unlink()
    for name, work in (("point reads", points), ("scan", scan), ("writes", writes)):
        ratios, figures = [], []
        for _ in range(rounds):
            alone, ours = (once(lambda path=path, work=work: work(path)) for path in (plain, engine.path(branch)))
            ratios.append(ours / alone)
            figures.append(ours)
        print(f"{name}: {statistics.median(ratios):.2f} times a plain file ({ms(figures)} ms)")


def fill(path: Path, rows: int) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, number INTEGER, text TEXT)")
        db.execute("BEGIN")
        text = "x" * (ROW_BYTES - 30)
        db.executemany("INSERT INTO rows VALUES (?, ?, ?)", ((each, each % 977, text) for each in range(rows)))
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


def backup(source: Path, target: Path) -> None:
    with contextlib.closing(sqlite3.connect(source)) as old, contextlib.closing(sqlite3.connect(target)) as new:
        old.backup(new)


def vacuum(source: Path, target: Path) -> None:
    with contextlib.closing(sqlite3.connect(source)) as old:
        old.execute("VACUUM INTO ?", (str(target),))


def points(path: Path) -> None:
    chance = random.Random(1)
    with contextlib.closing(sqlite3.connect(path)) as db:
        (rows,) = db.execute("SELECT max(id) FROM rows").fetchone()
        for _ in range(20_000):
            db.execute("SELECT number FROM rows WHERE id = ?", (chance.randrange(rows),)).fetchone()


def scan(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("SELECT sum(number) FROM (SELECT number FROM rows LIMIT 200000)").fetchone()


def writes(path: Path) -> None:
    chance = random.Random(2)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = NORMAL")
        (rows,) = db.execute("SELECT max(id) FROM rows").fetchone()
        for _ in range(100):
            db.execute("BEGIN")
            for _ in range(50):
                db.execute("UPDATE rows SET number = number + 1 WHERE id = ?", (chance.randrange(rows),))
            db.execute("COMMIT")


def once(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def ms(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1000:.2f} (worst {max(seconds) * 1000:.2f})"


if __name__ == "__main__":
    main()
