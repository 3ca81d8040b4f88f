"""A version as an Iceberg table of format v2: schema, name mapping, manifests, metadata. Pure.

Columns of data files are found by name mapping, so files that came from outside stay as they are. Rejected: pyiceberg
for writing; it needs a catalog and pyarrow, and adds only files without field ids.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import msgspec

from bough.adapters.tables import ROW
from bough.data.tables import avro, rules
from bough.data.tables.models import Field, Layout, Version

ROW_ID = 2_147_483_540  # Iceberg's own id of row ids
DATA, METADATA = "data", "metadata"
_TYPES = {
    "BOOLEAN": "boolean", "TINYINT": "int", "SMALLINT": "int", "INTEGER": "int", "UTINYINT": "int", "USMALLINT": "int",
    "BIGINT": "long", "UINTEGER": "long", "UBIGINT": "decimal(20, 0)", "FLOAT": "float", "DOUBLE": "double",
    "VARCHAR": "string", "BLOB": "binary", "DATE": "date", "TIME": "time", "TIMESTAMP": "timestamp",
    "TIMESTAMP_S": "timestamp", "TIMESTAMP_MS": "timestamp", "TIMESTAMP_NS": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "timestamptz", "UUID": "uuid",
}  # fmt: skip
_CAST = {"UBIGINT": "DECIMAL(20,0)", "TIMESTAMP_S": "TIMESTAMP", "TIMESTAMP_MS": "TIMESTAMP",
         "TIMESTAMP_NS": "TIMESTAMP", "UTINYINT": "INTEGER", "USMALLINT": "INTEGER", "UINTEGER": "BIGINT"}  # fmt: skip
_PROMOTED = {("int", "long"), ("float", "double")}
_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")
_CASTS = re.compile(r'"(?:[^"]|"")*"|\b(?:' + "|".join(map(re.escape, _CAST)) + r")\b")


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A data file of the export."""

    path: str
    rows: int
    bytes: int


class Schema(msgspec.Struct, frozen=True, kw_only=True):
    fields: dict[str, Any]
    last_id: int
    mapping: list[dict[str, Any]]


def schema_of(version: Version, layouts: Sequence[Layout]) -> Schema:
    """`layouts`: of the files that stay as they are; their names of columns are part of the mapping."""
    ids = count(version.next_field)
    fields, mapping = [], []
    for each in version.fields:
        kind, inner = _type(each.type, ids)
        fields.append({"id": each.id, "name": each.name, "required": not each.nullable, "type": kind})
        names = {layout.columns[each.id][0] for layout in layouts if each.id in layout.columns}
        mapping.append({"field-id": each.id, "names": [each.name, *sorted(names - {each.name})], **inner})
    mapping.append({"field-id": ROW_ID, "names": [ROW]})
    described = {"type": "struct", "schema-id": 0, "fields": fields, "identifier-field-ids": version.key}
    return Schema(fields=described, last_id=next(ids) - 1, mapping=mapping)


def stays(version: Version, layout: Layout, columns: Sequence[tuple[str, int | None]]) -> bool:
    """Whether a data file can be read as it is. `columns` are the names and field ids that stand in it."""
    named = {name: id for id, (name, _) in layout.columns.items()}
    for name, id in columns:
        if name != ROW and (name not in named or id not in (None, named[name])):
            return False  # a column that is gone, or an id that means something else here
    nested = any(not _is_plain(each.type) for each in version.fields)
    if nested and any(id is not None for _, id in columns):
        return False  # ids outside and none inside: readers disagree about that
    others = {each.name: each.id for each in version.fields}
    for each in version.fields:
        if each.id not in layout.columns:
            continue
        name, kind = layout.columns[each.id]
        if others.get(name, each.id) != each.id or not _reads(kind, each):
            return False
    return True


def written_as(field: Field) -> str:
    """The type with which a column is written anew."""
    return _CASTS.sub(lambda found: _CAST.get(found[0], found[0]), field.type)


def metadata(version: Version, schema: Schema, files: Sequence[Held], location: str, at_ms: int) -> dict[str, bytes]:
    """Path below `location` -> content."""
    named = json.dumps([location, schema.fields, msgspec.to_builtins(files)])
    number = int.from_bytes(hashlib.sha256(named.encode()).digest()[:7])  # the same export has the same names
    stem = f"{METADATA}/snap-{number}"
    entries = [
        {"status": 1, "snapshot_id": number, "sequence_number": 1, "file_sequence_number": 1, "data_file": {
            "content": 0, "file_path": f"{location}/{each.path}", "file_format": "PARQUET", "partition": {},
            "record_count": each.rows, "file_size_in_bytes": each.bytes}}
        for each in files
    ]  # fmt: skip
    described = {"schema": json.dumps(schema.fields), "schema-id": "0", "partition-spec": "[]",
                 "partition-spec-id": "0", "format-version": "2", "content": "data"}  # fmt: skip
    manifest = avro.container(_ENTRY, entries, described)
    listed = {
        "manifest_path": f"{location}/{stem}-m0.avro", "manifest_length": len(manifest), "partition_spec_id": 0,
        "content": 0, "sequence_number": 1, "min_sequence_number": 1, "added_snapshot_id": number,
        "added_files_count": len(files), "existing_files_count": 0, "deleted_files_count": 0,
        "added_rows_count": version.rows, "existing_rows_count": 0, "deleted_rows_count": 0,
    }  # fmt: skip
    head = {"snapshot-id": str(number), "parent-snapshot-id": "null", "sequence-number": "1", "format-version": "2"}
    table = json.dumps(_table(schema, location, number, f"{location}/{stem}.avro", at_ms), indent=1)
    return {
        f"{stem}-m0.avro": manifest,
        f"{stem}.avro": avro.container(_MANIFEST, [listed], head),
        f"{METADATA}/v1.metadata.json": table.encode(),
        f"{METADATA}/version-hint.text": b"1",
    }


