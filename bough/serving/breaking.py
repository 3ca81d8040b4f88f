"""What callers of an API version would miss: the difference of two signatures, read as callers read it.

What callers send must still be taken: a field that must be given now, a type that is narrower, a value that is not
listed any more break them. What they are given must still be what they know: a field that is gone, a type that is
wider, a value that they have never seen. What is added beside that breaks nobody. Where a type says nothing, nothing is
said of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bough.runtime.frames import Signature

_LOW, _HIGH = (
    ("minimum", "exclusiveMinimum", "minLength", "minItems"),
    ("maximum", "exclusiveMaximum", "maxLength", "maxItems"),
)
_DEEPEST = 32


def differences(before: Signature, after: Signature) -> list[str]:
    """One sentence each; empty: whoever could call before still can."""
    found = list(dict.fromkeys([*_input(before, after), *_output(before, after)]))
    if before.streams != after.streams:
        found.append("the answer is a stream now" if after.streams else "the answer is no stream any more")
    if before.openai != after.openai and before.openai:
        found.append(f"it does not answer OpenAI's {before.openai} any more")
    if not found:  # clients of the Open Inference Protocol name tensors
        named = {each.name for each in after.inputs} if after.inputs else None
        found += [
            f"tensor {each.name!r} is gone" for each in before.inputs if named is not None and each.name not in named
        ]
    return found


def _input(before: Signature, after: Signature) -> Iterator[str]:
    if before.input and after.input:
        yield from _Flow(before.input, after.input, "input").at(before.input, after.input, "")


def _output(before: Signature, after: Signature) -> Iterator[str]:
    if before.output and after.output:
        yield from _Flow(after.output, before.output, "output").at(after.output, before.output, "")


class _Flow:
    """Values of one schema go to who expects another. `side`: `input` goes from old callers to the new version,
    `output` from the new version to old callers."""

    def __init__(self, gives: dict[str, Any], takes: dict[str, Any], side: str) -> None:
        self._gives, self._takes, self._side = gives, takes, side

    def at(self, gives: Any, takes: Any, path: str, depth: int = 0) -> Iterator[str]:
        gives, takes = _resolved(gives, self._gives), _resolved(takes, self._takes)
        if not takes or depth > _DEEPEST or gives == takes == {}:
            return
        forms = list(_forms(gives, self._gives))
        if len(forms) > 1 or len(list(_forms(takes, self._takes))) > 1:
            for form in forms:
                wanted = list(_forms(takes, self._takes))
                if not any(not list(self.at(form, each, path, depth + 1)) for each in wanted):
                    yield self._said(
                        path,
                        f"may be {_shown(form)}" if self._side == "output" else f"may not be {_shown(form)} any more",
                    )
            return
        yield from self._plain(gives, takes, path)
        yield from self._inside(gives, takes, path, depth)

    def _plain(self, gives: dict[str, Any], takes: dict[str, Any], path: str) -> Iterator[str]:
        kinds, known = _kinds(gives), _kinds(takes)
        if known and (not kinds or any(not _fits(kind, known) for kind in kinds)):
            now, was = (_shown(takes), _shown(gives)) if self._side == "input" else (_shown(gives), _shown(takes))
            yield self._said(path, f"is {now}, and was {was}")
            return
        values, listed = _values(gives), _values(takes)
        if listed is not None:
            new = [each for each in values if each not in listed] if values is not None else ["something else"]
            if new:
                what = ", ".join(map(repr, new[:5]))
                yield self._said(path, f"may be {what}" if self._side == "output" else f"may not be {what} any more")
            return
        for name in (*_LOW, *_HIGH) if values is None else ():
            bound, given = takes.get(name), gives.get(name)
            if bound is not None and (given is None or (given < bound if name in _LOW else given > bound)):
                now = f"must have {name} {bound}" if self._side == "input" else f"may be beyond {name} {bound}"
                yield self._said(path, now)

    def _inside(self, gives: dict[str, Any], takes: dict[str, Any], path: str, depth: int) -> Iterator[str]:
        known, given = takes.get("properties", {}), gives.get("properties", {})
        for name in takes.get("required", ()):
            if name not in gives.get("required", ()) and (name in given or self._side == "input"):
                what = "must be given now" if self._side == "input" else "may be missing now"
                yield self._said(_join(path, name), what)
        gone = given.keys() - known.keys() if self._side == "input" else known.keys() - given.keys()
        is_open = self._side == "input" and isinstance(takes.get("additionalProperties"), dict)
        if (known or takes.get("type") == "object") and not is_open:
            for name in sorted(gone):
                yield self._said(_join(path, name), "is gone")
        for name in sorted(given.keys() & known.keys()):
            yield from self.at(given[name], known[name], _join(path, name), depth + 1)
        for key in ("items", "additionalProperties"):
            if isinstance(takes.get(key), dict) and isinstance(gives.get(key), dict):
                yield from self.at(gives[key], takes[key], f"{path}[]", depth + 1)
        for number, (one, other) in enumerate(
            zip(gives.get("prefixItems", ()), takes.get("prefixItems", ()), strict=False)
        ):
            yield from self.at(one, other, f"{path}[{number}]", depth + 1)

    def _said(self, path: str, what: str) -> str:
        return f"{self._side} {path} {what}" if path else f"the {self._side} {what}"


def _resolved(schema: Any, root: dict[str, Any]) -> dict[str, Any]:
    for _ in range(_DEEPEST):
        if not isinstance(schema, dict):
            return {}
        if "$ref" in schema:
            schema = root.get("$defs", {}).get(str(schema["$ref"]).rpartition("/")[2], {})
        elif len(schema.get("allOf", ())) == 1:
            schema = schema["allOf"][0]
        else:
            return schema
    return {}


def _forms(schema: dict[str, Any], root: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What a value may look like, one by one."""
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            for part in schema[choice]:
                yield from _forms(_resolved(part, root), root)
            return
    yield schema


def _kinds(schema: dict[str, Any]) -> set[str]:
    kinds = schema.get("type", ())
    if not kinds and (values := _values(schema)) is not None:
        return {_kind_of(value) for value in values}
    return {kinds} if isinstance(kinds, str) else set(kinds)


def _fits(kind: str, known: set[str]) -> bool:
    return kind in known or (kind == "integer" and "number" in known)


def _values(schema: dict[str, Any]) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    found: list[Any] | None = schema.get("enum")
    return found


def _kind_of(value: Any) -> str:
    names = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null", list: "array"}
    return names.get(type(value), "object")


def _shown(schema: dict[str, Any]) -> str:
    return " or ".join(sorted(_kinds(schema))) or "anything"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
