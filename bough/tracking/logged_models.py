"""Logged models: their rows."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from bough.kernel.errors import Invalid, NotFound
from bough.tracking import experiments, filters, rules, search
from bough.tracking.models import ACTIVE, LoggedModel, RunMetricOfModel, shown
from bough.tracking.search import Clause, Column, Keyed, Scope

STATUSES = ("pending", "ready", "failed")

_MODEL = (
    "SELECT m.id, m.model_id, m.name, m.kind, m.run, m.by, m.status, m.message, m.state, m.created_ms, m.updated_ms,"
    " m.location, e.project, e.number FROM logged_model m JOIN experiment e ON e.id = m.experiment"
)
_ATTRIBUTES = {
    "name": Column("r.name"),
    "model_id": Column("r.model_id"),
    "model_type": Column("r.kind"),
    "source_run_id": Column("r.run"),
    "status": Column("upper(r.status)"),
    **{name: Column("r.created_ms", number=True)
       for name in ("creation_time", "creation_timestamp", "creation_timestamp_ms")},
    **{name: Column("r.updated_ms", number=True)
       for name in ("last_updated_time", "last_updated_timestamp", "last_updated_timestamp_ms")},
}  # fmt: skip
SCOPE = Scope(
    noun="logged models",
    table="logged_model",
    kinds={"": "attribute", "attribute": "attribute", "attributes": "attribute", "metrics": "metric",
           "metric": "metric", "params": "param", "param": "param", "tags": "tag", "tag": "tag"},
    columns=_ATTRIBUTES,
    keyed={
        "metric": Keyed("logged_model_latest", number=True),
        "param": Keyed("logged_model_param"),
        "tag": Keyed("logged_model_tag"),
    },
    order=_ATTRIBUTES,
    natural=(("r.created_ms", False), ("r.model_id", True)),
)  # fmt: skip


class Fresh(msgspec.Struct, frozen=True, kw_only=True):
    experiment: str
    by: str
    name: str = ""
    kind: str = ""
    run: str = ""
    id: str = ""
    params: Mapping[str, str] = {}
    tags: Mapping[str, str] = {}


class OnDataset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    digest: str = ""


def create(tx: sa.Connection, project: str, fresh: Fresh, now_ms: int) -> LoggedModel:
    owner = experiments.active_row(tx, project, fresh.experiment)
    name = fresh.name or rules.random_name()
    if any(char in name for char in "/:%'\"."):
        raise rules.invalid(f"{name[:100]!r} cannot be the name of a logged model", "without / : . % and quotes")
    rules.check_text(name, "the name of a logged model", rules.NAME_LENGTH)
    rules.check_text(fresh.kind, "the kind of a logged model", rules.NAME_LENGTH)
    rules.check_text(fresh.run, "the run of a logged model", rules.NAME_LENGTH)
    rules.check_params(fresh.params)
    rules.check_tags(fresh.tags)
    # MLflow's clients tell a logged model from a registered one by this form of its id.
    id = rules.check_id(fresh.id, "logged model") if fresh.id else f"m-{uuid.uuid4().hex}"
    if fresh.id and tx.exec_driver_sql("SELECT 1 FROM logged_model WHERE model_id = ?", (id,)).first():
        return get(tx, project, id)
    row = tx.exec_driver_sql(
        "INSERT INTO logged_model (model_id, experiment, name, kind, run, by, status, message, state, created_ms,"
        " updated_ms, location) VALUES (?, ?, ?, ?, ?, ?, 'pending', '', 'active', ?, ?, ?)",
        (id, owner.id, name, fresh.kind, fresh.run, fresh.by, now_ms, now_ms,
         f"{owner.location.rstrip('/')}/models/{id}/artifacts"),
    ).lastrowid  # fmt: skip
    for table, values in (("param", fresh.params), ("tag", fresh.tags)):
        for key, value in values.items():
            tx.exec_driver_sql(f"INSERT INTO logged_model_{table} VALUES (?, ?, ?)", (row, key, value))
    return get(tx, project, id)


def get(tx: sa.Connection, project: str, id: str, *, also_deleted: bool = False) -> LoggedModel:
    return _full(tx, [row_of(tx, project, id, also_deleted=also_deleted)])[0]


def row_of(tx: sa.Connection, project: str, id: str, *, also_deleted: bool = False) -> Any:
    row = tx.exec_driver_sql(f"{_MODEL} WHERE m.model_id = ?", (id,)).first()
    if row is None or row.project != project or (row.state != ACTIVE and not also_deleted):
        raise NotFound(
            f"{project} has no logged model {id[:300]!r}",
            code="LOGGED_MODEL_NOT_FOUND",
            hint="bough logged-models list",
        )
    return row


def finish(tx: sa.Connection, project: str, id: str, status: str, message: str, now_ms: int) -> LoggedModel:
    row = row_of(tx, project, id)
    if status not in STATUSES:
        raise rules.invalid(f"{status!r} is not a status of a logged model", f"one of {', '.join(STATUSES)}")
    rules.check_text(message, "a message", rules.TAG_LENGTH)
    sql = "UPDATE logged_model SET status = ?, message = ?, updated_ms = ? WHERE id = ?"
    tx.exec_driver_sql(sql, (status, message, now_ms, row.id))
    return get(tx, project, id)


def change(
    tx: sa.Connection, project: str, id: str, *, params: Mapping[str, str], tags: Mapping[str, str],
    remove_tags: Sequence[str],
) -> LoggedModel:  # fmt: skip
    row = row_of(tx, project, id)
    rules.check_params(params)
    rules.check_tags(tags)
    for key, value in params.items():
        sql = "SELECT value FROM logged_model_param WHERE owner = ? AND key = ?"
        if (there := tx.exec_driver_sql(sql, (row.id, key)).scalar()) not in (None, value):
            raise Invalid(
                f"the parameter {key!r} of {id} is {there!r} and cannot become {value[:200]!r}",
                code="PARAM_CHANGED", hint="a parameter never changes",
            )  # fmt: skip
        tx.exec_driver_sql("INSERT OR REPLACE INTO logged_model_param VALUES (?, ?, ?)", (row.id, key, value))
    for key, value in tags.items():
        tx.exec_driver_sql("INSERT OR REPLACE INTO logged_model_tag VALUES (?, ?, ?)", (row.id, key, value))
    for key in remove_tags:
        if not tx.exec_driver_sql("DELETE FROM logged_model_tag WHERE owner = ? AND key = ?", (row.id, key)).rowcount:
            raise experiments.no_tag(key, f"logged model {id}")
    return get(tx, project, id)


def remove(tx: sa.Connection, project: str, id: str, now_ms: int) -> None:
    row = row_of(tx, project, id)
    tx.exec_driver_sql("UPDATE logged_model SET state = 'deleted', updated_ms = ? WHERE id = ?", (now_ms, row.id))


def find(
    tx: sa.Connection, project: str, experiment_ids: Sequence[str], filter: str, order: Sequence[str],
    datasets: Sequence[OnDataset], limit: int, offset: int,
) -> list[LoggedModel]:  # fmt: skip
    """One page, and one more when there is a further one. `datasets`: those with a metric measured on one of them."""
    numbers = [int(id) for id in experiment_ids if id.isascii() and id.isdigit() and len(id) < 19]
    conditions = filters.parse(filter)
    metrics = [each for each in conditions if datasets and SCOPE.kinds.get(each.kind) == "metric"]
    clauses = search.where(SCOPE, [each for each in conditions if each not in metrics])
    if datasets:
        on = " OR ".join("(k.dataset = ? AND (? = '' OR k.dataset_digest = ?))" for _ in datasets)
        names = tuple(text for each in datasets for text in (each.name, each.digest, each.digest))
        owned = f"EXISTS (SELECT 1 FROM logged_model_metric k WHERE k.owner = r.id AND ({on})"
        clauses += [Clause(f"{owned})", names)] if not metrics else []
        for each in metrics:
            found = search.compare(Column("k.value", number=True), each)
            clauses.append(Clause(f"{owned} AND k.key = ? AND {found.sql})", (*names, each.key, *found.values)))
    base = Clause(
        "r.state = 'active' AND r.experiment IN (SELECT id FROM experiment WHERE project = ? AND number IN"
        f" ({rules.marks(numbers)}))",
        (project, *numbers),
    )
    orders = [filters.parse_order(each) for each in order]
    ids = search.find(tx, SCOPE, base, clauses, orders, limit, offset)
    found_rows = {row[0]: row for row in _rows(tx, ids)}
    return _full(tx, [found_rows[id] for id in ids])


def _rows(tx: sa.Connection, ids: Sequence[int]) -> list[Any]:
    rows: list[Any] = []
    for start in range(0, len(ids), 900):
        part = tuple(ids[start : start + 900])
        rows += tx.exec_driver_sql(f"{_MODEL} WHERE m.id IN ({rules.marks(part)})", part).all()
    return rows


def _full(tx: sa.Connection, rows: Sequence[Any]) -> list[LoggedModel]:
    ids = tuple(row[0] for row in rows)
    texts: dict[str, defaultdict[int, dict[str, str]]] = {"param": defaultdict(dict), "tag": defaultdict(dict)}
    metrics = defaultdict[int, list[RunMetricOfModel]](list)
    for start in range(0, len(ids), 900):
        part = ids[start : start + 900]
        for table, found in texts.items():
            sql = f"SELECT owner, key, value FROM logged_model_{table} WHERE owner IN ({rules.marks(part)})"
            for owner, key, value in tx.exec_driver_sql(sql, part):
                found[owner][key] = value
        sql = f"SELECT * FROM logged_model_metric WHERE owner IN ({rules.marks(part)})"
        for owner, key, at, step, run, value, nan, dataset, digest in tx.exec_driver_sql(sql, part):
            metrics[owner].append(
                RunMetricOfModel(run=run, key=key, value="NaN" if nan else shown(value), timestamp_ms=at, step=step,
                                 dataset=dataset, dataset_digest=digest)
            )  # fmt: skip
    return [
        LoggedModel(
            id=row.model_id, name=row.name, project=row.project, experiment_id=str(row.number), status=row.status,
            created_at=row.created_ms / 1000, updated_at=row.updated_ms / 1000, location=row.location, kind=row.kind,
            run=row.run, by=row.by, message=row.message, params=texts["param"][row.id], tags=texts["tag"][row.id],
            metrics=metrics[row.id],
        )
        for row in rows
    ]  # fmt: skip
