"""Tables: SQL over immutable Parquet files that somebody else keeps.

A session sees the relations and inputs that it was opened with, and nothing else: no other file, no network, no
extension, no setting that could be changed. The SQL is DuckDB's. In a session, a relation `orders` is the view
`orders` with its columns, and the view `rows.orders` with three more: `__file` (number of its part), `__pos` (position
in that file) and `__row` (the row's id, which stays the same for its life). An input is the view `incoming`.

Promises, whatever the technology: files that are read are never written; a session's own files lie in its folder and go
with it; limits of time, memory and threads hold; an error of the SQL or the data is `Invalid` and says what was wrong,
a full disk is `Exhausted`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import msgspec

ROW = "__row"  # the column of row ids, in files that carry them
POSITION = "pos"  # the one column of a delete list: positions of rows that are gone, ascending
PARQUET, CSV, JSON = "parquet", "csv", "json"
FORMATS = (PARQUET, CSV, JSON)


def quoted(name: str) -> str:
    """A name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: object) -> str:
    """A text in SQL."""
    return "'" + str(value).replace("'", "''") + "'"


class Column(msgspec.Struct, frozen=True):
    name: str
    type: str


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One Parquet file of a relation. `columns`: the relation's column -> (column, type) in the file; those that it
    lacks are null. Rows have the ids `first_row`, `first_row` + 1, …; None: the file carries them in the column ROW.
    `deleted` is a delete list with `deletions` positions."""

    number: int
    path: str
    columns: Mapping[str, tuple[str, str]]
    first_row: int | None
    deleted: str = ""
    deletions: int = 0


class Relation(msgspec.Struct, frozen=True, kw_only=True):
    columns: Sequence[Column]
    parts: Sequence[Part]


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """A file from outside, in one of FORMATS."""

    path: str
    format: str


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    seconds: float = 30.0
    memory_bytes: int = 1 << 30
    threads: int = 0  # 0: as many as there are processors
    spill_bytes: int = 8 << 30


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """`more`: there were more rows than were asked for."""

    columns: Sequence[Column]
    rows: Sequence[tuple[Any, ...]]
    more: bool = False


class Bound(msgspec.Struct, frozen=True):
    """A condition `column operator value` that every wanted row fulfils. `operator` is one of = < <= > >=; `value` is a
    literal of `kind` number or text."""

    column: str
    operator: str
    value: str
    kind: str


class Session(Protocol):
    folder: Path

    def rows(self, sql: str, *, limit: int = -1) -> Rows:
        """The answer of one query, of at most `limit` rows."""

    def describe(self, sql: str) -> list[Column]:
        """Names and types of a query's answer."""

    def keep(self, name: str, sql: str) -> int:
        """A temporary table with the answer of a query; the number of its rows."""

    def write(self, sql: str, format: str = PARQUET, *, ids: Mapping[str, int] | None = None) -> Path:
        """A new file in the session's folder with the answer of a query. `ids`: field ids of a Parquet file."""


class Tables(Protocol):
    def sweep(self) -> None:
        """Removes what sessions of a killed process have left. Only before the first session."""

    def session(
        self, relations: Mapping[str, Relation], *, input: Input | None = None, limits: Limits | None = None
    ) -> AbstractContextManager[Session]:
        """Opens a session; its folder is removed at the end. May be called from any thread."""

    def check_query(self, sql: str) -> str:
        """`sql` without a closing semicolon, if it is one statement that only reads; raises `Invalid` (SQL_INVALID)."""

    def check_expression(self, text: str) -> str:
        """`text` if it is one expression; raises `Invalid` (SQL_INVALID). Only such text may be put into other SQL."""

    def names(self, sql: str) -> set[str]:
        """The tables that a query names."""

    def bounds(self, expression: str) -> list[Bound]:
        """What can be told of the wanted rows without reading them; may leave out any of it."""
