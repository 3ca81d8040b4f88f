"""Rows of data files, whatever they are kept as."""

from __future__ import annotations

import decimal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from bough.adapters.tables import Tables
from bough.data.tables.models import Version
from bough.data.tables.store import TableFiles
from bough.kernel.errors import Invalid

_READERS = {".csv": "read_csv", ".tsv": "read_csv", ".jsonl": "read_json", ".ndjson": "read_json", ".json": "read_json",
            ".parquet": "read_parquet"}  # fmt: skip


def rows(files: Sequence[tuple[str, Path]], most: int, seed: int | None = None) -> list[dict[str, Any]]:
    """At most so many rows of files of one kind, as (name, where it lies): the first ones, or with a seed a sample that
    is the same each time. Raises `Invalid` (DATA_UNREADABLE)."""
    suffixes = {Path(name).suffix.lower() for name, _ in files}
    reader = _READERS.get(next(iter(suffixes), ""), "")
    if len(suffixes) != 1 or not reader:
        said = ", ".join(sorted(name for name, _ in files)[:3])
        raise Invalid(f"{said} cannot be read as rows", code="DATA_UNREADABLE", hint=f"use {', '.join(_READERS)}")
    chosen = f"LIMIT {most:d}" if seed is None else f"USING SAMPLE reservoir({most:d} ROWS) REPEATABLE ({seed:d})"
    with duckdb.connect(config={"threads": 1, "autoinstall_known_extensions": False}) as connection:
        try:
            found = connection.execute(f"SELECT * FROM {reader}(?) {chosen}", [[str(path) for _, path in files]])  # noqa: S608 - a word of our own
            names = [each[0] for each in found.description]
            return [dict(zip(names, map(_plain, row), strict=True)) for row in found.fetchall()]
        except duckdb.Error as error:
            first = str(error).partition("\n")[0]
            raise Invalid(
                f"{files[0][0]} cannot be read: {first}", code="DATA_UNREADABLE", hint="bough gates list"
            ) from error


def table_rows(tables: Tables, files: TableFiles, version: Version, most: int, seed: int) -> list[dict[str, Any]]:
    """A sample of a table's rows, the same each time."""
    with tables.session({"sampled": files.relation(version)}) as session:
        sample = f"SELECT * FROM sampled USING SAMPLE reservoir({most:d} ROWS) REPEATABLE ({seed:d})"  # noqa: S608 - numbers
        found = session.rows(sample)
    names = [each.name for each in found.columns]
    return [dict(zip(names, map(_plain, row), strict=True)) for row in found.rows]


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, decimal.Decimal) else value
