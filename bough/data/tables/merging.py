"""Merging tables row by row. A row is told by its key; without one, by its row id, which it had in the base and keeps.

What each side did since the base is worked out from the files that are not in both: a table of a gigabyte of which a
branch changed one row costs the reading of that row's file. What they alone did is then done to ours; what both did to
the same row is agreed if it came to the same, and else a conflict.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from bough.adapters.tables import ROW, Relation, Session, Tables, literal, quoted
from bough.data.tables import merging_schema as schemas
from bough.data.tables.models import DataFile, Version, decode, encode
from bough.data.tables.querying import plain
from bough.data.tables.store import TableFiles
from bough.data.tables.writing import LIMITS, Workshop
from bough.kernel.catalog import TABLE
from bough.kernel.merging import OURS, Choices, Conflict

_SCHEMA = "schema:"  # a conflict about a column is named `table:NAME#schema:COLUMN`


class TableMerger:
    def __init__(self, files: TableFiles, tables: Tables) -> None:
        self._files, self._tables = files, tables
        self._workshop = Workshop(files, tables)

    def merge(self, key: str, base: Any, ours: Any, theirs: Any, choices: Choices) -> tuple[Any, list[Conflict]]:
        """The merged version as plain data, or the conflicts that `choices` leave open."""
        mine, other = decode(ours), decode(theirs)
        old = decode(base) if base is not None else Version(fields=[])
        schema = schemas.merged(old, mine, other, f"{TABLE}:{key}#{_SCHEMA}", choices)
        if schema.clashes:
            return None, [_schema_conflict(key, each) for each in schema.clashes]
        other = schemas.with_ids(other, schema.ids)
        if mine.key != other.key or not set(mine.key) <= {each.id for each in schema.fields}:
            if choices.all:
                return (ours if choices.all == OURS else theirs), []
            return None, [Conflict(kind=TABLE, key=key, base=base, ours=ours, theirs=theirs)]
        sides = [replace(each, fields=schema.fields) for each in (old, mine, other)]
        sides[1] = replace(sides[1], next_field=schema.next_field)
        return self._rows(key, sides, choices)

    def _rows(self, key: str, sides: Sequence[Version], choices: Choices) -> tuple[Any, list[Conflict]]:
        base, ours, theirs = sides
        relations = {"now": self._files.relation(ours)}
        for name, side in (("ours", ours), ("theirs", theirs)):
            relations[f"{name}_before"] = self._only(base, side)
            relations[f"{name}_after"] = self._only(side, base)
        with self._tables.session(relations, limits=LIMITS) as session:
            for name in ("ours", "theirs"):
                session.keep(name, _changes(base, ours, name))
            conflicts = _conflicts(session, key, ours)
            open_ = [each for each in conflicts if not choices.of(each.id)]
            if open_:
                return None, open_
            kept = [each for each in conflicts if choices.of(each.id) == OURS]
            session.keep("hit", _to_do(session, ours, kept))
            return encode(self._workshop.replaced(session, ours, only="__there").version), []

    def _only(self, version: Version, other: Version) -> Relation:
        """The files of `version` that `other` has not, or not just so."""
        known = {_identity(each) for each in other.files}
        places = [at for at, each in enumerate(version.files) if _identity(each) not in known]
        return self._files.relation(version, places)


def _identity(file: DataFile) -> tuple[Any, ...]:
    return file.blob, file.first_row, file.deleted.blob if file.deleted else ""


def _changes(base: Version, version: Version, side: str) -> str:
    """Rows that a side changed: its columns as they are now, `__there` (else deleted), `__was` (else new), the columns
    before as `__old_…`, and what tells the row: `__k0`, `__k1`, … (null for a new row of a table without a key)."""
    names = [quoted(each.name) for each in version.fields]
    tells = [quoted(name) for name in version.key_names] or [ROW]
    joined = " AND ".join(f"old.{name} = new.{name}" for name in tells)
    if not version.key:  # both sides have given the ids after the base's to rows of their own
        joined += f" AND new.{ROW} < {base.next_row}"
    same = " AND ".join(f"old.{name} IS NOT DISTINCT FROM new.{name}" for name in names)
    columns = [f"new.{name} AS {name}" for name in names]
    columns += [f"old.{name} AS {quoted(f'__old_{each.id}')}" for each, name in zip(version.fields, names, strict=True)]
    told = "coalesce(new.{0}, old.{0})"
    if not version.key:
        told = f"CASE WHEN old.{ROW} IS NULL AND new.{ROW} >= {base.next_row} THEN NULL ELSE {told} END"
    columns += [f"{told.format(name)} AS __k{at}" for at, name in enumerate(tells)]
    return (
        f"SELECT {', '.join(columns)}, new.{ROW} IS NOT NULL AS __there, old.{ROW} IS NOT NULL AS __was "
        f"FROM rows.{side}_before AS old FULL JOIN rows.{side}_after AS new ON {joined} "
        f"WHERE old.{ROW} IS NULL OR new.{ROW} IS NULL OR NOT ({same})"
    )


def _conflicts(session: Session, key: str, version: Version) -> list[Conflict]:
    names = [quoted(each.name) for each in version.fields]
    tells = [f"__k{at}" for at in range(len(version.key) or 1)]
    joined = " AND ".join(f"o.{each} = t.{each}" for each in tells)
    same = " AND ".join(f"o.{name} IS NOT DISTINCT FROM t.{name}" for name in names)
    columns = [f"o.{each}::VARCHAR" for each in tells]
    columns += [f"o.{quoted(f'__old_{each.id}')}" for each in version.fields]
    columns += [f"{side}.{name}" for side in "ot" for name in names]
    found = session.rows(
        f"SELECT o.__was, o.__there, t.__there, {', '.join(columns)} FROM ours AS o JOIN theirs AS t ON {joined} "
        f"WHERE NOT (o.__there = t.__there AND {same}) ORDER BY ALL"
    ).rows
    width, start = len(names), 3 + len(tells)

    def values(row: Sequence[Any], part: int, there: bool) -> dict[str, Any] | None:
        cells = row[start + part * width : start + (part + 1) * width]
        return {each.name: plain(cell) for each, cell in zip(version.fields, cells, strict=True)} if there else None

    return [
        Conflict(
            kind=TABLE, key=key, row=",".join(row[3:start]), base=values(row, 0, row[0]), ours=values(row, 1, row[1]),
            theirs=values(row, 2, row[2]),
        )
        for row in found
    ]  # fmt: skip


def _to_do(session: Session, version: Version, kept: Sequence[Conflict]) -> str:
    """What is left of their changes, with the places of the rows concerned in ours."""
    names = ", ".join(f"t.{quoted(each.name)}" for each in version.fields)
    tells = [f"__k{at}" for at in range(len(version.key) or 1)]
    both = " AND ".join(f"o.{each} = t.{each}" for each in tells)
    same = " AND ".join(f"o.{quoted(each.name)} IS NOT DISTINCT FROM t.{quoted(each.name)}" for each in version.fields)
    now = " AND ".join(
        f"now.{quoted(name)} = t.{tell}" for name, tell in zip(version.key_names or [ROW], tells, strict=True)
    )
    told = f"concat_ws(',', {', '.join(f't.{each}::VARCHAR' for each in tells)})"
    session.keep("kept", "SELECT NULL::VARCHAR AS told WHERE false" if not kept else
                 " UNION ALL ".join(f"SELECT {literal(each.row)} AS told" for each in kept))  # fmt: skip
    return (
        f"SELECT {names}, t.__there, now.__file, now.__pos, now.{ROW} FROM theirs AS t "
        f"LEFT JOIN rows.now AS now ON {now} "
        f"WHERE NOT EXISTS (FROM ours AS o WHERE {both} AND o.__there = t.__there AND {same}) "
        f"AND {told} NOT IN (SELECT told FROM kept)"
    )


def _schema_conflict(key: str, clash: schemas.Clash) -> Conflict:
    base, ours, theirs = (
        None if each is None else {"name": each.name, "type": each.type}
        for each in (clash.base, clash.ours, clash.theirs)
    )
    return Conflict(kind=TABLE, key=key, row=_SCHEMA + clash.name, base=base, ours=ours, theirs=theirs)
