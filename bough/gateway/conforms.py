"""Whether a value is what a JSON Schema asks for: the part of 2020-12 that types produce, for `mock` to refuse what the
real service would. Formats are not looked at."""

from __future__ import annotations

import math
from typing import Any

_KINDS: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "boolean": (bool,), "null": (type(None),),
    "integer": (int,), "number": (int, float),
}  # fmt: skip
_NAMES = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null", int: "integer"}
_DEEPEST = 64


def mismatch(schema: dict[str, Any], value: Any) -> str:
    """Empty when it conforms, else what was expected and where: "expected integer, got string - at $.rooms"."""
    return _at(schema, value, schema, "$", 0)


def _at(schema: Any, value: Any, root: dict[str, Any], path: str, depth: int) -> str:
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return ""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return _at(root.get("$defs", {}).get(name, {}), value, root, path, depth + 1)
    for choice in ("anyOf", "oneOf"):
        found = [_at(part, value, root, path, depth + 1) for part in schema.get(choice, ())]
        if found and all(found):
            return found[0] if len(found) == 1 else f"none of the {len(found)} forms it may have - at {path}"
    for part in schema.get("allOf", ()):
        if said := _at(part, value, root, path, depth + 1):
            return said
    return _plain(schema, value, path) or _inside(schema, value, root, path, depth)


def _plain(schema: dict[str, Any], value: Any, path: str) -> str:
    kinds = schema.get("type", ())
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(kind, value) for kind in kinds):
        return f"expected {' or '.join(kinds)}, got {_NAMES.get(type(value), 'number')} - at {path}"
    if "const" in schema and not _same(value, schema["const"]):
        return f"expected {schema['const']!r} - at {path}"
    if "enum" in schema and not any(_same(value, one) for one in schema["enum"]):
        return f"expected one of {', '.join(map(repr, schema['enum'][:20]))} - at {path}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _bounds(schema, value, path, ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"))
    if isinstance(value, str):
        return _bounds(schema, len(value), f"the length of {path}", ("minLength", "maxLength"))
    if isinstance(value, list):
        return _bounds(schema, len(value), f"the length of {path}", ("minItems", "maxItems"))
    return ""


def _bounds(schema: dict[str, Any], value: float, path: str, names: tuple[str, ...]) -> str:
    low, high, *rest = (schema.get(name) for name in names)
    above, below = rest or (None, None)
    if low is not None and value < low:
        return f"expected >= {low} - at {path}"
    if high is not None and value > high:
        return f"expected <= {high} - at {path}"
    if above is not None and value <= above:
        return f"expected > {above} - at {path}"
    return f"expected < {below} - at {path}" if below is not None and value >= below else ""


def _inside(schema: dict[str, Any], value: Any, root: dict[str, Any], path: str, depth: int) -> str:
    parts: list[tuple[Any, Any, str]] = []
    if isinstance(value, dict):
        known = schema.get("properties", {})
        if missing := [name for name in schema.get("required", ()) if name not in value]:
            return f"{missing[0]!r} is missing - at {path}"
        other = schema.get("additionalProperties", True)
        if other is False and (unknown := [name for name in value if name not in known]):
            return f"unknown field {unknown[0]!r} - at {path}"
        parts = [(known.get(name, other), each, f"{path}.{name}") for name, each in value.items()]
    elif isinstance(value, list):
        first = schema.get("prefixItems", [])
        rest = schema.get("items", True)
        if rest is False and len(value) > len(first):
            return f"expected at most {len(first)} items - at {path}"
        parts = [(first[at] if at < len(first) else rest, each, f"{path}[{at}]") for at, each in enumerate(value)]
    return next((said for part, each, inner in parts if (said := _at(part, each, root, inner, depth + 1))), "")


def _is(kind: str, value: Any) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return math.isfinite(value) and value == int(value)
    return isinstance(value, _KINDS.get(kind, (object,)))


def _same(left: Any, right: Any) -> bool:
    """JSON's equality: true is not 1."""
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)
