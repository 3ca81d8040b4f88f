"""Pure rules: names, types, what a table becomes when its schema or its files change, and when it wants compaction."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from bough.adapters.tables import Column
from bough.data.tables.models import DataFile, Field, Layout, Version
from bough.kernel.errors import Conflict, Invalid, NotFound

NAME = re.compile(r"^[a-z][a-z0-9_]{0,62}\Z")
LONGEST_COLUMN = 128
# `__` is ours (row ids); the others are columns that DuckDB adds to every Parquet file.
_RESERVED = {"filename", "file_row_number", "file_index", "rowid"}
_NOT_TABLES = {"incoming", "rows"}  # names that sessions use
_LADDERS = (
    ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "DOUBLE"),
    ("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"),
    ("UTINYINT", "SMALLINT"), ("USMALLINT", "INTEGER"), ("UINTEGER", "BIGINT"),
    ("FLOAT", "DOUBLE"),
    ("DATE", "TIMESTAMP"),
)  # fmt: skip
INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"}
FLOATS = {"FLOAT", "DOUBLE"}
_PLAIN = {
    *INTEGERS, *FLOATS, "BOOLEAN", "VARCHAR", "BLOB", "DATE", "TIME", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS",
    "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE", "UUID",
}  # fmt: skip
_INSTEAD = {
    "HUGEINT": "DECIMAL(38,0)", "UHUGEINT": "DECIMAL(38,0)", "TIME WITH TIME ZONE": "TIME", "INTERVAL": "BIGINT",
    "BIT": "VARCHAR", "\"NULL\"": "VARCHAR", "JSON": "VARCHAR",
}  # fmt: skip
_MEMBER = re.compile(r'(?:"((?:[^"]|"")+)"|([^\s"]+))\s+(.+)\Z', re.S)
_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)\Z")

SMALL_FILE_BYTES = 32 << 20  # below it, a file is worth putting together with others
TARGET_FILE_BYTES = 128 << 20  # a scan of one costs some 30 ms and its first check 90 ms
MANY_SMALL_FILES = 16  # each costs a scan about a millisecond
MUCH_DELETED = 0.2  # of the rows of a file


def check_table_name(name: str) -> str:
    """Names that need no quotes in SQL; raises `Invalid` (TABLE_NAME_INVALID)."""
    if NAME.match(name) and name not in _NOT_TABLES:
        return name
    nearest = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    raise Invalid(
        f"{name!r} cannot be the name of a table; it has 1-63 lower-case letters, digits, underscores, a letter first",
        code="TABLE_NAME_INVALID",
        hint=f"try {nearest if NAME.match(nearest) and nearest not in _NOT_TABLES else 't_' + nearest[:60]!r}",
    )


def check_columns(columns: Sequence[Column]) -> None:
    """Raises `Invalid`: COLUMN_NAME_INVALID, COLUMN_TWICE, TYPE_UNSUPPORTED."""
    if not columns:
        raise Invalid("a table has at least one column", code="COLUMNS_MISSING", hint="--schema 'id BIGINT'")
    seen: set[str] = set()
    for each in columns:
        name = each.name
        if not name.strip() or len(name) > LONGEST_COLUMN or not name.isprintable() or name.startswith("__"):
            what = f"{name!r} cannot be a column's name; 1-{LONGEST_COLUMN} printable characters, not beginning with __"
            raise Invalid(what, code="COLUMN_NAME_INVALID", hint="rename it in the file")
        if name.lower() in _RESERVED:
            raise Invalid(f"{name!r} has a meaning of its own in SQL over Parquet files", code="COLUMN_NAME_INVALID",
                          hint="rename it in the file")  # fmt: skip
        if name.lower() in seen:
            raise Invalid(f"two columns are called {name!r}; case does not count", code="COLUMN_TWICE",
                          hint="rename one in the file")  # fmt: skip
        seen.add(name.lower())
        if not is_supported(each.type):
            instead = _INSTEAD.get(each.type, "VARCHAR")
            raise Invalid(f"column {name!r} has the type {each.type}, which tables do not keep",
                          code="TYPE_UNSUPPORTED", hint=f"cast it to {instead} in the file")  # fmt: skip


def is_supported(kind: str) -> bool:
    """Plain types, and lists, structs, maps and arrays of them."""
    if kind in _PLAIN or _DECIMAL.match(kind):
        return True
    if kind.endswith("]"):
        return is_supported(kind[: kind.rindex("[")])
    if kind.startswith(("STRUCT(", "MAP(")) and kind.endswith(")"):
        inner = split(kind[kind.index("(") + 1 : -1])
        if kind.startswith("MAP("):
            return len(inner) == 2 and all(map(is_supported, inner))
        return all(is_supported(name_and_type(each)[1]) for each in inner)
    return False


def is_ordered(kind: str) -> bool:
    """Whether least and greatest of a column can be kept as text and compared again."""
    return kind in _PLAIN - {"BLOB"} or bool(_DECIMAL.match(kind))


def is_wider(old: str, new: str) -> bool:
    """Whether every value of `old` is one of `new`."""
    if any(old in each and new in each and each.index(old) < each.index(new) for each in _LADDERS):
        return (old, new) != ("BIGINT", "DOUBLE")
    before, after = _DECIMAL.match(old), _DECIMAL.match(new)
    if before and after:
        whole, fraction = int(before[1]) - int(before[2]), int(before[2])
        return int(after[2]) >= fraction and int(after[1]) - int(after[2]) >= whole and old != new
    return False


def split(text: str) -> list[str]:
    """At commas that lie in no parentheses, brackets or quotes."""
    parts, depth, quote, start = [], 0, "", 0
    for at, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter in "([":
            depth += 1
        elif letter in ")]":
            depth -= 1
        elif letter == "," and not depth:
            parts.append(text[start:at].strip())
            start = at + 1
    return [*parts, text[start:].strip()]


def name_and_type(member: str) -> tuple[str, str]:
    """`"a b" INTEGER` -> `a b`, `INTEGER`. Raises `Invalid` (SCHEMA_INVALID)."""
    found = _MEMBER.match(member)
    if found is None:
        what = f"{member!r} is not a column; a name and a type are"
        raise Invalid(what, code="SCHEMA_INVALID", hint="--schema 'id BIGINT, \"full name\" VARCHAR'")
    name = found[1].replace('""', '"') if found[1] is not None else found[2]
    return name, found[3].strip()


# --- making and changing versions


def new(columns: Sequence[Column], key: Sequence[str] = ()) -> Version:
    """An empty table. Key columns are never null."""
    check_columns(columns)
    by_name = {each.name.lower(): at for at, each in enumerate(columns, 1)}
    if lacking := [name for name in key if name.lower() not in by_name]:
        raise column_missing(lacking[0], [each.name for each in columns])
    ids = [by_name[name.lower()] for name in key]
    if odd := [each.name for at, each in enumerate(columns, 1) if at in ids and not _may_be_key(each.type)]:
        what = f"{odd[0]!r} cannot be part of a key; only whole numbers, texts, dates, times and decimals can"
        raise Invalid(what, code="KEY_INVALID", hint="--key with another column")
    fields = [
        Field(id=at, name=each.name, type=each.type, nullable=at not in ids) for at, each in enumerate(columns, 1)
    ]
    return Version(fields=fields, key=ids, next_field=len(fields) + 1)


def _may_be_key(kind: str) -> bool:
    return is_ordered(kind) and kind not in FLOATS


def add_column(version: Version, name: str, kind: str) -> Version:
    if version.field(name):
        raise Conflict(f"there is a column {name!r} already", code="COLUMN_EXISTS", hint="choose another name")
    check_columns([Column(name, kind)])
    field = Field(id=version.next_field, name=name, type=kind)
    return replace(version, fields=[*version.fields, field], next_field=version.next_field + 1)


def rename_column(version: Version, name: str, to: str) -> Version:
    field = needed(version, name)
    check_columns([Column(to, field.type)])
    if (other := version.field(to)) and other.id != field.id:
        raise Conflict(f"there is a column {to!r} already", code="COLUMN_EXISTS", hint="choose another name")
    return _with(version, replace(field, name=to))


def widen_column(version: Version, name: str, kind: str) -> Version:
    field = needed(version, name)
    if field.type == kind:
        return version
    if not is_wider(field.type, kind):
        raise Invalid(
            f"{name} is {field.type}, and not every value of that is a {kind}",
            code="TYPE_NOT_WIDER",
            hint="add a column, fill it with update --set, drop the old one",
        )
    return _with(version, replace(field, type=kind))


def drop_column(version: Version, name: str) -> Version:
    field = needed(version, name)
    if field.id in version.key:
        raise Invalid(f"{name} is part of the key", code="KEY_NEEDED", hint="make a new table with another key")
    if len(version.fields) == 1:
        raise Invalid(f"{name} is the only column", code="COLUMNS_MISSING", hint="bough tables drop")
    return tidy(replace(version, fields=[each for each in version.fields if each.id != field.id]))


def needed(version: Version, name: str) -> Field:
    if field := version.field(name):
        return field
    raise column_missing(name, [each.name for each in version.fields])


def column_missing(name: str, names: Sequence[str]) -> NotFound:
    return NotFound(f"there is no column {name!r}; there are {', '.join(names)}", code="COLUMN_NOT_FOUND",
                    hint="bough tables schema NAME")  # fmt: skip


def _with(version: Version, field: Field) -> Version:
    return replace(version, fields=[field if each.id == field.id else each for each in version.fields])


def with_layout(version: Version, layout: Layout) -> tuple[Version, int]:
    """The place of `layout` among the version's layouts."""
    if layout in version.layouts:
        return version, version.layouts.index(layout)
    return replace(version, layouts=[*version.layouts, layout]), len(version.layouts)


