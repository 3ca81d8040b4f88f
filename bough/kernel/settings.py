"""TOML files as typed settings: every error names file, line and key, and every value knows where it came from.

The parser of the standard library does not keep positions, so `Lines` finds them again by reading table headers and
keys; a value inside an inline table or a multi-line array gets the line of the key that holds it.
"""

from __future__ import annotations

import difflib
import re
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from bough.kernel.errors import ProjectFileInvalid

T = TypeVar("T", bound=msgspec.Struct)

_HEADER = re.compile(r"^\s*\[\[?\s*(?P<path>[^\[\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(
    r"""^\s*(?P<path>(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*="""
)
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")
_UNKNOWN = re.compile(r"unknown field `(?P<key>[^`]+)`")
_GOT_TYPE = re.compile(r"got `(?P<type>\w+)`")
_GOT: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool, "array": list, "object": dict}
_PLAINLY = {  # msgspec's words, and ours
    "Expected": "expected",
    "Object": "the table",
    "`object`": "a table",
    "`array`": "a list",
    "`str`": "text",
    "`int`": "a whole number",
    "`float`": "a number",
    "`bool`": "true or false",
}
_AT = re.compile(r" - at `(?P<path>[^`]+)`")

KeyPath = tuple[str, ...]


class Lines:
    """Where each key of a TOML text stands (first line is 1)."""

    def __init__(self, text: str) -> None:
        self._lines: dict[KeyPath, int] = {}
        table: KeyPath = ()
        closing = ""  # inside a multi-line string: what ends it
        for number, line in enumerate(text.splitlines(), 1):
            if closing:
                closing = "" if closing in line else closing
                continue
            if header := _HEADER.match(line):
                table = _parts(header["path"])
                self._lines.setdefault(table, number)
            elif key := _KEY.match(line):
                self._lines.setdefault(table + _parts(key["path"]), number)
            closing = next((mark for mark in ('"""', "'''") if line.count(mark) % 2), "")

    def of(self, path: KeyPath) -> int:
        """The line of `path`, else of the first key inside it, else of the nearest key that contains it."""
        while path:
            inside = [line for found, line in self._lines.items() if found[: len(path)] == path]
            if inside:
                return self._lines.get(path, min(inside))
            path = path[:-1]
        return 1


class Document:
    """A TOML file, decoded piece by piece into structs."""

    def __init__(self, text: str, name: str = "bough.toml") -> None:
        self.name = name
        self.lines = Lines(text)
        try:
            self.data: dict[str, Any] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            found = re.search(r"line (\d+)", str(error))  # otherwise "at end of document"
            line = int(found[1]) if found else max(len(text.splitlines()), 1)
            raise ProjectFileInvalid(
                f"{name}:{line}: not valid TOML: {error}", hint=f"edit {name}", file=name, line=line, key=""
            ) from error
        except RecursionError as error:
            raise ProjectFileInvalid(
                f"{name}:1: nested too deeply to be read", hint=f"edit {name}", file=name, line=1, key=""
            ) from error

    @classmethod
    def read(cls, path: Path, name: str = "") -> Document:
        """`name`: as mistakes in it name it; that of the file, which is enough where a folder has one."""
        name = name or path.name
        try:
            return cls(path.read_text("utf-8"), name)
        except FileNotFoundError as error:
            raise ProjectFileInvalid(
                f"there is no {path.name} in {path.parent}",
                code="PROJECT_FILE_MISSING",
                hint="bough init",
                file=path.name,
            ) from error
        except UnicodeDecodeError as error:
            raise ProjectFileInvalid(f"{name} is not UTF-8 text", hint=f"edit {name}", file=name) from error

    def error(self, path: KeyPath, message: str, hint: str = "") -> ProjectFileInvalid:
        line, key = self.lines.of(path), ".".join(path)
        return ProjectFileInvalid(
            f"{self.name}:{line}: {key}: {message}",
            hint=hint or f"edit {self.name}, line {line}",
            file=self.name,
            line=line,
            key=key,
        )

    def origin(self, path: KeyPath) -> str:
        return f"{self.name}:{self.lines.of(path)}"

    def table(self, path: KeyPath) -> dict[str, Any]:
        """The table at `path`, empty when absent; an error when it is something else."""
        value: Any = self.data
        for depth, part in enumerate(path):
            value = value.get(part, {})
            if not isinstance(value, dict):
                raise self.error(path[: depth + 1], f"must be a table, not {type(value).__name__}")
        return dict(value)

    def decode(
        self, path: KeyPath, data: dict[str, Any], kind: type[T], *, elsewhere: Mapping[str, KeyPath] | None = None
    ) -> T:
        """`data`, which stands at `path`, as a `kind`; unknown keys are refused with the nearest known one. `elsewhere`
        names the tables of those keys that were laid over from somewhere else."""
        try:
            return msgspec.convert(data, kind)
        except msgspec.ValidationError as error:
            text = str(error)
            at = found["path"] if (found := _AT.search(text)) else ""
            message = _AT.sub("", text)
            inside = _keys_at(at, data, message)
            if unknown := _UNKNOWN.search(text):
                near = difflib.get_close_matches(unknown["key"], _fields_at(kind, inside), 1)
                inside += (unknown["key"],)
                message = "unknown key" + (f"; did you mean {near[0]!r}?" if near else "")
            for theirs, ours in _PLAINLY.items():
                message = message.replace(theirs, ours)
            base = (elsewhere or {}).get(inside[0], path) if inside else path
            raise self.error((*base, *inside), message) from error


def _keys_at(at: str, data: Any, message: str) -> KeyPath:
    """The keys of msgspec's `$.env[...]`, which does not say which one of a table's many: the first value that has the
    type, or the unknown key, that it complains about."""
    got = _GOT.get(found["type"], object) if (found := _GOT_TYPE.search(message)) else object
    unknown = found["key"] if (found := _UNKNOWN.search(message)) else None
    keys: list[str] = []
    for part in re.findall(r"[^.\[\]]+|\[\.\.\.\]", at.removeprefix("$")):
        if part != "[...]":
            keys.append(part)
        elif isinstance(data, dict):
            guilty = (
                key
                for key, value in data.items()
                if type(value) is got or (isinstance(value, dict) and unknown in value)
            )
            keys.append(next(guilty, next(iter(data), "")))
        data = data.get(keys[-1]) if isinstance(data, dict) else None
    return tuple(keys)


def _parts(path: str) -> KeyPath:
    return tuple(part.strip("\"'") for part in _PART.findall(path))


def _fields_at(kind: Any, path: KeyPath) -> list[str]:
    for part in path:
        if typing.get_origin(kind) is dict:
            kind = typing.get_args(kind)[1]
        elif isinstance(kind, type(msgspec.Struct)):
            kind = next((field.type for field in msgspec.structs.fields(kind) if field.encode_name == part), None)
    if not isinstance(kind, type(msgspec.Struct)):
        return []
    return [field.encode_name for field in msgspec.structs.fields(kind)]
