"""From conditions to SQL. Columns and tables are named by scopes; what a person wrote becomes parameters.

How a search stays quick among 100,000 runs: the order that is asked for is walked along an index and every row met is
checked, which ends as soon as a page is full; but when one of the conditions alone leaves few rows, these few are taken
and sorted instead. `FEW` decides, by counting the matches of each condition that has an index, up to there and no
further.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from bough.kernel.errors import Invalid
from bough.tracking.filters import Condition, Order
from bough.tracking.rules import marks

LONGEST_PATTERN = 50_000  # SQLite compares no longer ones
FEW = 4000  # rows: as many are sorted in the time in which some pages of an index are walked

_TEXT = ("=", "!=", "LIKE", "ILIKE", "IN", "NOT IN")
_NUMBER = ("=", "!=", "<", "<=", ">", ">=", "IN", "NOT IN")


class Column(NamedTuple):
    """An attribute of what is searched. `lower`: values are kept in lower case, whatever the question's."""

    sql: str
    number: bool = False
    lower: bool = False
    nullable: bool = False


class Keyed(NamedTuple):
    """Keys and values in a table of their own."""

    table: str
    number: bool = False
    indexed: bool = False


class Scope(NamedTuple):
    """What can be searched for: `kinds` gives the plain name of each kind of name, `columns` the attributes."""

    noun: str
    table: str
    kinds: Mapping[str, str]
    columns: Mapping[str, Column]
    keyed: Mapping[str, Keyed]
    order: Mapping[str, Column]
    natural: Sequence[tuple[str, bool]]  # order without a wish, and among equals


class Clause(NamedTuple):
    """`sql` is true or false of a row `r`. `rows` is the same as a set of ids, where an index can give it."""

    sql: str
    values: tuple[Any, ...]
    rows: str = ""
    row_values: tuple[Any, ...] = ()
    number: str = ""  # the key of the number that is compared, and the comparison for a row `o0` of its table
    own: str = ""


def clause(scope: Scope, condition: Condition) -> Clause:
    """Raises `Invalid` (FILTER_INVALID) for what the scope does not know."""
    kind = _kind(scope, condition.kind)
    if kind == "attribute":
        column = scope.columns.get(condition.key)
        if column is None:
            raise unknown(scope, condition.key)
        return compare(column, condition)
    keyed = scope.keyed[kind]
    owned = f"SELECT 1 FROM {keyed.table} k WHERE k.owner = r.id AND k.key = ?"
    if condition.operator in ("NULL", "NOT NULL"):
        return Clause(f"{'NOT ' if condition.operator == 'NULL' else ''}EXISTS ({owned})", (condition.key,))
    sql, values = compare(Column("k.value", number=keyed.number), condition)[:2]
    if keyed.number:  # nothing is true of a number that is none, but that it differs
        sql = f"({sql} OR k.nan = 1)" if condition.operator == "!=" else f"(k.nan = 0 AND {sql})"
    exists = Clause(f"EXISTS ({owned} AND {sql})", (condition.key, *values))
    if not keyed.indexed or condition.operator not in ("=", "<", "<=", ">", ">=", "IN"):
        return exists
    rows = f"SELECT k.owner FROM {keyed.table} k WHERE k.key = ? AND {sql}"
    exists = exists._replace(rows=rows, row_values=(condition.key, *values))
    return exists._replace(number=condition.key, own=sql.replace("k.", "o0.")) if keyed.number else exists


def where(scope: Scope, conditions: Sequence[Condition]) -> list[Clause]:
    return [clause(scope, each) for each in conditions]


class Ordering(NamedTuple):
    """`joins` bring the values that are ordered by, each by one of `keys`; `terms` are those of ORDER BY."""

    joins: list[str]
    keys: list[str]
    terms: list[str]


def ordering(scope: Scope, orders: Sequence[Order]) -> Ordering:
    """What has no value comes last, and before it numbers that are none."""
    joins, keys, terms, seen = list[str](), list[str](), list[str](), set[tuple[str, str]]()
    for at, each in enumerate(orders):
        kind, way = _kind(scope, each.kind), "ASC" if each.ascending else "DESC"
        if (kind, each.key) in seen:
            raise _invalid(scope, f"{each.key!r} is given twice in the order")
        seen.add((kind, each.key))
        if kind == "attribute":
            column = scope.order.get(each.key)
            if column is None:
                raise unknown(scope, each.key)
            terms.append(f"{column.sql} {way}" + (" NULLS LAST" if column.nullable else ""))
            continue
        keyed, name = scope.keyed[kind], f"o{at}"
        joins.append(f"LEFT JOIN {keyed.table} {name} ON {name}.owner = r.id AND {name}.key = ?")
        keys.append(each.key)
        if keyed.number:
            terms.append(f"CASE WHEN {name}.value IS NULL THEN 2 WHEN {name}.nan = 1 THEN 1 ELSE 0 END")
        terms.append(f"{name}.value {way} NULLS LAST")
    named = {term.split()[0] for term in terms}
    terms += [f"{name} {'ASC' if up else 'DESC'}" for name, up in scope.natural if name not in named]
    return Ordering(joins, keys, terms)


