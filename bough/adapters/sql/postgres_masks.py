"""Masked databases of Postgres: rows pass from one server to another as they are masked, and are searched for after."""

from __future__ import annotations

import contextlib
import mmap
import secrets
from collections.abc import Mapping

from bough.adapters.sql.postgres_server import DATABASE, Programs, Server
from bough.kernel.errors import Invalid

SHORTEST, SEARCHED = 6, 200  # bytes and number of values that are searched for


def copy_masked(programs: Programs, source: Server, target: Server, policy: Mapping[str, str]) -> None:
    """Tables, then rows as they are masked, then indexes and keys: nothing passes through it in clear."""
    key = secrets.token_hex(16)
    dump = ["-h", str(source.sockets), "--no-owner", DATABASE]
    target.psql(programs.run("pg_dump", "--section=pre-data", *dump))
    columns: dict[str, list[tuple[str, str]]] = {}
    for table, column, kind in columns_of(source):
        columns.setdefault(table, []).append((column, kind))
    for table, each in columns.items():
        shown, into = [], []
        for column, kind in each:
            how = policy.get(f"{table}.{column}", "")
            if how == "drop":
                target.psql(f"ALTER TABLE {quoted(table)} DROP COLUMN {quoted(column)}")
                continue
            into.append(quoted(column))
            shown.append(_masked(quoted(column), kind, how, key))
        rows = source.psql(f"COPY (SELECT {', '.join(shown)} FROM {quoted(table)}) TO STDOUT")  # noqa: S608 - quoted
        target.psql(f"COPY {quoted(table)} ({', '.join(into)}) FROM STDIN;\n{rows}\\.\n")
    with contextlib.suppress(Invalid):  # what hangs on a dropped column stays away with it
        target.psql(programs.run("pg_dump", "--section=post-data", *dump), words=["-v", "ON_ERROR_STOP=0"])
    for line in source.psql("SELECT format('%I.%I', schemaname, sequencename), coalesce(last_value, 1), "
                            "last_value IS NOT NULL FROM pg_sequences").splitlines():  # fmt: skip
        name, value, used = line.split("\t")
        target.psql(f"SELECT setval({literal(name)}, {int(value)}, {'true' if used == 't' else 'false'})")


def _masked(column: str, kind: str, how: str, key: str) -> str:
    digest = f"encode(sha256(convert_to('{key}' || {column}::text, 'UTF8')), 'hex')"
    numbers = ("integer", "bigint", "smallint", "numeric", "real", "double precision")
    if how == "noise" and kind not in numbers:
        raise Invalid(
            f"{column} is {kind}; noise is for numbers", code="MASK_INVALID", hint="token, hash, null or drop"
        )
    return {
        "": column,
        "null": "NULL",
        "hash": f"CASE WHEN {column} IS NULL THEN NULL ELSE {digest} END",
        "token": f"CASE WHEN {column} IS NULL THEN NULL ELSE 'tok_' || left({digest}, 16) END",
        "noise": f"({column} * (0.9 + 0.2 * random()))::{kind}",
    }[how]


def columns_of(server: Server) -> list[tuple[str, str, str]]:
    """Table, column and type of what is stored, of the schema `public`."""
    rows = server.psql(
        "SELECT c.table_name, c.column_name, c.data_type FROM information_schema.columns c"
        " JOIN information_schema.tables t USING (table_schema, table_name)"
        " WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
        " AND c.is_generated = 'NEVER' ORDER BY 1, c.ordinal_position"
    )
    return [(table, column, kind) for table, column, kind in (line.split("\t") for line in rows.splitlines())]


def leak(source: Server, target: Server, policy: Mapping[str, str]) -> str:
    wanted: list[tuple[str, bytes]] = []
    for name in policy:
        table, _, column = name.partition(".")
        query = f"SELECT DISTINCT {quoted(column)}::text FROM {quoted(table)} LIMIT {SEARCHED}"  # noqa: S608 - quoted
        values = [each.encode() for each in source.psql(query).splitlines()]
        wanted += [(name, each) for each in values if len(each) >= SHORTEST and not each.isdigit()]
    for path in target.data.rglob("*"):
        if path.is_file() and path.stat().st_size:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                for name, value in wanted:
                    if content.find(value) >= 0:
                        return (
                            f"a value of {name} stands in clear elsewhere: mask the column that repeats it, or drop it"
                        )
    return ""


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
