"""Avro object files, as far as Iceberg's manifests need them: records of numbers, texts and empty records."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

INT, LONG, TEXT = "int", "long", "string"
OPTIONAL_LONG = ["null", "long"]


def container(schema: Mapping[str, Any], records: Sequence[Mapping[str, Any]], metadata: Mapping[str, str]) -> bytes:
    """One uncompressed block."""
    described = {"avro.schema": json.dumps(schema), "avro.codec": "null", **metadata}
    header = b"Obj\x01" + _number(len(described))
    header += b"".join(_text(key) + _text(value) for key, value in described.items()) + _number(0)
    body = b"".join(_encoded(schema, each) for each in records)
    mark = b"bough iceberg v2"  # between blocks; any 16 bytes
    return header + mark + _number(len(records)) + _number(len(body)) + body + mark


def _encoded(schema: Any, value: Any) -> bytes:
    if isinstance(schema, list):  # a union of null and one more
        return _number(0) if value is None else _number(1) + _encoded(schema[1], value)
    if isinstance(schema, Mapping):
        return b"".join(_encoded(each["type"], value[each["name"]]) for each in schema["fields"])
    return _text(value) if schema == TEXT else _number(value)


def _text(value: str) -> bytes:
    encoded = value.encode()
    return _number(len(encoded)) + encoded


def _number(value: int) -> bytes:
    left = (value << 1) ^ (value >> 63)
    found = bytearray()
    while left > 127:
        found.append(left & 127 | 128)
        left >>= 7
    return bytes([*found, left])
