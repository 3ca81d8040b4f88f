"""Tables by DuckDB: a fresh database in memory for every session, locked before any SQL of a person reaches it.

A session takes some 20 ms to open. Rejected: one database for all (a session would see the files of the others, and a
setting could not be locked per session) and a process per query (100 ms more, and every answer copied once more).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bough.adapters.tables import (
    CSV,
    JSON,
    PARQUET,
    POSITION,
    ROW,
    Bound,
    Column,
    Input,
    Limits,
    Part,
    Relation,
    Rows,
    literal,
    quoted,
)
from bough.adapters.tables.complaints import invalid, translated
from bough.adapters.tables.syntax import bounds_of, is_expression
from bough.kernel.files import as_exhausted

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

ROW_GROUP_ROWS = 122_880  # DuckDB's own: what one thread reads at a time, and what statistics can skip
INLINE_DELETIONS = 8  # so few positions are cheaper as literals than as a join
_READERS = {PARQUET: "read_parquet({path}, hive_partitioning=false)", CSV: "read_csv({path}, hive_partitioning=false)",
            JSON: "read_json({path}, hive_partitioning=false)"}  # fmt: skip
_WRITERS = {
    PARQUET: f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP_ROWS}",
    CSV: "FORMAT csv, HEADER true",
    JSON: "FORMAT json",
}


class DuckTables:
    def __init__(self, folder: Path) -> None:
        """Sessions keep what they write below `folder`, which is made when it is needed."""
        self._folder = folder
        self._parser: DuckDBPyConnection | None = None
        self._parsing = threading.Lock()

    def sweep(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    @contextlib.contextmanager
    def session(
        self, relations: Mapping[str, Relation], *, input: Input | None = None, limits: Limits | None = None
    ) -> Iterator[DuckSession]:
        limits = limits or Limits()
        with as_exhausted(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix="session-", dir=self._folder))
        try:
            with translated(limits, folder), contextlib.closing(_connect(folder, limits)) as connection:
                _open(connection, folder, relations, input)
                with _timed(connection, limits.seconds):
                    yield DuckSession(connection, folder, limits)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def check_query(self, sql: str) -> str:
        import duckdb

        with self._parse() as parser:
            statements = parser.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise invalid("tables are queried with one SELECT", "bough tables query 'SELECT …'")
        return str(statements[0].query).strip().rstrip(";")

    def check_expression(self, text: str) -> str:
        if not (is_expression(self._tree(f"(\n{text}\n)")) and is_expression(self._tree(text))):
            raise invalid(f"{text!r} is not one expression", "--where 'id = 42'")
        return text

    def names(self, sql: str) -> set[str]:
        with self._parse() as parser:
            return {name.rpartition(".")[2].strip('"') for name in parser.get_table_names(sql)}

    def bounds(self, expression: str) -> list[Bound]:
        return bounds_of(self._tree(f"(\n{expression}\n)"))

    def _tree(self, expression: str) -> Any:
        with self._parse() as parser:
            found = parser.execute("SELECT json_serialize_sql($1)", [f"SELECT {expression}"]).fetchone()
        assert found is not None  # noqa: S101 - a SELECT without FROM has one row
        tree = json.loads(found[0])
        if tree["error"]:
            raise invalid(f"{tree['error_message']} in {expression!r}", "quote texts with ' and columns with \"")
        return tree

    @contextlib.contextmanager
    def _parse(self) -> Iterator[DuckDBPyConnection]:
        """A connection that only parses; it sees no file."""
        import duckdb

        with self._parsing, translated(Limits(), self._folder):
            if self._parser is None:
                self._parser = duckdb.connect(":memory:", config={"threads": 1, "enable_external_access": False})
            yield self._parser


class DuckSession:
    def __init__(self, connection: DuckDBPyConnection, folder: Path, limits: Limits) -> None:
        self.folder = folder
        self._connection, self._limits, self._written = connection, limits, 0

    def rows(self, sql: str, *, limit: int = -1) -> Rows:
        with translated(self._limits, self.folder):
            cursor = self._connection.execute(sql)
            columns = [Column(each[0], str(each[1])) for each in cursor.description or ()]
            found = cursor.fetchall() if limit < 0 else cursor.fetchmany(limit + 1)
        more = limit >= 0 and len(found) > limit
        return Rows(columns=columns, rows=found[:limit] if more else found, more=more)

    def describe(self, sql: str) -> list[Column]:
        return [Column(row[0], row[1]) for row in self.rows(f"DESCRIBE {sql}").rows]

    def keep(self, name: str, sql: str) -> int:
        with translated(self._limits, self.folder):
            made = self._connection.execute(f"CREATE TEMP TABLE {quoted(name)} AS {sql}").fetchone()
        return int(made[0]) if made else 0

    def write(self, sql: str, format: str = PARQUET, *, ids: Mapping[str, int] | None = None) -> Path:
        self._written += 1
        path = self.folder / f"{self._written}.{format}"
        options = _WRITERS[format]
        if ids and format == PARQUET:
            options += f", FIELD_IDS {{{', '.join(f'{quoted(name)}: {id}' for name, id in ids.items())}}}"
        with translated(self._limits, self.folder):
            self._connection.execute(f"COPY (\n{sql}\n) TO {literal(path)} ({options}, USE_TMP_FILE false)")
        return path


def _connect(folder: Path, limits: Limits) -> DuckDBPyConnection:
    import duckdb

    return duckdb.connect(
        ":memory:",
        config={
            "threads": limits.threads or os.cpu_count() or 1,
            "memory_limit": f"{limits.memory_bytes // (1 << 20)}MiB",
            "temp_directory": str(folder / "spill"),
            "max_temp_directory_size": f"{limits.spill_bytes // (1 << 20)}MiB",
            "python_enable_replacements": False,  # a name in SQL never means a variable of this program
            "autoload_known_extensions": False,
            "autoinstall_known_extensions": False,
            "allow_community_extensions": False,
            "allow_persistent_secrets": False,
        },
    )


def _open(connection: DuckDBPyConnection, folder: Path, relations: Mapping[str, Relation], input: Input | None) -> None:
    """Makes the views, then locks: from here on only the files named may be read, and only `folder` written."""
    paths = [path for each in relations.values() for part in each.parts for path in (part.path, part.deleted) if path]
    paths += [input.path] if input else []
    connection.execute(f"SET allowed_paths = [{', '.join(map(literal, paths))}]")
    connection.execute(f"SET allowed_directories = [{literal(folder)}]")
    connection.execute("SET TimeZone = 'UTC'")  # the same text for the same moment on every machine
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    if input:
        reader = _READERS[input.format].format(path=literal(input.path))
        connection.execute(f"CREATE VIEW incoming AS SELECT * FROM {reader}")
    connection.execute("CREATE SCHEMA rows")
    for name, relation in relations.items():
        few = _few_deletions(connection, relation.parts)
        connection.execute(f"CREATE VIEW {quoted(name)} AS {_shown(relation, few)}")
        connection.execute(f"CREATE VIEW rows.{quoted(name)} AS {_with_rows(relation, few)}")


def _few_deletions(connection: DuckDBPyConnection, parts: Sequence[Part]) -> dict[int, list[int]]:
    """Short delete lists, by the number of their part: as literals they cost a scan nothing."""
    short = [part for part in parts if part.deleted and part.deletions <= INLINE_DELETIONS]
    found = {}
    for part in short:
        rows = connection.execute(f"SELECT {POSITION} FROM read_parquet({literal(part.deleted)})").fetchall()
        found[part.number] = [int(row[0]) for row in rows]
    return found


def _shown(relation: Relation, few: Mapping[int, list[int]]) -> str:
    """Parts of one shape, with nothing deleted, are read as one list: the fewer readers, the faster."""
    whole: dict[tuple[Any, ...], list[Part]] = {}
    selects = []
    for part in relation.parts:
        if part.deleted:
            selects.append(f"SELECT {_columns(relation, part)} FROM {_from(part, few)}")
        else:
            whole.setdefault(tuple(sorted(part.columns.items())), []).append(part)
    for parts in whole.values():
        paths = ", ".join(literal(part.path) for part in parts)
        selects.append(f"SELECT {_columns(relation, parts[0])} FROM {_read(f'[{paths}]')}")
    return " UNION ALL ".join(selects) or _nothing(relation.columns)


def _with_rows(relation: Relation, few: Mapping[int, list[int]]) -> str:
    selects = [
        f"SELECT {_columns(relation, part)}, {part.number}::INTEGER AS __file, held.file_row_number AS __pos, "
        f"{quoted(ROW) if part.first_row is None else f'{part.first_row} + held.file_row_number'} AS {ROW} "
        f"FROM {_from(part, few)}"
        for part in relation.parts
    ]
    extra = [Column("__file", "INTEGER"), Column("__pos", "BIGINT"), Column(ROW, "BIGINT")]
    return " UNION ALL ".join(selects) or _nothing([*relation.columns, *extra])


def _from(part: Part, few: Mapping[int, list[int]]) -> str:
    source = f"{_read(literal(part.path))} AS held"
    if not part.deleted:
        return source
    if part.number in few:
        return f"{source} WHERE held.file_row_number NOT IN ({', '.join(map(str, few[part.number])) or 'NULL'})"
    return f"{source} ANTI JOIN {_read(literal(part.deleted))} AS gone ON held.file_row_number = gone.{POSITION}"


def _read(path: str) -> str:
    return f"read_parquet({path}, hive_partitioning=false)"


def _columns(relation: Relation, part: Part) -> str:
    return ", ".join(_column(each, part.columns.get(each.name)) for each in relation.columns)


def _column(column: Column, held: tuple[str, str] | None) -> str:
    if held is None:
        value = f"NULL::{column.type}"
    elif held[1] == column.type:
        value = quoted(held[0])
    else:
        value = f"CAST({quoted(held[0])} AS {column.type})"
    return f"{value} AS {quoted(column.name)}"


def _nothing(columns: Sequence[Column]) -> str:
    return f"SELECT {', '.join(_column(each, None) for each in columns)} WHERE false"


@contextlib.contextmanager
def _timed(connection: DuckDBPyConnection, seconds: float) -> Iterator[None]:
    timer = threading.Timer(seconds, connection.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
