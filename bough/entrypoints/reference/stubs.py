"""bough/client/api.pyi: what `client.releases.list(…)` takes and gives, for editors and type checkers."""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from typing import Any

_HEAD = '''"""Generated from the operations by `python -m bough.entrypoints.reference --write`."""

import builtins
from collections.abc import Iterator
from typing import Any

from bough.client.record import Record
'''
_KINDS = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "list": "builtins.list[str]",
    "map": "dict[str, str]",
    "json": "Any",
}
_SCALARS = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
_WIDTH = 120


def stubs(contract: Mapping[str, Any]) -> str:
    operations: dict[str, Any] = contract["operations"]
    groups: dict[str, dict[str, Any]] = {}
    for name, operation in operations.items():
        noun, _, verb = name.rpartition(".")
        groups.setdefault(noun, {})[verb] = operation
    parts = [_HEAD]
    parts += [_record(name, schema) for name, schema in contract["schemas"].items()]
    parts += [_class(f"_{noun.capitalize()}", [_method(verb, each) for verb, each in verbs.items()])
              for noun, verbs in groups.items() if noun]  # fmt: skip
    members = [f"    {noun}: _{noun.capitalize()}\n" for noun in sorted(groups) if noun]
    members += ["    def call(self, name: str, /, **fields: Any) -> Any: ...\n"]
    members += [_method(verb, each) for verb, each in groups.get("", {}).items()]
    parts.append(_class("Api", members))
    return "\n".join(parts)


def _record(name: str, schema: Mapping[str, Any]) -> str:
    lines = []
    for field, kind in schema.get("properties", {}).items():
        # A field named as a method of dict, or a keyword, is read as record["keys"].
        hidden = "# " if keyword.iskeyword(field) or hasattr(dict, field) else ""
        lines.append(f"    {hidden}{field}: {_type(kind)}\n")
    return _class(name.rpartition(".")[2], lines, base="Record")


def _class(name: str, members: list[str], base: str = "") -> str:
    return f"class {name}{f'({base})' if base else ''}:\n" + ("".join(members) or "    pass\n")


def _method(name: str, operation: Mapping[str, Any]) -> str:
    parameters = [
        f"{field['name']}: {_KINDS[field['kind']]}" + ("" if field["required"] else " = ...")
        for field in sorted(operation["fields"], key=lambda field: not field["required"])
    ]
    if operation["writes"]:
        parameters.append("idempotency_key: str = ...")
    returns = _type(operation["returns"])
    if operation["streams"]:
        returns = f"Iterator[{returns}]"
    head = f"    def {name}({', '.join(['self', *(['*', *parameters] if parameters else [])])}) -> {returns}: ...\n"
    if len(head) <= _WIDTH:
        return head
    inner = "".join(f"        {each},\n" for each in ["self", "*", *parameters])
    return f"    def {name}(\n{inner}    ) -> {returns}: ...\n"


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2].rpartition(".")[2]
    if "anyOf" in schema:
        kinds = {_type(each) for each in schema["anyOf"]}
        return " | ".join([*sorted(kinds - {"None"}), *sorted(kinds & {"None"})])
    kind = schema.get("type")
    if kind == "array":
        return f"builtins.list[{_type(schema.get('items', {}))}]"
    if kind == "object":
        return f"dict[str, {_type(schema.get('additionalProperties', {}) or {})}]"
    return _SCALARS.get(str(kind), "Any")
