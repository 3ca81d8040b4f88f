"""What a branch costs, by how much its parent holds: python -m bench.branches.branch [--sizes 0.1,1] [--branches 20]

For each size S a fresh home gets S GB of tables (Parquet, in files of about 64 MB) and S GB of files (10,000 of them),
as blobs behind entries of the catalog, and one service. Then branches are made through the HTTP API of a running
server, one after the other, timed from the call to its answer. Bytes are those of the whole home after a checkpoint of
the database, so that nothing hides in its log. Beside it, in the same run on the same bytes: `cp -r` of the blobs, and
`cp --reflink=always` where the file system has it. Last, one path is looked up through 20 layers and through one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.branches.stand import ROOT, Stand
from bough.adapters.blobs.directory import DirectoryBlobs
from bough.adapters.database.sqlite import SqliteDatabase
from bough.client import connect
from bough.kernel import catalog
from bough.kernel.catalog import FILE, TABLE, Point, Write

FILES = 10_000
TABLE_FILE_BYTES = 64_000_000
PROJECT, SERVICE = "credit-risk", "credit"
TARGETS_MS, TARGET_BYTES, TARGET_DEPTH = 20.0, 1_000_000, 2.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="0.1,1", help="GB of tables, and as much of files")
    parser.add_argument("--branches", type=int, default=20)
    parser.add_argument("--folder", type=Path, default=None, help="on the file system to measure")
    parser.add_argument("--json", type=Path, default=None)
    given = parser.parse_args()
    rows = []
    for size in map(float, given.sizes.split(",")):
        with tempfile.TemporaryDirectory(dir=given.folder, prefix="b") as folder:
            rows.append(measure(Path(folder), size, given.branches))
            print(json.dumps(rows[-1]), flush=True)
    if given.json:
        given.json.write_text("".join(json.dumps(row) + "\n" for row in rows))
    print(table(rows))


def measure(folder: Path, gigabytes: float, branches: int) -> dict[str, Any]:
    stand = Stand(folder)
    project = folder / PROJECT
    shutil.copytree(ROOT / "examples" / PROJECT, project)
    stand.up()
    try:
        stand.bough("deploy", cwd=project)
        fill(stand.home, gigabytes)
        before = size_of(stand.home)
        client = connect(stand.home)
        took = []
        for number in range(branches):
            began = time.perf_counter()
            client.environments.create(project=PROJECT, branch=f"b{number}")
            took.append((time.perf_counter() - began) * 1000)
        client.close()
        time.sleep(1.0)  # what the loop does about them counts as well
        grown = size_of(stand.home) - before
        cli = [timed(lambda n=n: stand.bough("branch", "create", f"c{n}", cwd=project)) for n in range(3)]  # type: ignore[misc]  # bound now
    finally:
        stand.down()
    return {
        "gigabytes": 2 * gigabytes,
        "files": FILES,
        "branch_ms": round(statistics.median(took), 2),
        "branch_ms_worst": round(max(took), 2),
        "bytes_per_branch": grown // branches,
        "command_s": round(statistics.median(cli), 3),
        "lookup_20_layers": round(depth_ratio(stand.home), 2),
        "cp_s": copied(stand.home, folder / "copy", "never"),
        "reflink_s": copied(stand.home, folder / "clone", "always"),
    }


def fill(home: Path, gigabytes: float) -> None:
    """Random bytes: what they say does not matter here, that they are there does."""
    blobs, total = DirectoryBlobs(home / "blobs"), round(gigabytes * 1e9)
    writes = []
    for number in range(FILES):
        content = os.urandom(total // FILES)
        writes.append(Write(FILE, f"images/{number:05}.bin", {"digest": blobs.put(content), "size": len(content)}))
    parts = []
    for _ in range(max(1, total // TABLE_FILE_BYTES)):
        content = os.urandom(min(total, TABLE_FILE_BYTES))
        parts.append({"blob": blobs.put(content), "rows": 1, "bytes": len(content), "layout": 0})
    writes.append(Write(TABLE, "events", {"fields": [], "layouts": [], "files": parts}))
    database = SqliteDatabase(home / "bough.db")
    with database.write() as tx:
        layer = catalog.layer_of(tx, PROJECT, "main")
        catalog.commit(tx, layer, writes, at=time.time(), by="bench", why="fill")
    database.close()


def depth_ratio(home: Path) -> float:
    """The time of one lookup through 20 layers over that through one."""
    database = SqliteDatabase(home / "bough.db")
    with database.write() as tx:
        layer = catalog.layer_of(tx, PROJECT, "main")
        deep = layer
        for _ in range(19):
            deep = catalog.new_layer(tx, Point(deep))
    times: dict[int, list[float]] = {layer: [], deep: []}
    with database.read() as tx:
        for _ in range(2001):  # in turns, so that whatever else runs is in both
            for each in (layer, deep):
                times[each].append(timed(lambda e=each: catalog.get(tx, Point(e), FILE, "images/00007.bin")))  # type: ignore[misc]  # bound now
    database.close()
    return statistics.median(times[deep]) / statistics.median(times[layer])


def size_of(home: Path) -> int:
    with sqlite3.connect(home / "bough.db") as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    done = subprocess.run(["du", "-sb", "--exclude=logs", str(home)], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0])


def copied(home: Path, target: Path, reflink: str) -> float | None:
    """Seconds for a copy of the blobs; None where the file system cannot."""
    done = 0
    command = ["cp", "-r", f"--reflink={reflink}", str(home / "blobs"), str(target)]

    def copy() -> None:
        nonlocal done
        done = subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode

    took = timed(copy)
    shutil.rmtree(target, ignore_errors=True)
    return None if done else round(took, 2)


def timed(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        f"{'data':>8}  {'branch':>9}  {'worst':>9}  {'bytes':>9}  {'command':>8}  {'20 layers':>9}  {'cp':>7}  reflink"
    ]
    for row in rows:
        clone = "not here" if row["reflink_s"] is None else f"{row['reflink_s']:.2f} s"
        lines.append(
            f"{row['gigabytes']:>6.1f}GB  {row['branch_ms']:>6.1f} ms  {row['branch_ms_worst']:>6.1f} ms"
            f"  {row['bytes_per_branch']:>9,}  {row['command_s']:>6.2f} s  {row['lookup_20_layers']:>8.2f}x"
            f"  {row['cp_s']:>5.2f} s  {clone}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
