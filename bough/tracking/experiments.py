"""Experiments: their rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from bough.kernel.errors import Conflict, NotFound
from bough.tracking import filters, rules, search
from bough.tracking.models import ACTIVE, DELETED, Experiment
from bough.tracking.search import Clause, Column, Keyed, Scope

DEFAULT = "0"  # the experiment that every project has
DEFAULT_NAME = "Default"

_COLUMNS = "id, project, number, name, location, state, created_ms, updated_ms"
_ATTRIBUTES = {
    "name": Column("r.name"),
    "experiment_id": Column("CAST(r.number AS TEXT)"),
    "creation_time": Column("r.created_ms", number=True),
    "last_update_time": Column("r.updated_ms", number=True),
}
SCOPE = Scope(
    noun="experiments",
    table="experiment",
    kinds={"": "attribute", "attribute": "attribute", "attributes": "attribute", "attr": "attribute",
           "tag": "tag", "tags": "tag"},
    columns=_ATTRIBUTES,
    keyed={"tag": Keyed("experiment_tag")},
    order=_ATTRIBUTES | {"experiment_id": Column("r.number")},
    natural=(("r.updated_ms", False), ("r.number", True)),
)  # fmt: skip


def begin(tx: sa.Connection, project: str, now_ms: int) -> None:
    """Makes the experiment that every project has. Does nothing when it is there."""
    tx.exec_driver_sql(
        "INSERT INTO experiment (project, number, name, location, state, created_ms, updated_ms)"
        " VALUES (?, 0, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (rules.check_project(project), DEFAULT_NAME, location(DEFAULT), ACTIVE, now_ms, now_ms),
    )


def create(
    tx: sa.Connection, project: str, name: str, now_ms: int, *, place: str = "", tags: Mapping[str, str] = {}
) -> Experiment:
    """Raises `Conflict` (EXPERIMENT_EXISTS), also when one of that name was deleted."""
    rules.check_experiment_name(name)
    rules.check_tags(tags, longest=rules.EXPERIMENT_TAG_LENGTH)
    rules.check_text(place, "the place of artifacts", 2000)
    begin(tx, project, now_ms)
    found = tx.exec_driver_sql("SELECT state FROM experiment WHERE project = ? AND name = ?", (project, name)).first()
    if found is not None:
        deleted = " and was deleted" if found[0] == DELETED else ""
        raise Conflict(
            f"{project} has an experiment {name!r} already{deleted}",
            code="EXPERIMENT_EXISTS", hint="bough experiments restore ID" if deleted else "choose another name",
        )  # fmt: skip
    number = tx.exec_driver_sql(
        "SELECT coalesce(max(number), 0) + 1 FROM experiment WHERE project = ?", (project,)
    ).scalar_one()
    row = tx.exec_driver_sql(
        "INSERT INTO experiment (project, number, name, location, state, created_ms, updated_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (project, number, name, place or location(str(number)), ACTIVE, now_ms, now_ms),
    ).lastrowid
    if tags:
        _set_tags(tx, row, tags)
    return get(tx, project, str(number))


def location(number: str) -> str:
    """Where artifacts go unless an experiment says otherwise: to Bough itself."""
    return f"mlflow-artifacts:/{number}"


def get(tx: sa.Connection, project: str, id: str) -> Experiment:
    return _experiment(tx, row_of(tx, project, id))


def named(tx: sa.Connection, project: str, name: str) -> Experiment:
    """Also a deleted one."""
    sql = f"SELECT {_COLUMNS} FROM experiment WHERE project = ? AND name = ?"
    row = tx.exec_driver_sql(sql, (project, name)).first()
    if row is None:
        raise NotFound(
            f"{project} has no experiment {name[:200]!r}", code="EXPERIMENT_NOT_FOUND", hint="bough experiments list"
        )
    return _experiment(tx, row)


def row_of(tx: sa.Connection, project: str, id: str) -> Any:
    if not (id.isascii() and id.isdigit() and len(id) < 19):
        raise rules.invalid(f"{id[:100]!r} is not the id of an experiment", "a number; bough experiments list")
    sql = f"SELECT {_COLUMNS} FROM experiment WHERE project = ? AND number = ?"
    row = tx.exec_driver_sql(sql, (project, int(id))).first()
    if row is None:
        raise NotFound(
            f"{project} has no experiment with the id {id[:100]!r}",
            code="EXPERIMENT_NOT_FOUND", hint="bough experiments list",
        )  # fmt: skip
    return row


def active_row(tx: sa.Connection, project: str, id: str) -> Any:
    row = row_of(tx, project, id)
    if row.state != ACTIVE:
        raise deleted("experiment", f"{row.name!r} ({id})", f"bough experiments restore {id}")
    return row


def deleted(noun: str, which: str, hint: str) -> Conflict:
    return Conflict(f"the {noun} {which} is deleted", code=f"{noun.upper().replace(' ', '_')}_DELETED", hint=hint)


def rename(tx: sa.Connection, project: str, id: str, name: str, now_ms: int) -> Experiment:
    row = active_row(tx, project, id)
    rules.check_experiment_name(name)
    other = tx.exec_driver_sql("SELECT id FROM experiment WHERE project = ? AND name = ?", (project, name)).scalar()
    if other is not None and other != row.id:
        raise Conflict(
            f"{project} has an experiment {name!r} already", code="EXPERIMENT_EXISTS", hint="choose another name"
        )
    tx.exec_driver_sql("UPDATE experiment SET name = ?, updated_ms = ? WHERE id = ?", (name, now_ms, row.id))
    return get(tx, project, id)


def set_state(tx: sa.Connection, project: str, id: str, state: str, now_ms: int) -> Experiment:
    """Its runs are deleted and restored with it."""
    row = row_of(tx, project, id)
    if row.state == state:
        raise NotFound(
            f"the experiment {id} of {project} is {state} already",
            code="EXPERIMENT_NOT_FOUND", hint="bough experiments list --state all",
        )  # fmt: skip
    tx.exec_driver_sql("UPDATE experiment SET state = ?, updated_ms = ? WHERE id = ?", (state, now_ms, row.id))
    tx.exec_driver_sql("UPDATE run SET state = ? WHERE experiment = ?", (state, row.id))
    return get(tx, project, id)


def tag(tx: sa.Connection, project: str, id: str, tags: Mapping[str, str], remove: Sequence[str]) -> Experiment:
    row = active_row(tx, project, id)
    rules.check_tags(tags, longest=rules.EXPERIMENT_TAG_LENGTH)
    _set_tags(tx, row.id, tags)
    for key in remove:
        gone = tx.exec_driver_sql("DELETE FROM experiment_tag WHERE owner = ? AND key = ?", (row.id, key)).rowcount
        if not gone:
            raise no_tag(key, f"experiment {id}")
    return get(tx, project, id)


def no_tag(key: str, owner: str) -> NotFound:
    return NotFound(f"{owner} has no tag {key[:300]!r}", code="TAG_NOT_FOUND", hint="look at its tags first")


def find(
    tx: sa.Connection, project: str, filter: str, order: Sequence[str], state: str, limit: int, offset: int
) -> list[Experiment]:
    """One page, and one more when there is a further one."""
    clauses = search.where(SCOPE, filters.parse(filter))
    base = Clause("r.project = ?", (project,))
    if state != "all":
        base = Clause("r.project = ? AND r.state = ?", (project, state))
    orders = [filters.parse_order(each) for each in order]
    ids = search.find(tx, SCOPE, base, clauses, orders, limit, offset)
    return [_experiment(tx, row) for row in in_order(tx, f"SELECT {_COLUMNS} FROM experiment", ids)]


def in_order(tx: sa.Connection, select: str, ids: Sequence[int]) -> list[Any]:
    """The rows of these ids, in their order."""
    found: dict[int, Any] = {}
    for start in range(0, len(ids), 900):
        part = ids[start : start + 900]
        found |= {row[0]: row for row in tx.exec_driver_sql(f"{select} WHERE id IN ({rules.marks(part)})", tuple(part))}
    return [found[id] for id in ids if id in found]


def _set_tags(tx: sa.Connection, row: int, tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        tx.exec_driver_sql("INSERT OR REPLACE INTO experiment_tag VALUES (?, ?, ?)", (row, key, value))


def _experiment(tx: sa.Connection, row: Any) -> Experiment:
    tags = tx.exec_driver_sql("SELECT key, value FROM experiment_tag WHERE owner = ? ORDER BY key", (row.id,))
    return Experiment(
        id=str(row.number), project=row.project, name=row.name, state=row.state, location=row.location,
        created_at=row.created_ms / 1000, updated_at=row.updated_ms / 1000, tags={key: value for key, value in tags},
    )  # fmt: skip
