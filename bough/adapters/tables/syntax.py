"""What DuckDB's syntax tree (json_serialize_sql of `SELECT (text)`) tells of an expression."""

from __future__ import annotations

from typing import Any

from bough.adapters.tables import Bound

_OPERATORS = {
    "COMPARE_EQUAL": "=",
    "COMPARE_LESSTHAN": "<",
    "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
}
_TURNED = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
# A select that is nothing but its one expression has none of these.
_CLAUSES = ("where_clause", "group_expressions", "having", "sample", "qualify", "modifiers")


def is_expression(tree: Any) -> bool:
    """Whether the text was one expression, and not an expression with more SQL behind it."""
    if tree["error"] or len(tree["statements"]) != 1:
        return False
    node = tree["statements"][0]["node"]
    return (
        node["type"] == "SELECT_NODE"
        and len(node["select_list"]) == 1
        and node["select_list"][0]["class"] != "STAR"
        and (node["from_table"] or {}).get("type") in (None, "EMPTY")
        and not any(node.get(clause) for clause in _CLAUSES)
        and not node["cte_map"]["map"]
    )


def bounds_of(tree: Any) -> list[Bound]:
    """The comparisons of a column with a literal that hold for every row that fulfils the expression."""
    if not is_expression(tree):
        return []
    found: list[Bound] = []
    _collect(tree["statements"][0]["node"]["select_list"][0], found)
    return found


def _collect(node: Any, found: list[Bound]) -> None:
    kind = node["type"]
    if kind == "CONJUNCTION_AND":
        for child in node["children"]:
            _collect(child, found)
    elif kind in _OPERATORS:
        _compare(node["left"], _OPERATORS[kind], node["right"], found)
    elif kind == "COMPARE_BETWEEN":
        _compare(node["input"], ">=", node["lower"], found)
        _compare(node["input"], "<=", node["upper"], found)


def _compare(left: Any, operator: str, right: Any, found: list[Bound]) -> None:
    if left["class"] == "CONSTANT":
        left, operator, right = right, _TURNED[operator], left
    if left["class"] != "COLUMN_REF" or len(left["column_names"]) != 1 or right["class"] != "CONSTANT":
        return
    literal = right.get("literal") or {}
    kind = {"INTEGER": "number", "STRING": "text"}.get(literal.get("kind", ""))
    if kind:
        found.append(Bound(left["column_names"][0], operator, literal["text"], kind))
