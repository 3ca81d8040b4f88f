"""What differs between two states of a table: columns, rows, and how each column's values are spread."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from bough.adapters.tables import ROW, Relation, Session, Tables, literal, quoted
from bough.data.tables import rules
from bough.data.tables.models import DataFile, Field, Version
from bough.data.tables.querying import plain
from bough.data.tables.store import TableFiles
from bough.data.tables.writing import LIMITS

BINS = 10  # of the population stability index, by quantiles of the state before: the usual number
FEWEST = 1e-4  # the share that an empty bin counts as, so that the index stays finite
TOP_VALUES = 9  # of a column without an order of numbers; the rest is one more bin


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """Statistics of one column in one state."""

    count: int
    nulls: int
    distinct: int  # approximate
    least: Any
    greatest: Any
    mean: float | None


class Bin(msgspec.Struct, frozen=True, kw_only=True):
    """Values of a column, and the shares of rows that have them."""

    label: str
    before: float
    after: float


class ColumnDifference(msgspec.Struct, frozen=True, kw_only=True):
    """`shift` is the population stability index: below 0.1 hardly any, above 0.25 a large one. `bins` say where."""

    name: str
    type: str
    before: Side
    after: Side
    shift: float
    bins: list[Bin]


class TableDifference(msgspec.Struct, frozen=True, kw_only=True):
    """Rows are told by key, or by row id without one. `examples` are keys of some of them."""

    name: str
    rows_before: int
    rows_after: int
    added: int
    removed: int
    changed: int
    schema: list[str]
    columns: list[ColumnDifference]
    examples: dict[str, list[str]]
    picture: str = ""  # SVG, when it was asked for


def compare(files: TableFiles, tables: Tables, name: str, before: Version, after: Version) -> TableDifference:
    if not (before.fields and after.fields):
        return TableDifference(
            name=name, rows_before=before.rows, rows_after=after.rows, added=after.rows, removed=before.rows, changed=0,
            schema=schema_changes(before, after), columns=[], examples={},
        )  # fmt: skip
    shared = [each for each in after.fields if any(each.id == old.id for old in before.fields)]
    pair = [replace(each, fields=shared, key=after.key) for each in (before, after)]
    relations = {"a": files.relation(pair[0]), "b": files.relation(pair[1])}
    relations |= {"old": _only(files, *pair), "new": _only(files, pair[1], pair[0])}
    with tables.session(relations, limits=LIMITS) as session:
        counts, examples = _rows(session, pair[1])
        columns = [_column(session, each) for each in shared] if counts else []
    return TableDifference(
        name=name, rows_before=before.rows, rows_after=after.rows, added=counts.get("added", 0),
        removed=counts.get("removed", 0), changed=counts.get("changed", 0), schema=schema_changes(before, after),
        columns=[each for each in columns if each.before != each.after or each.shift], examples=examples,
    )  # fmt: skip


def schema_changes(before: Version, after: Version) -> list[str]:
    old = {each.id: each for each in before.fields}
    new = {each.id: each for each in after.fields}
    found = [f"- {each.name} {each.type}" for id, each in old.items() if id not in new]
    found += [f"+ {each.name} {each.type}" for id, each in new.items() if id not in old]
    for id in old.keys() & new.keys():
        if old[id].name != new[id].name:
            found.append(f"~ {old[id].name} is called {new[id].name}")
        if old[id].type != new[id].type:
            found.append(f"~ {new[id].name} {old[id].type} -> {new[id].type}")
    return found


def _only(files: TableFiles, version: Version, other: Version) -> Relation:
    def identity(file: DataFile) -> tuple[Any, ...]:
        return file.blob, file.first_row, file.deleted.blob if file.deleted else ""

    known = {identity(each) for each in other.files}
    return files.relation(version, [at for at, each in enumerate(version.files) if identity(each) not in known])


def _rows(session: Session, version: Version) -> tuple[dict[str, int], dict[str, list[str]]]:
    tells = [quoted(name) for name in version.key_names] or [ROW]
    joined = " AND ".join(f"o.{name} = n.{name}" for name in tells)
    same = " AND ".join(f"o.{quoted(each.name)} IS NOT DISTINCT FROM n.{quoted(each.name)}" for each in version.fields)
    told = ", ".join(f"coalesce(n.{name}, o.{name})::VARCHAR" for name in tells)
    session.keep(
        "changes",
        f"SELECT CASE WHEN o.{ROW} IS NULL THEN 'added' WHEN n.{ROW} IS NULL THEN 'removed' ELSE 'changed' END "
        "AS what, "
        f"concat_ws(',', {told}) AS told FROM rows.old AS o FULL JOIN rows.new AS n ON {joined} "
        f"WHERE o.{ROW} IS NULL OR n.{ROW} IS NULL OR NOT ({same})",
    )
    found = session.rows("SELECT what, count(*), list(told ORDER BY told)[1:5] FROM changes GROUP BY what").rows
    return {row[0]: row[1] for row in found}, {row[0]: row[2] for row in found}


def _column(session: Session, field: Field) -> ColumnDifference:
    sides = [_side(session, name, field) for name in ("a", "b")]
    bins = _bins(session, field, sides)
    shift = sum(
        (each.after - each.before) * math.log(max(each.after, FEWEST) / max(each.before, FEWEST)) for each in bins
    )
    return ColumnDifference(
        name=field.name, type=field.type, before=sides[0], after=sides[1], shift=round(shift, 4), bins=bins
    )


def _side(session: Session, name: str, field: Field) -> Side:
    column, ordered = quoted(field.name), rules.is_ordered(field.type)
    mean = f"avg({column})::DOUBLE" if _is_number(field) else "NULL"
    ends = f"min({column}), max({column})" if ordered else "NULL, NULL"
    row = session.rows(f"SELECT count(*), count({column}), approx_count_distinct({column}), {ends}, {mean} FROM {name}")
    count, there, distinct, least, greatest, average = row.rows[0]
    return Side(count=count, nulls=count - there, distinct=distinct, least=plain(least), greatest=plain(greatest),
                mean=plain(average))  # fmt: skip


def _bins(session: Session, field: Field, sides: Sequence[Side]) -> list[Bin]:
    """By quantiles of the state before for numbers, by value for all else."""
    column = quoted(field.name)
    if _is_number(field):
        parts = [at / BINS for at in range(1, BINS)]
        found = session.rows(f"SELECT quantile_cont({column}::DOUBLE, {parts}) FROM a WHERE isfinite({column}::DOUBLE)")
        edges = sorted(set(found.rows[0][0] or []))
        labels = [f"≤ {edge:.4g}" for edge in edges] + ([f"> {edges[-1]:.4g}"] if edges else ["all"])
        steps = " + ".join(f"({column}::DOUBLE > {edge!r})::INTEGER" for edge in edges) or "0"
    else:
        top = session.rows(
            f"SELECT {column}::VARCHAR FROM a WHERE {column} IS NOT NULL GROUP BY ALL ORDER BY count(*) DESC, 1 "
            f"LIMIT {TOP_VALUES}"
        ).rows
        labels = [str(row[0])[:24] for row in top] + ["others"]
        session.keep(f"top_{field.id}", _numbered([row[0] for row in top]))
        steps = f"coalesce((SELECT __bin FROM top_{field.id} WHERE __value = {column}::VARCHAR), {len(top)})"
    shares = []
    for name, side in zip("ab", sides, strict=True):
        counted = dict(session.rows(
            f"SELECT {steps} AS bin, count(*) FROM {name} WHERE {column} IS NOT NULL GROUP BY 1"
        ).rows)  # fmt: skip
        there = max(side.count - side.nulls, 1)
        shares.append([counted.get(at, 0) / there for at in range(len(labels))])
    return [Bin(label=label, before=old, after=new) for label, old, new in zip(labels, *shares, strict=True)]


def _numbered(values: Sequence[str]) -> str:
    rows = " UNION ALL ".join(f"SELECT {literal(value)} AS __value, {at} AS __bin" for at, value in enumerate(values))
    return rows or "SELECT NULL::VARCHAR AS __value, 0 AS __bin WHERE false"


def _is_number(field: Field) -> bool:
    return field.type in rules.INTEGERS | rules.FLOATS or field.type.startswith("DECIMAL(")