def find(
    tx: sa.Connection, scope: Scope, base: Clause, clauses: Sequence[Clause], orders: Sequence[Order],
    limit: int, offset: int,
) -> list[int]:  # fmt: skip
    """The ids of one page, and one more when there is a further page. `base` limits what is looked at."""
    order = ordering(scope, orders)
    driving = _fewest(tx, clauses)
    checks = [base, *(each for each in clauses if each is not driving)]
    if driving is not None:
        checks.append(Clause(f"r.id IN ({driving.rows})", driving.row_values))
    elif (metric := _leading_metric(scope, orders)) is not None:
        found = _along_metric(tx, scope, metric, checks, order, limit + 1, offset)
        if len(found) > limit:  # else those without the metric follow
            return found
    sql = (
        f"SELECT r.id FROM {scope.table} r {' '.join(order.joins)} WHERE {_all(checks)}"
        f" ORDER BY {', '.join(order.terms)} LIMIT ? OFFSET ?"
    )
    return [row[0] for row in tx.exec_driver_sql(sql, (*order.keys, *_values(checks), limit + 1, offset))]


def _fewest(tx: sa.Connection, clauses: Sequence[Clause]) -> Clause | None:
    """The condition that leaves the fewest rows, if these are few."""
    best, least = None, FEW
    for each in clauses:
        if each.rows:
            sql = f"SELECT count(*) FROM ({each.rows} LIMIT {least})"
            count = int(tx.exec_driver_sql(sql, each.row_values).scalar_one())
            if count < least:
                best, least = each, max(count, 1)
    return best


def _leading_metric(scope: Scope, orders: Sequence[Order]) -> Keyed | None:
    first = orders[0] if orders else None
    keyed = scope.keyed.get(scope.kinds.get(first.kind, "")) if first else None
    return keyed if keyed is not None and keyed.number and keyed.indexed else None


def _along_metric(
    tx: sa.Connection, scope: Scope, metric: Keyed, checks: Sequence[Clause], order: Ordering, most: int, offset: int
) -> list[int]:
    """As `find`, of the rows that have the metric ordered by: walks the index of its values and sorts nothing. What is
    asked of the same metric says where the walk begins and ends."""
    key = order.keys[0]
    checks = [Clause(each.own, each.values[1:]) if each.own and each.number == key else each for each in checks]
    sql = (
        f"SELECT r.id FROM {metric.table} o0 CROSS JOIN {scope.table} r ON r.id = o0.owner {' '.join(order.joins[1:])}"
        f" WHERE o0.key = ? AND o0.nan = 0 AND {_all(checks)}"
        f" ORDER BY {', '.join(order.terms[1:]).replace(' NULLS LAST', '', 1)} LIMIT ? OFFSET ?"
    )
    values = (*order.keys[1:], key, *_values(checks), most, offset)
    return [row[0] for row in tx.exec_driver_sql(sql, values)]


def _all(clauses: Sequence[Clause]) -> str:
    return " AND ".join(each.sql for each in clauses)


def _values(clauses: Sequence[Clause]) -> list[Any]:
    return [value for each in clauses for value in each.values]


def compare(column: Column, condition: Condition) -> Clause:
    name, number, lower, _ = column
    operator, value = condition.operator, condition.value
    if operator not in (_NUMBER if number else _TEXT):
        allowed = ", ".join(_NUMBER if number else _TEXT)
        raise Invalid(
            f"{condition.key!r} is a {'number' if number else 'text'}, and {operator} compares none",
            code="FILTER_INVALID", hint=f"use one of {allowed}",
        )  # fmt: skip
    values = value if isinstance(value, tuple) else (value,)
    if any(isinstance(each, float) is not number for each in values):
        wanted = "a number" if number else "a quoted text"
        raise Invalid(f"{condition.key!r} is compared with {wanted}", code="FILTER_INVALID", hint="'text' or 1.5")
    if lower:
        values = tuple(str(each).lower() for each in values)
    if operator in ("IN", "NOT IN"):
        return Clause(f"{name} {operator} ({marks(values)})", values)
    if operator == "LIKE" and not lower:
        pattern = _glob(str(values[0]))
        if len(pattern) > LONGEST_PATTERN:
            raise Invalid("a pattern is too long", code="FILTER_INVALID", hint="look for a part of it")
        return Clause(f"{name} GLOB ?", (pattern,))
    if operator in ("LIKE", "ILIKE"):
        return Clause(f"{name} LIKE ?", values)
    return Clause(f"{name} {operator} ?", values)


def _glob(pattern: str) -> str:
    """SQLite's LIKE does not tell cases apart, GLOB does."""
    return "".join({"%": "*", "_": "?"}.get(char, f"[{char}]" if char in "*?[" else char) for char in pattern)


def _kind(scope: Scope, kind: str) -> str:
    found = scope.kinds.get(kind)
    if found is None:
        names = ", ".join(sorted({each for each in scope.kinds if each}))
        raise _invalid(scope, f"there is nothing of the kind {kind!r} (there are {names})")
    return found


def unknown(scope: Scope, key: str) -> Invalid:
    return _invalid(scope, f"there is no attribute {key!r} (there are {', '.join(sorted(scope.columns))})")


def _invalid(scope: Scope, why: str) -> Invalid:
    return Invalid(f"{scope.noun} cannot be searched like this: {why}", code="FILTER_INVALID", hint="docs/tracking.md")
