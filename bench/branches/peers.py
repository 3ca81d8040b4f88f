"""Another table format doing what `tables` measures. Runs in an environment that has the format and not Bough:

    python peers.py pyiceberg FOLDER TIMES FILE.parquet...

One JSON line per figure: `what`, `seconds` (median), `bytes` (that the folder grew by, each time).
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Steps = Iterator[tuple[str, Callable[[int], Any]]]
"""A name and what is done, with the number of the time. The first step is done once, to load the files."""


def pyiceberg(folder: Path, sources: list[str]) -> Steps:
    """Loads by reference; a branch is a name for a snapshot; a delete rewrites the data file."""
    import pyarrow.parquet
    from pyiceberg.catalog.sql import SqlCatalog

    catalog = SqlCatalog("c", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
    catalog.create_namespace("n")
    table = catalog.create_table("n.t", schema=pyarrow.parquet.read_schema(sources[0]))
    yield "load", lambda _: table.add_files(sources)

    def branch(time: int) -> None:
        snapshot = table.current_snapshot()
        assert snapshot
        table.manage_snapshots().create_branch(snapshot.snapshot_id, f"b{time}").commit()

    yield "branch", branch
    yield "delete one row in a branch", lambda time: table.delete(f"id = {1000 + time}", branch="b0")


def lance(folder: Path, sources: list[str]) -> Steps:
    """Loads by writing its own files; a delete is a list of rows."""
    import lance as library

    place = str(folder / "t.lance")

    def load(_: int) -> None:
        import pyarrow.dataset

        scanner = pyarrow.dataset.dataset(sources).scanner()
        library.write_dataset(scanner.to_batches(), place, schema=scanner.projected_schema)

    yield "load", load
    table = library.dataset(place)
    yield "branch", lambda time: table.create_branch(f"b{time}")
    branch = table.checkout_version(("b0", None))
    yield "delete one row in a branch", lambda time: branch.delete(f"id = {1000 + time}")


def deltalake(folder: Path, sources: list[str]) -> Steps:
    """Loads by copying; it has no clone in Python, so a branch is a copy; a delete rewrites the data file."""
    import pyarrow.dataset
    from deltalake import DeltaTable, write_deltalake

    def load(_: int) -> None:
        scanner = pyarrow.dataset.dataset(sources).scanner()
        reader = pyarrow.RecordBatchReader.from_batches(scanner.projected_schema, scanner.to_batches())
        write_deltalake(str(folder / "t"), reader, target_file_size=128 << 20)

    yield "load", load
    yield "branch (copy)", lambda time: shutil.copytree(folder / "t", folder / f"b{time}")
    branch = DeltaTable(str(folder / "b0"))
    yield "delete one row in a branch", lambda time: branch.delete(f"id = {1000 + time}")


def main() -> None:
    warnings.simplefilter("ignore")
    peer, folder, times, sources = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
    steps = {"pyiceberg": pyiceberg, "lance": lance, "deltalake": deltalake}[peer](folder, sources)
    for what, work in steps:
        before, taken = used(folder), []
        count = 1 if what == "load" else times + 1
        for time_ in range(count):
            began = time.perf_counter()
            work(time_)
            taken.append(time.perf_counter() - began)
        size = (used(folder) - before) // count
        print(json.dumps({"what": what, "seconds": statistics.median(taken[1:] or taken), "bytes": size}), flush=True)


def used(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
