"""Structs as rows of a table: one column for each field, JSON text for those that a column cannot hold."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

Kind = TypeVar("Kind", bound=msgspec.Struct)


class Rows(Generic[Kind]):
    """How structs of `kind` are kept; the fields `texts` as JSON."""

    def __init__(self, kind: type[Kind], *texts: str) -> None:
        self._kind, self._texts = kind, texts

    def columns(self, **values: Any) -> dict[str, Any]:
        """Values of some fields, or of further columns, as they are written."""
        return {key: self._written(key, value) for key, value in values.items()}

    def row(self, made: Kind) -> dict[str, Any]:
        """All fields of a struct, as they are written."""
        return self.columns(**{name: getattr(made, name) for name in self._kind.__struct_fields__})

    def struct(self, row: Any) -> Kind:
        """What a row of the table means."""
        fields = {name: getattr(row, name) for name in self._kind.__struct_fields__}
        return msgspec.convert(fields | {name: msgspec.json.decode(fields[name]) for name in self._texts}, self._kind)

    def _written(self, key: str, value: Any) -> Any:
        return msgspec.json.encode(value).decode() if key in self._texts else value
