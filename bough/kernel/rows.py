"""Structs as rows of a table: one column for each field, JSON text for those that a column cannot hold."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property, lru_cache
from typing import Any, Generic, TypeVar

import msgspec

Kind = TypeVar("Kind", bound=msgspec.Struct)

KEPT = 256  # shared texts of a table that are remembered
KEPT_ROWS = 4096  # and structs of rows that did not change


class Rows(Generic[Kind]):
    """How structs of `kind` are kept; the fields `texts` as JSON. Those of them in `shared` are frozen structs that
    many rows have alike, such as the settings of a service in every branch: each text is decoded once."""

    def __init__(self, kind: type[Kind], *texts: str, shared: Iterable[str] = ()) -> None:
        self._kind, self._texts, self._shared = kind, texts, frozenset(shared)
        self._kept = lru_cache(maxsize=KEPT)(self._decoded)
        self._same: dict[tuple[Any, ...], Kind] = {}

    def columns(self, **values: Any) -> dict[str, Any]:
        """Values of some fields, or of further columns, as they are written."""
        return {key: self._written(key, value) for key, value in values.items()}

    def row(self, made: Kind) -> dict[str, Any]:
        """All fields of a struct, as they are written."""
        return self.columns(**{name: getattr(made, name) for name in self._kind.__struct_fields__})

    def struct(self, row: Any) -> Kind:
        """What a row of the table means."""
        fields = {name: getattr(row, name) for name in self._kind.__struct_fields__}
        return msgspec.convert(fields | {name: self._meaning(name, fields[name]) for name in self._texts}, self._kind)

    def same(self, row: Any) -> Kind:
        """As `struct`, and the very same object while the row, of all columns, says the same: for whoever looks at many
        rows again and again. It must not be changed."""
        values = tuple(row)
        found = self._same.get(values)
        if found is None:
            if len(self._same) >= KEPT_ROWS:
                self._same.clear()
            found = self._same[values] = self.struct(row)
        return found

    def _meaning(self, name: str, text: str) -> Any:
        return self._kept(name, text) if name in self._shared else msgspec.json.decode(text)

    @cached_property
    def _types(self) -> dict[str, Any]:
        return {field.name: field.type for field in msgspec.structs.fields(self._kind)}

    def _decoded(self, name: str, text: str) -> Any:
        return msgspec.json.decode(text, type=self._types[name])

    def _written(self, key: str, value: Any) -> Any:
        return msgspec.json.encode(value).decode() if key in self._texts else value