def _table(schema: Schema, location: str, number: int, manifests: str, at_ms: int) -> dict[str, Any]:
    snapshot = {"snapshot-id": number, "sequence-number": 1, "timestamp-ms": at_ms, "manifest-list": manifests,
                "summary": {"operation": "append"}, "schema-id": 0}  # fmt: skip
    return {
        "format-version": 2, "table-uuid": str(uuid.uuid5(uuid.NAMESPACE_URL, location)), "location": location,
        "last-sequence-number": 1, "last-updated-ms": at_ms, "last-column-id": schema.last_id,
        "current-schema-id": 0, "schemas": [schema.fields], "default-spec-id": 0,
        "partition-specs": [{"spec-id": 0, "fields": []}], "last-partition-id": 999, "default-sort-order-id": 0,
        "sort-orders": [{"order-id": 0, "fields": []}],
        "properties": {"schema.name-mapping.default": json.dumps(schema.mapping)},
        "current-snapshot-id": number, "snapshots": [snapshot], "metadata-log": [],
        "snapshot-log": [{"snapshot-id": number, "timestamp-ms": at_ms}],
        "refs": {"main": {"snapshot-id": number, "type": "branch"}},
    }  # fmt: skip


def _type(kind: str, ids: Iterator[int]) -> tuple[Any, dict[str, Any]]:
    """Iceberg's type, and what the name mapping says of its inside."""
    if kind in _TYPES:
        return _TYPES[kind], {}
    if kind.endswith("]"):
        id = next(ids)
        inner, deeper = _type(kind[: kind.rindex("[")], ids)
        found = {"type": "list", "element-id": id, "element-required": False, "element": inner}
        return found, {"fields": [{"field-id": id, "names": ["element"], **deeper}]}
    if decimal := _DECIMAL.fullmatch(kind):
        return f"decimal({decimal[1]}, {decimal[2]})", {}
    members = rules.split(kind[kind.index("(") + 1 : -1])
    if kind.startswith("MAP("):
        named = list(zip(("key", "value"), members, strict=True))
    else:
        named = [rules.name_and_type(each) for each in members]
    fields, below = list[dict[str, Any]](), list[dict[str, Any]]()
    for name, each in named:
        id = next(ids)
        inner, deeper = _type(each, ids)
        fields.append({"id": id, "name": name, "required": False, "type": inner})
        below.append({"field-id": id, "names": [name], **deeper})
    if kind.startswith("MAP("):
        key, value = fields
        found = {"type": "map", "key-id": key["id"], "key": key["type"], "value-id": value["id"],
                 "value-required": False, "value": value["type"]}  # fmt: skip
        return found, {"fields": below}
    return {"type": "struct", "fields": fields}, {"fields": below}


def _reads(held: str, field: Field) -> bool:
    """Whether Iceberg reads a column that is `held` in the file as the field."""
    if held != written_as(Field(id=0, name="", type=held)):
        return False
    if held == field.type:
        return True
    one, other = (_DECIMAL.fullmatch(each) for each in (held, field.type))
    if one and other:
        return one[2] == other[2]
    was, now = _TYPES.get(held), _TYPES.get(field.type)
    return was is not None and (was == now or (was, now) in _PROMOTED)


def _is_plain(kind: str) -> bool:
    return kind in _TYPES or bool(_DECIMAL.fullmatch(kind))


def _record(name: str, *fields: tuple[str, Any, int]) -> dict[str, Any]:
    described = []
    for field, kind, id in fields:
        described.append({"name": field, "type": kind, "field-id": id})
        if isinstance(kind, list):
            described[-1]["default"] = None
    return {"type": "record", "name": name, "fields": described}


_ENTRY = _record(
    "manifest_entry",
    ("status", avro.INT, 0), ("snapshot_id", avro.OPTIONAL_LONG, 1), ("sequence_number", avro.OPTIONAL_LONG, 3),
    ("file_sequence_number", avro.OPTIONAL_LONG, 4),
    ("data_file", _record(
        "r2",
        ("content", avro.INT, 134), ("file_path", avro.TEXT, 100), ("file_format", avro.TEXT, 101),
        ("partition", _record("r102"), 102), ("record_count", avro.LONG, 103), ("file_size_in_bytes", avro.LONG, 104),
    ), 2),
)  # fmt: skip
_MANIFEST = _record(
    "manifest_file",
    ("manifest_path", avro.TEXT, 500), ("manifest_length", avro.LONG, 501), ("partition_spec_id", avro.INT, 502),
    ("content", avro.INT, 517), ("sequence_number", avro.LONG, 515), ("min_sequence_number", avro.LONG, 516),
    ("added_snapshot_id", avro.LONG, 503), ("added_files_count", avro.INT, 504),
    ("existing_files_count", avro.INT, 505), ("deleted_files_count", avro.INT, 506),
    ("added_rows_count", avro.LONG, 512), ("existing_rows_count", avro.LONG, 513),
    ("deleted_rows_count", avro.LONG, 514),
)  # fmt: skip
