"""A file from outside, held against a table's schema and key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from bough.adapters.tables import PARQUET, ROW, Column, Session, quoted
from bough.data.tables import rules
from bough.data.tables.models import DataFile, Version
from bough.kernel.errors import Conflict, Invalid

TABLE = "it"  # the name of the table in our sessions


class Incoming(msgspec.Struct, frozen=True, kw_only=True):
    """An uploaded file, named by its blob."""

    blob: str
    format: str = PARQUET


def kept(kind: str) -> str:
    """The type under which a table keeps a column of a file."""
    return "VARCHAR" if kind.startswith("ENUM(") or kind == "JSON" else kind


def match(version: Version, columns: Sequence[Column]) -> dict[int, Column]:
    """Field id -> column of the file. Columns go by name, in any order; one that may be null may be left out."""
    found: dict[int, Column] = {}
    for each in columns:
        if (field := version.field(each.name)) is None:
            raise Invalid(
                f"the file has a column {each.name!r}, which the table has not",
                code="COLUMN_UNKNOWN",
                hint=f"bough tables schema-add NAME {each.name!r} {kept(each.type)!r}",
            )
        found[field.id] = each
    if lacking := [each.name for each in version.fields if each.id not in found and not each.nullable]:
        raise Invalid(
            f"the file lacks the column {lacking[0]!r}, which is never null", code="COLUMN_MISSING",
            hint="bough tables schema NAME",
        )  # fmt: skip
    return found


def fits(version: Version, held: Mapping[int, Column]) -> bool:
    """Whether the file can be a data file as it is."""
    kinds = {each.id: each.type for each in version.fields}
    return all(each.type == kinds[id] or rules.is_wider(each.type, kinds[id]) for id, each in held.items())


def cast(version: Version, held: Mapping[int, Column]) -> str:
    """A query for the rows of the file, with the names and types of the table."""
    columns = [
        f"CAST({quoted(held[each.id].name) if each.id in held else 'NULL'} AS {each.type}) AS {quoted(each.name)}"
        for each in version.fields
    ]
    return f"SELECT {', '.join(columns)} FROM incoming"


def check_keys(session: Session, version: Version, held: Mapping[int, Column], *, against_table: bool) -> None:
    """The file's keys are there, each once, and (if asked) not in the table already."""
    keys = ", ".join(map(quoted, version.key_names))
    fresh = f"SELECT {keys} FROM ({cast(version, held)})"
    empty = " OR ".join(f"{quoted(name)} IS NULL" for name in version.key_names)
    if session.rows(f"SELECT 1 FROM ({fresh}) WHERE {empty} LIMIT 1").rows:
        raise _null(", ".join(version.key_names))
    twice = session.rows(f"SELECT {keys} FROM ({fresh}) GROUP BY ALL HAVING count(*) > 1 LIMIT 1").rows
    if twice:
        what = f"the file has two rows with the key {_text(twice[0])}"
        raise Invalid(what, code="KEY_TWICE", hint="a key names one row")
    if against_table and version.files:
        known = session.rows(f"SELECT {keys} FROM ({fresh}) SEMI JOIN {TABLE} USING ({keys}) LIMIT 1").rows
        if known:
            raise Conflict(f"the table has a row with the key {_text(known[0])} already", code="KEY_EXISTS",
                           hint="bough tables upsert changes rows that are there")  # fmt: skip


def check_moved_keys(session: Session, version: Version) -> None:
    """The keys that an update gives (in `hit`) belong to no other row."""
    keys = ", ".join(map(quoted, version.key_names))
    twice = session.rows(f"SELECT {keys} FROM hit GROUP BY ALL HAVING count(*) > 1 LIMIT 1").rows
    others = f"SELECT {keys} FROM rows.{TABLE} AS old ANTI JOIN hit ON old.{ROW} = hit.{ROW}"
    known = twice or session.rows(f"SELECT {keys} FROM hit SEMI JOIN ({others}) USING ({keys}) LIMIT 1").rows
    if known:
        raise Conflict(f"two rows would have the key {_text(known[0])}", code="KEY_EXISTS", hint="a key names one row")


def check_nulls(version: Version, file: DataFile) -> None:
    for each in version.fields:
        counted = file.statistics.get(each.id)
        if not each.nullable and file.rows and (counted is None or counted.nulls):
            raise _null(each.name)


def _null(name: str) -> Invalid:
    return Invalid(f"{name} would be null in some row, which it never is", code="NULL_REFUSED",
                   hint="give it a value")  # fmt: skip


def _text(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))