def with_file(version: Version, file: DataFile, layout: Layout) -> Version:
    """Adds a data file. One without row ids of its own gets the next ones."""
    if not file.rows:
        return version
    version, at = with_layout(version, layout)
    if file.first_row is not None:
        file = replace(file, first_row=version.next_row)
        version = replace(version, next_row=version.next_row + file.rows)
    return replace(version, files=[*version.files, replace(file, layout=at)])


def with_files(version: Version, changed: Mapping[int, DataFile | None]) -> Version:
    """Replaces data files by their place in the version; None: gone. A blob may stand there twice, a place may not."""
    files = [changed.get(at, each) for at, each in enumerate(version.files)]
    return tidy(replace(version, files=[each for each in files if each is not None]))


def tidy(version: Version) -> Version:
    """Without layouts that no file uses, and statistics of fields that are gone."""
    alive = {each.id for each in version.fields}
    used = sorted({each.layout for each in version.files})
    place = {old: new for new, old in enumerate(used)}
    files = [
        replace(
            each,
            layout=place[each.layout],
            statistics={id: found for id, found in each.statistics.items() if id in alive},
        )
        for each in version.files
    ]
    return replace(version, files=files, layouts=[version.layouts[at] for at in used])


# --- compaction


def to_compact(version: Version, *, all: bool = False) -> list[list[int]]:
    """Places of files, in groups that each become one file: small ones, and those with many deleted rows."""
    groups: list[list[int]] = [[]]
    size = 0
    for at, each in enumerate(version.files):
        if not (all or each.bytes < SMALL_FILE_BYTES or _is_worn(each)):
            continue
        if size + each.bytes > TARGET_FILE_BYTES and groups[-1]:
            groups.append([])
            size = 0
        groups[-1].append(at)
        size += each.bytes
    return [group for group in groups if len(group) > 1 or any(_is_worn(version.files[at]) for at in group)]


def wants_compaction(version: Version) -> bool:
    """Many small files or a file with many deleted rows: scans have become slower than they need to be."""
    small = sum(each.bytes < SMALL_FILE_BYTES for each in version.files)
    return small > MANY_SMALL_FILES or any(map(_is_worn, version.files))


def _is_worn(file: DataFile) -> bool:
    return file.deleted is not None and file.deleted.rows > file.rows * MUCH_DELETED
