"""Measures versioned tables beside DuckDB on the same Parquet files.

    .venv/bin/python bench/branches/tables.py --gigabytes 1

One JSON line per figure, then a table. Medians of `--times` runs after one that does not count; the machine's disk and
everything else on it are part of the figures.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

from bough.app import Bough
from bough.kernel import catalog
from bough.kernel.context import Principal, Role
from bough.kernel.platform import Platform

ADMIN = Principal(id="pri_admin", name="admin", role=Role.ADMIN)
FILES = 10
ROW_BYTES = 32  # of a row of the test table in Parquet, roughly: gives the number of rows for a size
SCAN = "SELECT kind, sum(a), sum(b), count(*) FROM {} GROUP BY kind"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder without it")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="bough-tables-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        sources = data(folder / "data", given.gigabytes)
        found = ours(folder, sources, given.times)
        draw(found)
    finally:
        if given.folder is None:
            shutil.rmtree(folder)


def data(folder: Path, gigabytes: float) -> list[Path]:
    """FILES Parquet files with numbers that hardly compress, in the order of their ids."""
    folder.mkdir(exist_ok=True)
    rows = int(gigabytes * (1 << 30) / ROW_BYTES / FILES)
    paths = [folder / f"{at}.parquet" for at in range(FILES)]
    for at, path in enumerate(paths):
        if not path.exists():
            duckdb.connect().execute(
                f"COPY (SELECT {at * rows} + range AS id, random() AS a, random() AS b, random() AS c, "
                f"(random() * 1e6)::INTEGER AS n, 'k' || (range % 97) AS kind FROM range({rows})) "
                f"TO '{path}' (FORMAT parquet, COMPRESSION zstd)"
            )
    return paths


def ours(folder: Path, sources: list[Path], times: int) -> list[dict[str, Any]]:
    home = folder / "home"
    shutil.rmtree(home, ignore_errors=True)
    bough = Bough(home, Platform())
    with bough.database.write() as tx:
        main_layer = catalog.open_head(tx, "p", "main", None)
        catalog.open_head(tx, "p", "try", catalog.Point(main_layer))

    def call(verb: str, **fields: Any) -> Any:
        return bough.operations.call(f"tables.{verb}", {"project": "p", **fields}, ADMIN)

    found: list[dict[str, Any]] = []
    began = time.perf_counter()
    for at, path in enumerate(sources):
        with path.open("rb") as stream:
            blob = bough.blobs.put(stream)
        call("append" if at else "create", name="t", blob=blob)
    size = sum(path.stat().st_size for path in sources)
    found.append(say("bough", f"put and append {size / 1e9:.2f} GB", time.perf_counter() - began, size))

    with bough.database.write() as tx:
        catalog.open_head(tx, "p", "try", catalog.Point(catalog.layer_of(tx, "p", "main")))
    listed = ", ".join(f"'{path}'" for path in sources)
    raw = duckdb.connect()
    scan = "read_parquet([" + listed + "])"
    base = median(lambda: raw.execute(SCAN.format(scan)).fetchall(), times)
    found.append(say("duckdb", "scan", base))
    found.append(say("bough", "scan", median(lambda: call("query", sql=SCAN.format("t")), times)))
    ids = iter(range(1000, 10**9, 104_729))
    for verb, change in (
        ("delete one row", lambda: call("delete", name="t", where=f"id = {next(ids)}", environment="try")),
        (
            "update one row",
            lambda: call("update", name="t", set={"n": "1"}, where=f"id = {next(ids)}", environment="try"),
        ),
    ):
        before, commits = used(home), times + 1
        seconds = median(change, times)
        found.append(say("bough", verb, seconds, (used(home) - before) // commits))
    call("delete", name="t", where="id % 1009 = 0", environment="try")  # rows of every file
    seconds = median(lambda: call("query", sql=SCAN.format("t"), environment="try"), times)
    found.append(say("bough", "scan, delete lists on every file", seconds))
    cold = Bough(home, Platform())
    began = time.perf_counter()
    cold.operations.call(
        "tables.delete", {"project": "p", "name": "t", "where": "id = 77", "environment": "try"}, ADMIN
    )
    found.append(say("bough", "delete one row, first use in the process", time.perf_counter() - began))
    return found


def median(work: Callable[[], Any], times: int) -> float:
    taken = []
    for _ in range(times + 1):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])


def used(folder: Path) -> int:
    return sum(path.stat().st_size for path in (folder / "blobs" / "sha256").rglob("*") if path.is_file())


def say(who: str, what: str, seconds: float, bytes: int = -1) -> dict[str, Any]:
    found = {"who": who, "what": what, "seconds": round(seconds, 5), "bytes": bytes}
    print(json.dumps(found), flush=True)
    return found


def draw(found: list[dict[str, Any]]) -> None:
    print(f"\n{'':12}{'':44}{'ms':>10}{'bytes':>14}")
    for each in found:
        size = f"{each['bytes']:,}" if each["bytes"] >= 0 else ""
        print(f"{each['who']:12}{each['what']:44}{each['seconds'] * 1000:>10.1f}{size:>14}")


if __name__ == "__main__":
    main()
