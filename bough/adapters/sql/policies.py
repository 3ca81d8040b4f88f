"""What a policy of a mask names must be there: what it misses would stay in clear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bough.kernel.errors import Invalid


def check_columns(policy: Mapping[str, str], columns: Mapping[str, Sequence[str]]) -> None:
    """Raises `Invalid` (MASK_INVALID) for a `table.column` that is not among these columns, by table."""
    for column in policy:
        table, _, name = column.partition(".")
        if name not in columns.get(table, ()):
            known = ", ".join(f"{table}.{each}" for each in columns.get(table, ())) or ", ".join(sorted(columns))
            raise missing(f"no column {column}", known or "no tables")


def missing(what: str, known: str) -> Invalid:
    return Invalid(
        f"there is {what}, which the policy masks; nothing was made", code="MASK_INVALID", hint=f"there are: {known}"
    )
