"""Which data files may hold rows that a condition wants, told from their statistics alone."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from bough.adapters.tables import Bound
from bough.data.tables.models import DataFile, Field, Statistics, Version
from bough.data.tables.rules import FLOATS, INTEGERS


def candidates(version: Version, bounds: Iterable[Bound]) -> list[int]:
    """Places of the files that cannot be left out. In doubt a file stays in."""
    known = [(field, each) for each in bounds if (field := version.field(each.column)) is not None]
    return [at for at, file in enumerate(version.files) if all(_may_hold(version, file, *each) for each in known)]


def _may_hold(version: Version, file: DataFile, field: Field, bound: Bound) -> bool:
    held = version.layouts[file.layout].columns.get(field.id)
    if held is None:
        return False  # all null, and a comparison with null is never true
    found = file.statistics.get(field.id)
    if found is None:
        return True
    if found.nulls == file.rows:
        return False
    wanted = _value(field.type, bound.value, bound.kind)
    return wanted is None or _overlaps(field.type, found, bound.operator, wanted)


def _overlaps(kind: str, found: Statistics, operator: str, wanted: Any) -> bool:
    own = "number" if _is_number(kind) else "text"
    least = None if found.least is None else _value(kind, found.least, own)
    greatest = None if found.greatest is None else _value(kind, found.greatest, own)
    above = least is not None and (least > wanted or (operator == "<" and least == wanted))
    below = greatest is not None and (greatest < wanted or (operator == ">" and greatest == wanted))
    return not (above and operator in ("<", "<=", "=")) and not (below and operator in (">", ">=", "="))


def _value(kind: str, text: str, literal: str) -> Any:
    """`text` in the order of `kind`; None when that cannot be told for sure."""
    try:
        if _is_number(kind):
            found = Decimal(text) if literal == "number" else None
            return found if found is not None and found.is_finite() else None
        if literal != "text":
            return None
        if kind == "VARCHAR":
            return text  # by code points, which is the order of UTF-8 bytes
        if kind == "DATE":
            return date.fromisoformat(text) if len(text) == 10 else None
        if kind == "TIMESTAMP":
            moment = datetime.fromisoformat(text)
            return moment if moment.tzinfo is None else None
        if kind == "TIMESTAMP WITH TIME ZONE":
            moment = datetime.fromisoformat(text)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, InvalidOperation):
        pass
    return None


def _is_number(kind: str) -> bool:
    return kind in INTEGERS or kind in FLOATS or kind.startswith("DECIMAL(")
