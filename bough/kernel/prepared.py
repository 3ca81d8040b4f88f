"""Statements that are asked thousands of times a second, put together once and asked past SQLAlchemy: it needs several
times as long to get from a query to its text and back to rows as SQLite needs to answer it."""

from __future__ import annotations

import collections
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

_rows_of: Any = collections.namedtuple  # mypy wants names that stand in the code


class Prepared:
    """Rows come as the database has them, with their columns' names: for statements about numbers and texts. A list
    cannot be a value. The transaction has begun."""

    def __init__(self, statement: sa.Select[Any] | sa.UpdateBase) -> None:
        compiled = statement.compile(dialect=sqlite.dialect(paramstyle="named"))
        self._text = str(compiled)
        self._own = {name: value for name, value in compiled.params.items() if not compiled.binds[name].required}
        names = [str(each.key) for each in statement.exported_columns]  # of a change, those that it returns
        self._row: Callable[[Any], Any] = _rows_of("Row", names)._make

    def all(self, tx: sa.Connection, **values: Any) -> list[Any]:
        return [self._row(each) for each in self._asked(tx, values).fetchall()]

    def first(self, tx: sa.Connection, **values: Any) -> Any:
        """None when there is no row."""
        found = self._asked(tx, values).fetchone()
        return None if found is None else self._row(found)

    def run(self, tx: sa.Connection, **values: Any) -> int:
        """How many rows it changed; for statements that return none."""
        return self._asked(tx, values).rowcount

    def _asked(self, tx: sa.Connection, values: dict[str, Any]) -> sqlite3.Cursor:
        return ask(tx, self._text, self._own | values)


def ask(tx: sa.Connection, text: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> sqlite3.Cursor:
    """The same for a statement that is written out."""
    connection: Any = tx.connection.driver_connection
    try:
        asked: sqlite3.Cursor = connection.execute(text, values)
    except sqlite3.OperationalError as error:  # as whoever opened the transaction expects it
        raise sa.exc.OperationalError(text, values, error) from error
    return asked


def ask_many(tx: sa.Connection, text: str, rows: Sequence[Sequence[Any]]) -> None:
    """Once for each of the rows."""
    connection: Any = tx.connection.driver_connection
    try:
        connection.executemany(text, rows)
    except sqlite3.OperationalError as error:
        raise sa.exc.OperationalError(text, rows, error) from error
