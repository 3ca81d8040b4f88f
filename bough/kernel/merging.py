"""Comparing two states of the catalog, and bringing one into the other.

`differences` compares any two points: only what was written since their nearest common state is looked at, so the cost
is that of the changes, not of what is there. `three_way` is the decision, entry by entry, against that common state:
what one side alone has changed is taken, what both made equal is agreed, and the rest is a conflict that says what each
side did. Nothing is ever decided by who came last. A kind whose entries have an inside (tables: rows) brings a `Merger`
that is asked before a conflict is declared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import msgspec
import sqlalchemy as sa

from bough.kernel import catalog
from bough.kernel.catalog import Point, Write
from bough.kernel.errors import Invalid

OURS, THEIRS = "ours", "theirs"
SIDES = (OURS, THEIRS)


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """`before` and `after` are values, None where the entry is not there."""

    kind: str
    key: str
    before: Any
    after: Any

    @property
    def action(self) -> str:
        return "add" if self.before is None else "remove" if self.after is None else "change"


class Conflict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`row` is the key of a row inside the entry, where it has rows. `ours` is the state that is merged into."""

    kind: str
    key: str
    row: str = ""
    base: Any = None
    ours: Any = None
    theirs: Any = None

    @property
    def id(self) -> str:
        """How a choice names it: `file:images/a.png`, `table:orders#42`."""
        return f"{self.kind}:{self.key}" + (f"#{self.row}" if self.row else "")


class Merged(msgspec.Struct, frozen=True, kw_only=True):
    """What a merge would write, and what it cannot decide. With conflicts, `writes` is only what is undisputed."""

    writes: list[Write]
    conflicts: list[Conflict]


class Choices(msgspec.Struct, frozen=True, kw_only=True):
    """What a person decided: a side for everything, or one for each conflict's id."""

    all: str = ""
    by_id: dict[str, str] = {}

    def of(self, id: str) -> str:
        """`ours`, `theirs`, or empty: undecided."""
        return self.by_id.get(id, self.all)

    def check(self) -> None:
        if wrong := [each for each in (self.all, *self.by_id.values()) if each not in ("", *SIDES)]:
            raise Invalid(f"{wrong[0]!r} is not a side", code="CHOICE_INVALID", hint="choose ours or theirs")


class Merger(Protocol):
    """Merges the inside of entries of one kind."""

    def merge(self, key: str, base: Any, ours: Any, theirs: Any, choices: Choices) -> tuple[Any, list[Conflict]]:
        """The merged value (None: gone), or conflicts that `choices` do not decide. Called only when both sides have
        changed the entry, and differently. May write blobs; must not write anything else."""


class Mergers:
    """Those of every kind that has one; put together in `composition/workings.py`."""

    def __init__(self, by_kind: Mapping[str, Merger] | None = None) -> None:
        self.by_kind = dict(by_kind or {})


def differences(tx: sa.Connection, before: Point, after: Point, kinds: Iterable[str] = ()) -> list[Difference]:
    """What differs between two points, by kind and key."""
    keys = _touched(tx, before, after)
    found = []
    for kind, key in sorted(keys):
        if kinds and kind not in kinds:
            continue
        old, new = (_value(tx, each, kind, key) for each in (before, after))
        if old != new:
            found.append(Difference(kind=kind, key=key, before=old, after=new))
    return found


def base_of(tx: sa.Connection, one: Point, other: Point) -> Point:
    """The nearest state that both have come from; the empty state (layer 0) when there is none."""
    mine = {each.layer: each.seq for each in catalog.chain(tx, one)}
    for each in catalog.chain(tx, other):
        if each.layer in mine:
            return Point(each.layer, min(each.seq, mine[each.layer]))
    return Point(0, 0)


def incoming(tx: sa.Connection, ours: Point, theirs: Point, kinds: Iterable[str] = ()) -> list[Difference]:
    """What `theirs` has changed since the common base and `ours` does not have yet."""
    found = differences(tx, base_of(tx, ours, theirs), theirs, kinds)
    return [each for each in found if _value(tx, ours, each.kind, each.key) != each.after]


def three_way(
    tx: sa.Connection,
    ours: Point,
    theirs: Point,
    *,
    kinds: Iterable[str],
    mergers: Mapping[str, Merger],
    choices: Choices,
) -> Merged:
    """What writing into `ours` makes it hold all that `theirs` has changed since their common base."""
    writes: list[Write] = []
    conflicts: list[Conflict] = []
    for each in incoming(tx, ours, theirs, kinds):
        mine = _value(tx, ours, each.kind, each.key)
        if mine == each.before:  # only they have changed it
            writes.append(Write(each.kind, each.key, each.after))
            continue
        value, open_ = _decide(each, mine, mergers.get(each.kind), choices)
        conflicts += open_
        if not open_ and value != mine:
            writes.append(Write(each.kind, each.key, value))
    return Merged(writes=writes, conflicts=conflicts)


def has_moved(tx: sa.Connection, ours: Point, theirs: Point, kinds: Iterable[str]) -> bool:
    """Whether `ours` has changed since `theirs` branched from it; if not, a merge is a fast-forward."""
    return bool(differences(tx, base_of(tx, ours, theirs), ours, kinds))


def _decide(each: Difference, mine: Any, merger: Merger | None, choices: Choices) -> tuple[Any, list[Conflict]]:
    whole = Conflict(kind=each.kind, key=each.key, base=each.before, ours=mine, theirs=each.after)
    if (side := choices.by_id.get(whole.id)) is not None:
        return (mine if side == OURS else each.after), []
    if merger is not None and mine is not None and each.after is not None:
        return merger.merge(each.key, each.before, mine, each.after, choices)
    if choices.all:
        return (mine if choices.all == OURS else each.after), []
    return None, [whole]


def _touched(tx: sa.Connection, one: Point, other: Point) -> set[tuple[str, str]]:
    """What may differ: everything written on either side since the nearest common state."""
    base = base_of(tx, one, other)
    found: set[tuple[str, str]] = set()
    for side in (one, other):
        for each in catalog.chain(tx, side):
            if each.layer == base.layer:
                found |= catalog.written(tx, each.layer, base.seq, each.seq)
                break
            found |= catalog.written(tx, each.layer, 0, each.seq)
    return found


def _value(tx: sa.Connection, at: Point, kind: str, key: str) -> Any:
    found = catalog.get(tx, at, kind, key)
    return None if found is None else found.value
