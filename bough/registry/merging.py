"""Merging models: tags and texts field by field; where both sides moved an alias, a person decides."""

from __future__ import annotations

from typing import Any

from bough.kernel.catalog import MODEL
from bough.kernel.merging import OURS, Choices, Conflict
from bough.registry import rules

_LATEST = "updated_at"  # of two, the later one


class ModelMerger:
    """The merger of the kind `model`."""

    def merge(self, key: str, base: Any, ours: Any, theirs: Any, choices: Choices) -> tuple[Any, list[Conflict]]:
        whole = Conflict(kind=MODEL, key=key, base=base, ours=ours, theirs=theirs)
        if rules.alias_in(key) is not None or base is None or ours.get("id") != theirs.get("id"):
            if side := choices.of(whole.id):
                return (ours if side == OURS else theirs), []
            return None, [whole]
        merged: dict[str, Any] = {_LATEST: max(ours.get(_LATEST, 0.0), theirs.get(_LATEST, 0.0))}
        conflicts: list[Conflict] = []
        flat = [_flat(each) for each in (base, ours, theirs)]
        values: dict[str, Any] = {}
        for field in sorted(set().union(*flat) - {_LATEST}):
            was, mine, other = (each.get(field) for each in flat)
            if mine == other or other == was:
                values[field] = mine
            elif mine == was:
                values[field] = other
            else:
                one = Conflict(kind=MODEL, key=key, row=field, base=was, ours=mine, theirs=other)
                side = choices.of(one.id)
                values[field] = mine if side == OURS else other
                conflicts += [] if side else [one]
        return (None if conflicts else merged | _whole(values)), conflicts


def _flat(value: dict[str, Any]) -> dict[str, Any]:
    """Each tag as a field of its own."""
    plain = {field: each for field, each in value.items() if field != "tags"}
    return plain | {f"tags.{name}": each for name, each in value.get("tags", {}).items()}


def _whole(fields: dict[str, Any]) -> dict[str, Any]:
    kept = {field: each for field, each in fields.items() if each is not None}
    plain = {field: each for field, each in kept.items() if not field.startswith("tags.")}
    return plain | {"tags": {name[5:]: each for name, each in kept.items() if name.startswith("tags.")}}
