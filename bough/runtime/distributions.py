"""What values look like, without the values: counts by field, bounded whatever comes.

Data minimisation is decided here. Numbers leave as counts in buckets and a sum. Booleans, and texts that the author
has listed in the type (Literal, Enum), leave as counts by value, a text only once it was seen twice. Of all other texts
and of bytes only the length is counted. Keys of objects become paths; one that is long (over 64 characters or four
words) or looks like an address or a number of somebody is written `*`.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from typing import Any, Optional

from bough.runtime.frames import MAX_FIELDS, MAX_PATH, MAX_VALUES, MAX_WORD, VALUE_BOUNDS, FieldStats, SideStats

MAX_LEAVES = 1024  # values of one item that are looked at; what is beyond has no part in the numbers
_DEPTH = 8
_WORDS = re.compile(r"[^\W\d_][\w.+/:-]*(?: [\w.+/:-]+){0,2}")
_KEY = re.compile(r"(?=.{1,64}$)[\w.:/+()%-]+(?: [\w.:/+()%-]+){0,3}")
_DIGITS = re.compile(r"\d(?:\D?\d){4}")


class Distribution:
    """Of inputs or of outputs. `take` counts an item; `increments` hands over what is new since the last call.

    `categories` names the keys whose texts may be categories; None means all but the `opaque` ones."""

    def __init__(self, opaque: frozenset[str] = frozenset()) -> None:
        self._opaque = opaque
        self._fields: dict[str, _Field] = {}
        self._items = 0
        self._dropped = 0
        self._left = 0
        self._seen: set[str] = set()

    def take(self, name: str, value: Any, categories: Optional[frozenset[str]] = None) -> None:
        """An item that is an object counts by its keys; any other counts as the field `name`."""
        self._items += 1
        self._left = MAX_LEAVES
        self._seen.clear()
        if isinstance(value, dict):
            self._object("", value, categories, 0)
        else:
            self._value(name, value, categories is None and name not in self._opaque, categories, 0)

    def take_tensors(self, tensors: dict[str, tuple[list[Any], bool]]) -> None:
        """An item of flat tensors by name, each with whether its elements belong to rows."""
        self._items += 1
        self._left = MAX_LEAVES
        self._seen.clear()
        for name, (values, rows) in tensors.items():
            path = _safe(name)
            self._elements(f"{path}[]" if rows else path, values, False, None, 0)  # a tensor has no listed texts

    def increments(self) -> SideStats:
        fields = {path: found for path, field in self._fields.items() if (found := field.increments()) is not None}
        side = SideStats(items=self._items, fields=fields, dropped=self._dropped)
        self._items = self._dropped = 0
        return side

    # --- private: walking

    def _object(self, path: str, value: dict[Any, Any], categories: Optional[frozenset[str]], depth: int) -> None:
        for key, entry in value.items():
            name = _safe(key)
            named = key not in self._opaque if categories is None else key in categories
            self._value(f"{path}.{name}" if path else name, entry, named, categories, depth + 1)

    def _value(self, path: str, value: Any, named: bool, categories: Optional[frozenset[str]], depth: int) -> None:
        if self._left <= 0 or depth > _DEPTH:
            return
        self._left -= 1
        kind = type(value)
        if value is None:
            return
        if kind is bool:
            self._category(path, "true" if value else "false", known=True)
        elif kind is float or kind is int:
            self._number(path, value)
        elif kind is str:
            if named and _is_category(value):
                self._category(path, value, known=False)
            else:
                self._number(f"len({path})", len(value))
        elif kind is dict:
            self._object(path, value, categories, depth)
        elif kind is list:
            self._number(f"len({path})", len(value))
            self._elements(path if path.endswith("[]") else f"{path}[]", value, named, categories, depth + 1)
        elif kind is bytes:
            self._number(f"len({path})", len(value))

    def _elements(
        self, path: str, values: list[Any], named: bool, categories: Optional[frozenset[str]], depth: int
    ) -> None:
        if len(values) > self._left:
            values = values[: max(0, self._left)]
        if (
            values and type(values[0]) is float and set(map(type, values)) == {float}
        ):  # most arrays: three times as fast
            self._left -= len(values)
            self._floats(path, values)
            return
        for value in values:
            self._value(path, value, named, categories, depth)

    # --- private: counting

    def _floats(self, path: str, values: list[float]) -> None:
        values = [value for value in values if math.isfinite(value)]
        field = self._field(path) if values else None
        if field is not None:
            field.sum += sum(values)
            buckets = field.buckets
            for value in values:
                bucket = bisect_left(VALUE_BOUNDS, value)
                buckets[bucket] = buckets.get(bucket, 0) + 1

    def _number(self, path: str, value: Any) -> None:
        try:
            number = float(value)
        except OverflowError:  # a whole number beyond what a float holds
            return
        if not math.isfinite(number):
            return
        field = self._field(path)
        if field is not None:
            field.sum += number
            bucket = bisect_left(VALUE_BOUNDS, number)
            field.buckets[bucket] = field.buckets.get(bucket, 0) + 1

    def _category(self, path: str, value: str, known: bool) -> None:
        field = self._field(path)
        if field is None:
            return
        if value in field.named:
            field.values[value] = field.values.get(value, 0) + 1
        elif known or value in field.once:
            field.values[value] = 1 if known else 2
            field.named.add(value)
            field.once.discard(value)
        elif len(field.named) + len(field.once) < MAX_VALUES:
            field.once.add(value)
        else:
            field.other += 1

    def _field(self, path: str) -> Optional[_Field]:
        field = self._fields.get(path)
        if field is None:
            if len(self._fields) >= MAX_FIELDS or len(path) > MAX_PATH:
                self._dropped += 1
                return None
            field = self._fields[path] = _Field()
        if path not in self._seen:
            self._seen.add(path)
            field.present += 1
        return field


class _Field:
    """The increments of one field, and which values it names (`named`) or would, were they to come again (`once`)."""

    __slots__ = ("buckets", "named", "once", "other", "present", "sum", "values")

    def __init__(self) -> None:
        self.named: set[str] = set()
        self.once: set[str] = set()
        self._clear()

    def increments(self) -> Optional[FieldStats]:
        """None when nothing is new."""
        if not self.present:
            return None
        total = self.sum if math.isfinite(self.sum) else 0.0  # JSON has no infinity
        found = FieldStats(present=self.present, sum=total, buckets=self.buckets, values=self.values, other=self.other)
        self._clear()
        return found

    def _clear(self) -> None:
        self.present = self.other = 0
        self.sum = 0.0
        self.buckets: dict[int, int] = {}
        self.values: dict[str, int] = {}


def _safe(key: Any) -> str:
    return key if isinstance(key, str) and _KEY.fullmatch(key) and not _DIGITS.search(key) else "*"


def _is_category(text: str) -> bool:
    return len(text) <= MAX_WORD and _WORDS.fullmatch(text) is not None and _DIGITS.search(text) is None
