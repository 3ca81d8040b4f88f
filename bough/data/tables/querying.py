"""A person's SELECT over the tables of one state of an environment."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from bough.adapters.tables import PARQUET, Limits, Relation, Tables
from bough.data.tables.models import Version
from bough.data.tables.store import TableFiles

ROWS_AT_ONCE = 10_000  # in an answer; more of them travel as a file
_SAFE_INTEGERS = range(-(2**63), 2**64)


class QueryColumn(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    type: str


class QueryResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Rows, or the digest of a file with them. `more`: there are more rows than `limit`. Values that JSON lacks are
    texts: decimals, times, ids; bytes in base 64; NaN and infinities are null."""

    columns: list[QueryColumn]
    rows: list[list[Any]] = []
    more: bool = False
    blob: str = ""
    bytes: int = 0


def query(
    files: TableFiles, tables: Tables, sql: str, versions: Mapping[str, Version], *, limit: int, limits: Limits
) -> QueryResult:
    sql = tables.check_query(sql)
    with tables.session(_relations(files, tables, sql, versions), limits=limits) as session:
        found = session.rows(sql, limit=limit)
    columns = [QueryColumn(name=each.name, type=each.type) for each in found.columns]
    return QueryResult(columns=columns, rows=[[plain(value) for value in row] for row in found.rows], more=found.more)


def query_to_file(
    files: TableFiles, tables: Tables, sql: str, versions: Mapping[str, Version], *, format: str, limits: Limits
) -> QueryResult:
    """The whole answer as a blob."""
    sql = tables.check_query(sql)
    with tables.session(_relations(files, tables, sql, versions), limits=limits) as session:
        path = session.write(sql, format)
        columns = session.describe(f"SELECT * FROM read_parquet('{path}')") if format == PARQUET else []
        size, digest = path.stat().st_size, files.keep(path)
    named = [QueryColumn(name=each.name, type=each.type) for each in columns]
    return QueryResult(columns=named, blob=digest, bytes=size)


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return value if value in _SAFE_INTEGERS else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, datetime.datetime | datetime.date | datetime.time | bytes | UUID | Decimal):
        return msgspec.to_builtins(value)
    if isinstance(value, Sequence):
        return [plain(each) for each in value]
    return str(value)


def _relations(files: TableFiles, tables: Tables, sql: str, versions: Mapping[str, Version]) -> dict[str, Relation]:
    """Of the tables that the query names: files of others are neither opened nor checked."""
    named = {name.lower() for name in tables.names(sql)}
    return {name: files.relation(version) for name, version in versions.items() if name in named}
