"""What lineage asks of runs: those that have something in common, and those that have ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from bough.tracking import rules
from bough.tracking.models import Run
from bough.tracking.runs import COMMIT_TAG, RUN, full

MOST_FOUND = 200  # runs that one question about what they have in common finds
_AT_ONCE = 900  # values in one statement


def several(tx: sa.Connection, project: str, ids: Sequence[str]) -> list[Run]:
    """Those of these that the project has."""
    rows: list[Any] = []
    for start in range(0, len(ids), _AT_ONCE):
        part = tuple(ids[start : start + _AT_ONCE])
        rows += tx.exec_driver_sql(
            f"{RUN} WHERE e.project = ? AND r.run_id IN ({rules.marks(part)})", (project, *part)
        ).all()  # fmt: skip
    return full(tx, rows)


def that_read(tx: sa.Connection, project: str, kind: str, names: Sequence[str]) -> dict[str, list[Run]]:
    """By name, the newest runs that say they have read something of this kind under it, in any version."""
    owners: list[tuple[str, int]] = []
    for start in range(0, len(names), _AT_ONCE):
        part = tuple(names[start : start + _AT_ONCE])
        sql = (
            "SELECT name, owner FROM (SELECT name, owner, row_number() OVER (PARTITION BY name ORDER BY owner DESC) AS"
            " place FROM (SELECT DISTINCT i.name, i.owner FROM input i JOIN run r ON r.id = i.owner JOIN experiment e"
            f" ON e.id = r.experiment WHERE i.kind = ? AND i.name IN ({rules.marks(part)}) AND e.project = ?))"
            f" WHERE place <= {MOST_FOUND} ORDER BY owner DESC"
        )
        owners += [(row[0], row[1]) for row in tx.exec_driver_sql(sql, (kind, *part, project))]
    found, numbers = dict[int, Run](), list(dict.fromkeys(owner for _, owner in owners))
    for start in range(0, len(numbers), _AT_ONCE):
        chunk = tuple(numbers[start : start + _AT_ONCE])
        rows = tx.exec_driver_sql(f"{RUN} WHERE r.id IN ({rules.marks(chunk)})", chunk).all()
        found |= dict(zip((row.id for row in rows), full(tx, rows), strict=True))
    by_name: dict[str, list[Run]] = {name: [] for name in names}
    for name, owner in owners:
        by_name[name].append(found[owner])
    return by_name


def that_made(tx: sa.Connection, project: str, model: str) -> list[Run]:
    """The runs that made a logged model."""
    sql = (
        f"{RUN} WHERE e.project = ? AND (r.id IN (SELECT owner FROM output WHERE model = ?) OR r.run_id IN"
        " (SELECT run FROM logged_model WHERE model_id = ?))"
    )
    return full(tx, tx.exec_driver_sql(sql, (project, model, model)).all())


def with_code(tx: sa.Connection, project: str, said: str, commit: str = "") -> list[Run]:
    """The newest runs whose source holds the JSON text `said`, or that clients of MLflow said to be of `commit`."""
    sql = (
        f"{RUN} WHERE e.project = ? AND (instr(r.source, ?) > 0 OR r.id IN"
        f" (SELECT owner FROM tag WHERE key = ? AND value = ?)) ORDER BY r.id DESC LIMIT {MOST_FOUND}"
    )
    return full(tx, tx.exec_driver_sql(sql, (project, said, COMMIT_TAG, commit or " ")).all())


def newest(tx: sa.Connection) -> int:
    """The number of the last run that began, of all projects."""
    return tx.exec_driver_sql("SELECT max(id) FROM run").scalar() or 0


def numbers(tx: sa.Connection, after: int, limit: int) -> list[int]:
    """Of the runs that began after the one with the number `after`."""
    sql = "SELECT id FROM run WHERE id > ? ORDER BY id LIMIT ?"
    return list(tx.exec_driver_sql(sql, (after, limit)).scalars())


def open_ones(tx: sa.Connection) -> list[int]:
    """Of the runs that have not ended."""
    return list(tx.exec_driver_sql("SELECT id FROM run WHERE status IN ('running', 'scheduled')").scalars())


def ended(tx: sa.Connection, numbers: Sequence[int]) -> dict[int, Run | None]:
    """Those of these runs that have ended, by number; None for one that is gone."""
    rows = tx.exec_driver_sql(f"{RUN} WHERE r.id IN ({rules.marks(numbers)})", tuple(numbers)).all()
    done = [row for row in rows if row.status not in ("running", "scheduled")]
    gone: dict[int, Run | None] = {number: None for number in set(numbers) - {row.id for row in rows}}
    return gone | dict(zip((row.id for row in done), full(tx, done), strict=True))
