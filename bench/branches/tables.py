"""Measures versioned tables beside DuckDB, pyiceberg, Lance and Delta on the same Parquet files.

    .venv/bin/python -m bench.branches.tables --gigabytes 1

The three formats run in environments of their own (`requirements/`, made with uv in `.envs/`).

One JSON line per figure, then a table. Medians of `--times` runs after one that does not count; the machine's disk and
everything else on it are part of the figures.
"""

from __future__ import annotations

import argparse
import contextlib
import json
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

import duckdb

from bough.app import Bough
from bough.kernel import catalog
from bough.kernel.context import Principal, Role
from bough.kernel.platform import Platform

ADMIN = Principal(id="pri_admin", name="admin", role=Role.ADMIN)
FILES = 10
PEERS = ("pyiceberg", "lance", "deltalake")
HERE = Path(__file__).parent
ROW_BYTES = 32  # of a row of the test table in Parquet, roughly: gives the number of rows for a size
SCAN = "SELECT kind, sum(a), sum(b), count(*) FROM {} GROUP BY kind"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder without it")
    parser.add_argument("--peers", default=",".join(PEERS), help="which of them; empty: none")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="bough-tables-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        sources = data(folder / "data", given.gigabytes)
        found = ours(folder, sources, given.times)
        for peer in filter(None, given.peers.split(",")):
            found += beside(peer, folder / peer, sources, given.times)
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
    branches = iter(range(times + 1))
    before = used(home, all=True)
    seconds = median(lambda: branch(bough, next(branches)), times)
    found.append(say("bough", "branch", seconds, (used(home, all=True) - before) // (times + 1)))
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


def branch(bough: Bough, number: int) -> None:
    with bough.database.write() as tx:
        catalog.open_head(tx, "p", f"b{number}", catalog.Point(catalog.layer_of(tx, "p", "main")))


def beside(peer: str, folder: Path, sources: list[Path], times: int) -> list[dict[str, Any]]:
    """What another format does; one line with the reason when it cannot be had here."""
    folder.mkdir()
    try:
        python = environment_of(peer)
        command = [str(python), str(HERE / "peers.py"), peer, str(folder), str(times), *map(str, sources)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900)
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        found = [say(peer, each["what"], each["seconds"], each["bytes"]) for each in lines]
        if done.returncode:
            found.append(say(peer, f"not run: {reason(done.stderr)}", 0.0))
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        return [say(peer, f"not run: {reason(said)}", 0.0)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return found


def environment_of(peer: str) -> Path:
    """Its Python, with the pinned versions; raises `CalledProcessError`."""
    place, wanted = HERE / ".envs" / peer, HERE / "requirements" / f"{peer}.txt"
    done = place / "installed.txt"
    if not done.exists() or done.read_text() != wanted.read_text():
        for command in (["venv", "--clear", place], ["pip", "install", "--python", place, "-r", wanted]):
            uv = Path(sys.executable).with_name("uv")
            subprocess.run([uv, *command, "--quiet"], check=True, capture_output=True, text=True)
        done.write_text(wanted.read_text())
    return place / "bin" / "python"


def reason(text: str) -> str:
    return (text.strip().splitlines() or ["?"])[-1][:200]


def median(work: Callable[[], Any], times: int) -> float:
    taken = []
    for _ in range(times + 1):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])


def used(folder: Path, *, all: bool = False) -> int:
    """Bytes of blobs, or of the whole home after a checkpoint of its database."""
    if all:
        with contextlib.closing(sqlite3.connect(folder / "bough.db")) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    start = folder if all else folder / "blobs" / "sha256"
    return sum(path.stat().st_size for path in start.rglob("*") if path.is_file())


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
