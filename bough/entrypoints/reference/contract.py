"""bough/client/contract.json: the operations as data, for the SDK and the command line. They load no server library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from bough.entrypoints.http.openapi import item_of
from bough.kernel.operations import Operation

_DEFINITIONS = "#/schemas/"


def contract(operations: Mapping[str, Operation[Any, Any]]) -> dict[str, Any]:
    every = list(operations.values())
    found, schemas = msgspec.json.schema_components(
        [item_of(each) for each in every], ref_template=_DEFINITIONS + "{name}"
    )
    return {
        "operations": {each.name: _operation(each, returns) for each, returns in zip(every, found, strict=True)},
        "schemas": dict(sorted(schemas.items())),
    }


def _operation(operation: Operation[Any, Any], returns: dict[str, Any]) -> dict[str, Any]:
    return {
        "method": operation.method,
        "path": operation.path,
        "command": operation.command.replace("_", "-"),
        "role": operation.role.name.lower(),
        "writes": operation.writes,
        "streams": operation.streams,
        "secret": operation.secret,
        "help": operation.help,
        "fields": [_field(field) for field in msgspec.structs.fields(operation.request)],
        "returns": returns,
    }


def _field(field: msgspec.structs.FieldInfo) -> dict[str, Any]:
    schema = msgspec.json.schema(field.type)
    described: dict[str, Any] = {"name": field.encode_name, "kind": _kind(schema), "required": field.required}
    if not field.required:
        default = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
        described["default"] = msgspec.to_builtins(default)
    described["help"] = schema.get("description", "")
    for key in ("minimum", "maximum", "flag"):
        if key in schema:
            described[key] = schema[key]
    if _is_choice(schema):
        described["choices"] = [*schema["enum"]]
    if schema.get("x-argument"):  # a position on the command line although it may be left out
        described["argument"] = schema.get("x-metavar", field.encode_name.upper())
    return described


def _kind(schema: dict[str, Any]) -> str:
    """string, integer, number, boolean; list and map of strings; json for all else."""
    known = [each for each in schema.get("anyOf", [schema]) if each != {"type": "null"}]
    schema = known[0] if len(known) == 1 else schema
    kind = "string" if _is_choice(schema) else schema.get("type", "")
    if kind in ("string", "integer", "number", "boolean"):
        return str(kind)
    if kind == "array" and schema.get("items") == {"type": "string"}:
        return "list"
    if kind == "object" and schema.get("additionalProperties") == {"type": "string"}:
        return "map"
    return "json"


def _is_choice(schema: dict[str, Any]) -> bool:
    """One of a few texts."""
    return "enum" in schema and all(isinstance(each, str) for each in schema["enum"])
