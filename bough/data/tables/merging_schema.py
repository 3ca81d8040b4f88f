"""Three schemas into one, by field id. Pure."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from bough.data.tables.models import Field, Layout, Version
from bough.data.tables.rules import is_wider
from bough.kernel.merging import THEIRS, Choices


class Clash(msgspec.Struct, frozen=True):
    """A column that both sides changed differently; None: it is not there."""

    name: str
    base: Field | None
    ours: Field | None
    theirs: Field | None


class Schema(msgspec.Struct, frozen=True, kw_only=True):
    """`ids`: the ids that `theirs` gave since the base -> those that they get beside ours."""

    fields: list[Field]
    next_field: int
    ids: dict[int, int]
    clashes: list[Clash]


def merged(base: Version, ours: Version, theirs: Version, prefix: str, choices: Choices) -> Schema:
    """`prefix` + column names a clash in `choices`; one that they decide is settled."""
    old, mine, other = ({each.id: each for each in version.fields} for version in (base, ours, theirs))
    fields: dict[int, Field] = {}
    clashes: list[Clash] = []
    ids: dict[int, int] = {}
    next_field = ours.next_field

    def settle(id: int, clash: Clash) -> None:
        side = choices.of(prefix + clash.name)
        if not side:
            clashes.append(clash)
        elif chosen := clash.theirs if side == THEIRS else clash.ours:
            fields[id] = replace(chosen, id=id)

    for each in ours.fields:
        if each.id not in old:
            fields[each.id] = each
        elif (found := _field(old[each.id], each, other.get(each.id))) is _CLASH:
            settle(each.id, Clash(old[each.id].name, old[each.id], each, other.get(each.id)))
        elif isinstance(found, Field):
            fields[each.id] = found
    for each in theirs.fields:
        if each.id in old:
            if each.id not in mine and each != old[each.id]:
                settle(each.id, Clash(old[each.id].name, old[each.id], None, each))
            continue
        same = next((own for own in ours.fields if own.id not in old and own.name.lower() == each.name.lower()), None)
        if same is None:
            ids[each.id] = next_field
            fields[next_field] = replace(each, id=next_field)
            next_field += 1
            continue
        ids[each.id] = same.id
        if same.type != each.type:
            del fields[same.id]
            settle(same.id, Clash(each.name, None, same, each))
    names: dict[str, Field] = {}
    for each in fields.values():
        if (twin := names.setdefault(each.name.lower(), each)) is not each:
            clashes.append(Clash(each.name, None, twin, each))
    return Schema(fields=list(fields.values()), next_field=next_field, ids=ids, clashes=clashes)


def with_ids(version: Version, ids: dict[int, int]) -> Version:
    """The version under other field ids."""
    layouts = [Layout(columns={ids.get(id, id): held for id, held in each.columns.items()}) for each in version.layouts]
    files = [
        replace(each, statistics={ids.get(id, id): found for id, found in each.statistics.items()})
        for each in version.files
    ]
    key = [ids.get(id, id) for id in version.key]
    fields = [replace(each, id=ids.get(each.id, each.id)) for each in version.fields]
    return replace(version, fields=fields, layouts=layouts, files=files, key=key)


_CLASH: Any = object()


def _field(base: Field, ours: Field, theirs: Field | None) -> Any:
    """A field, None (gone), or _CLASH."""
    if theirs is None:
        return None if ours == base else _CLASH
    name, nullable = _pick(base.name, ours.name, theirs.name), _pick(base.nullable, ours.nullable, theirs.nullable)
    kind = _pick(base.type, ours.type, theirs.type)
    if kind is _CLASH and is_wider(ours.type, theirs.type):
        kind = theirs.type
    elif kind is _CLASH and is_wider(theirs.type, ours.type):
        kind = ours.type
    if _CLASH in (name, kind, nullable):
        return _CLASH
    return Field(id=base.id, name=name, type=kind, nullable=nullable)


def _pick(base: Any, ours: Any, theirs: Any) -> Any:
    if ours == theirs or theirs == base:
        return ours
    return theirs if ours == base else _CLASH
