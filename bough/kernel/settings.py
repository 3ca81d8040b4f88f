"""TOML files as typed settings: every error names file, line and key, and every value knows where it came from.

The parser of the standard library does not keep positions, so `Lines` finds them again by reading table headers and
keys; a value inside an inline table or a multi-line array gets the line of the key that holds it.
"""

from __future__ import annotations

import difflib
import re
import tomllib
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
        """The line of `path`, or of the nearest key that contains it."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)


class Document:
    """A TOML file, decoded piece by piece into structs."""

    def __init__(self, text: str, name: str = "bough.toml") -> None:
        self.name = name
        self.lines = Lines(text)
        try:
            self.data: dict[str, Any] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            line = int(found[1]) if (found := re.search(r"line (\d+)", str(error))) else 1
            raise ProjectFileInvalid(
                f"{name}:{line}: not valid TOML: {error}", hint=f"edit {name}", file=name, line=line, key=""
            ) from error

    @classmethod
    def read(cls, path: Path) -> Document:
        try:
            return cls(path.read_text("utf-8"), path.name)
        except FileNotFoundError as error:
            raise ProjectFileInvalid(
                f"there is no {path.name} in {path.parent}",
                code="PROJECT_FILE_MISSING",
                hint="bough init",
                file=path.name,
            ) from error
        except UnicodeDecodeError as error:
            raise ProjectFileInvalid(
                f"{path.name} is not UTF-8 text", hint=f"edit {path.name}", file=path.name
            ) from error

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

    def decode(self, path: KeyPath, data: dict[str, Any], kind: type[T]) -> T:
        """`data`, which stands at `path`, as a `kind`; unknown keys are refused with the nearest known one."""
        try:
            return msgspec.convert(data, kind)
        except msgspec.ValidationError as error:
            text = str(error)
            at = found["path"] if (found := _AT.search(text)) else ""
            where = path + tuple(p for p in at.removeprefix("$").replace("[...]", "").split(".") if p)
            message = _AT.sub("", text).replace("Object", "the table").replace("Expected", "expected")
            if unknown := _UNKNOWN.search(text):
                key = unknown["key"]
                where += (key,)
                near = difflib.get_close_matches(key, _fields_at(kind, where[len(path) : -1]), 1)
                message = "unknown key" + (f"; did you mean {near[0]!r}?" if near else "")
            raise self.error(where, message) from error


def _parts(path: str) -> KeyPath:
    return tuple(part.strip("\"'") for part in _PART.findall(path))


def _fields_at(kind: Any, path: KeyPath) -> list[str]:
    for part in path:
        kind = next((field.type for field in msgspec.structs.fields(kind) if field.encode_name == part), None)
        kind = next((arg for arg in getattr(kind, "__args__", ()) if isinstance(arg, type(msgspec.Struct))), kind)
        if not isinstance(kind, type(msgspec.Struct)):
            return []
    return [field.encode_name for field in msgspec.structs.fields(kind)]
