"""Runs: their rows. Statements are written out and few: a point logged is three of them in one transaction."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from bough.kernel.errors import Conflict, Invalid, NotFound
from bough.kernel.names import new_id
from bough.kernel.prepared import ask, ask_many
from bough.tracking import experiments, filters, logged_metrics, rules, search
from bough.tracking.models import ACTIVE, STATUSES, Metric, Run, RunInput, RunOutput, Source, number, shown
from bough.tracking.search import Clause, Column, Keyed, Scope

# Tags by which MLflow's clients say what Bough keeps as fields.
NAME_TAG = "mlflow.runName"
COMMIT_TAG = "mlflow.source.git.commit"
PROGRAM_TAG = "mlflow.source.name"

RUN = (
    "SELECT r.id, r.run_id, r.experiment, r.environment, r.name, r.by, r.status, r.state, r.started_ms, r.ended_ms,"
    " r.location, r.source, e.project, e.number, e.name AS experiment_name"
    " FROM run r JOIN experiment e ON e.id = r.experiment"
)
_OF_RUN = "SELECT r.id, r.state, e.project FROM run r JOIN experiment e ON e.id = r.experiment WHERE r.run_id = ?"
_ATTRIBUTES = {
    "run_id": Column("r.run_id"),
    "run_name": Column("r.name"),
    "name": Column("r.name"),
    "run name": Column("r.name"),
    "Run name": Column("r.name"),
    "Run Name": Column("r.name"),
    "status": Column("r.status", lower=True),
    "user_id": Column("r.by"),
    "by": Column("r.by"),
    "environment": Column("r.environment"),
    "artifact_uri": Column("r.location"),
    "start_time": Column("r.started_ms", number=True),
    "created": Column("r.started_ms", number=True),
    "Created": Column("r.started_ms", number=True),
    "end_time": Column("r.ended_ms", number=True, nullable=True),
}
SCOPE = Scope(
    noun="runs",
    table="run",
    kinds={
        "": "attribute", "attribute": "attribute", "attributes": "attribute", "attr": "attribute", "run": "attribute",
        "metric": "metric", "metrics": "metric",
        "param": "param", "params": "param", "parameter": "param", "parameters": "param",
        "tag": "tag", "tags": "tag", "dataset": "dataset", "datasets": "dataset",
    },
    columns=_ATTRIBUTES,
    keyed={
        "metric": Keyed("latest", number=True, indexed=True),
        "param": Keyed("param", indexed=True),
        "tag": Keyed("tag", indexed=True),
    },
    order=_ATTRIBUTES,
    natural=(("r.started_ms", False), ("r.run_id", True)),
)  # fmt: skip
_INPUT_COLUMNS = {"name": "i.name", "digest": "i.version", "context": "i.context"}


class Fresh(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a run when it begins."""

    experiment: str
    environment: str
    by: str
    started_ms: int
    id: str = ""
    name: str = ""
    source: Source = Source()
    tags: Mapping[str, str] = {}


def create(tx: sa.Connection, project: str, fresh: Fresh) -> Run:
    """With an id that is there already and of the same beginning, that run: the call came twice."""
    tags = dict(fresh.tags)
    rules.check_tags(tags)
    name = fresh.name or tags.get(NAME_TAG) or rules.random_name()
    tags[NAME_TAG] = rules.check_text(name, "the name of a run", rules.TAG_LENGTH)
    owner = experiments.active_row(tx, project, fresh.experiment)
    id = rules.check_id(fresh.id, "run") if fresh.id else new_id("run")
    if fresh.id and (row := tx.exec_driver_sql(f"{RUN} WHERE r.run_id = ?", (id,)).first()) is not None:
        if (row.project, row.experiment, row.started_ms) == (project, owner.id, fresh.started_ms):
            return full(tx, [row])[0]
        raise Conflict(f"there is a run {id} already", code="RUN_EXISTS", hint="leave the id out")
    place = f"{owner.location.rstrip('/')}/{id}/artifacts"
    source = msgspec.json.encode(fresh.source).decode()
    row_id = tx.exec_driver_sql(
        "INSERT INTO run (run_id, experiment, environment, name, by, status, state, started_ms, location, source)"
        " VALUES (?, ?, ?, ?, ?, 'running', 'active', ?, ?, ?)",
        (id, owner.id, fresh.environment, name, fresh.by, fresh.started_ms, place, source),
    ).lastrowid
    _insert(tx, "INSERT INTO tag VALUES (?, ?, ?)", [(row_id, key, value) for key, value in tags.items()])
    return Run(
        id=id, name=name, project=project, environment=fresh.environment, experiment=owner.name,
        experiment_id=str(owner.number), by=fresh.by, status="running", state=ACTIVE,
        started_at=fresh.started_ms / 1000, location=place, source=_seen_source(fresh.source, tags), tags=tags,
    )  # fmt: skip


def get(tx: sa.Connection, project: str, id: str) -> Run:
    return full(tx, [row_of(tx, project, id)])[0]


def row_of(tx: sa.Connection, project: str, id: str) -> Any:
    row = tx.exec_driver_sql(f"{RUN} WHERE r.run_id = ?", (id,)).first()
    if row is None or row.project != project:
        raise _no_run(project, id)
    return row


def active_row(tx: sa.Connection, project: str, id: str) -> Any:
    row = row_of(tx, project, id)
    _check_active(row.state, id)
    return row


def _check_active(state: str, id: str) -> None:
    if state != ACTIVE:
        raise experiments.deleted("run", id, f"bough runs restore {id}")


def _active_number(tx: sa.Connection, project: str, id: str) -> int:
    """What its rows hang on."""
    number, state, its_project = ask(tx, _OF_RUN, (id,)).fetchone() or (0, "", "")
    if its_project != project:
        raise _no_run(project, id)
    _check_active(state, id)
    return int(number)


def _no_run(project: str, id: str) -> NotFound:
    return NotFound(f"{project} has no run {id[:300]!r}", code="RUN_NOT_FOUND", hint="bough runs list")


def update(
    tx: sa.Connection, project: str, id: str, *, status: str = "", ended_ms: int | None = None, name: str = "",
    source: Source | None = None,
) -> Run:  # fmt: skip
    change(tx, project, id, status=status, ended_ms=ended_ms, name=name, source=source)
    return get(tx, project, id)


def change(
    tx: sa.Connection, project: str, id: str, *, status: str = "", ended_ms: int | None = None, name: str = "",
    source: Source | None = None,
) -> None:  # fmt: skip
    """As `update`, for whoever does not look at what came of it."""
    row = active_row(tx, project, id)
    if status and status not in STATUSES:
        raise rules.invalid(f"{status!r} is not a status of a run", f"one of {', '.join(STATUSES)}")
    if status and status != row.status:
        tx.exec_driver_sql("UPDATE run SET status = ? WHERE id = ?", (status, row.id))
    if ended_ms is not None:
        tx.exec_driver_sql("UPDATE run SET ended_ms = ? WHERE id = ?", (ended_ms, row.id))
    if name:
        _rename(tx, row.id, name)
    if source is not None:
        kept = msgspec.to_builtins(msgspec.json.decode(row.source, type=Source)) | msgspec.to_builtins(source)
        text = msgspec.json.encode(msgspec.convert(kept, Source)).decode()
        tx.exec_driver_sql("UPDATE run SET source = ? WHERE id = ?", (text, row.id))


def set_state(tx: sa.Connection, project: str, id: str, state: str) -> Run:
    row = row_of(tx, project, id)
    tx.exec_driver_sql("UPDATE run SET state = ? WHERE id = ?", (state, row.id))
    return get(tx, project, id)


def log(
    tx: sa.Connection, project: str, id: str, metrics: Sequence[Metric], params: Mapping[str, str],
    tags: Mapping[str, str], remove_tags: Sequence[str] = (),
) -> None:  # fmt: skip
    """All of it or nothing. A point that is there already stays one."""
    rules.check_batch(metrics, params, tags)
    row = _active_number(tx, project, id)
    if params:
        _log_params(tx, row, id, params)
    if metrics:
        _log_metrics(tx, row, metrics)
        if any(each.model for each in metrics):
            logged_metrics.add(tx, id, metrics)
    if tags:
        _insert(tx, "INSERT OR REPLACE INTO tag VALUES (?, ?, ?)", [(row, key, tags[key]) for key in tags])
        if NAME_TAG in tags:
            tx.exec_driver_sql("UPDATE run SET name = ? WHERE id = ?", (tags[NAME_TAG], row))
    for key in remove_tags:
        if not tx.exec_driver_sql("DELETE FROM tag WHERE owner = ? AND key = ?", (row, key)).rowcount:
            raise experiments.no_tag(key, f"run {id}")


def _log_params(tx: sa.Connection, row: int, id: str, params: Mapping[str, str]) -> None:
    keys = tuple(params)
    sql = f"SELECT key, value FROM param WHERE owner = ? AND key IN ({rules.marks(keys)})"
    there = {key: value for key, value in tx.exec_driver_sql(sql, (row, *keys))}
    for key, value in params.items():
        if there.get(key, value) != value:
            raise Invalid(
                f"the parameter {key!r} of run {id} is {there[key][:200]!r} and cannot become {value[:200]!r}",
                code="PARAM_CHANGED", hint="a parameter never changes: log another key, or begin another run",
            )  # fmt: skip
    fresh = [(row, key, value) for key, value in params.items() if key not in there]
    _insert(tx, "INSERT INTO param VALUES (?, ?, ?)", fresh)


def _log_metrics(tx: sa.Connection, row: int, metrics: Sequence[Metric]) -> None:
    points, latest = list[tuple[Any, ...]](), dict[str, tuple[Any, ...]]()
    for each in metrics:
        value = number(each.value)
        if nan := math.isnan(value):
            value = 0.0
        points.append((row, each.key, each.timestamp_ms, each.step, value, nan))
        rank = (each.step, each.timestamp_ms, value)
        if each.key not in latest or rank > latest[each.key][0]:
            latest[each.key] = rank, (row, each.key, value, nan, each.timestamp_ms, each.step)
    _insert(tx, "INSERT OR IGNORE INTO metric VALUES (?, ?, ?, ?, ?, ?)", points)
    _insert(
        tx,
        "INSERT INTO latest VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (owner, key) DO UPDATE SET value = excluded.value,"
        " nan = excluded.nan, timestamp_ms = excluded.timestamp_ms, step = excluded.step WHERE"
        " (excluded.step, excluded.timestamp_ms, excluded.value) > (latest.step, latest.timestamp_ms, latest.value)",
        [values for _, values in latest.values()],
    )


def history(tx: sa.Connection, project: str, id: str, key: str, limit: int, offset: int) -> list[Metric]:
    """Points of one metric, oldest first; one more than the limit when there are more."""
    row = row_of(tx, project, id)
    sql = (
        "SELECT value, nan, timestamp_ms, step FROM metric WHERE owner = ? AND key = ?"
        " ORDER BY timestamp_ms, step, value LIMIT ? OFFSET ?"
    )
    found = tx.exec_driver_sql(sql, (row.id, key, limit + 1, offset))
    return [
        Metric(key=key, value="NaN" if nan else shown(value), timestamp_ms=at, step=step)
        for value, nan, at, step in found
    ]


def add_inputs(tx: sa.Connection, project: str, id: str, inputs: Sequence[RunInput]) -> None:
    row = active_row(tx, project, id)
    if len(inputs) > rules.MOST_INPUTS:
        raise rules.invalid(f"{len(inputs)} inputs at once", f"at most {rules.MOST_INPUTS}")
    for each in inputs:
        for text in (each.kind, each.name, each.version, each.context, each.source_type):
            rules.check_text(text, "a field of an input", rules.NAME_LENGTH)
        for text in (each.source, each.schema, each.profile):
            rules.check_text(text, "a field of an input", rules.LONGEST_INPUT_TEXT)
        if not each.name or not each.kind:
            raise rules.invalid("an input has a kind and a name", "kind: dataset, table, feature_view, model")
        tx.exec_driver_sql(
            "INSERT OR IGNORE INTO input VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (row.id, each.kind, each.name, each.version, each.context, each.source_type, each.source, each.schema,
             each.profile, msgspec.json.encode(each.tags).decode()),
        )  # fmt: skip


def add_outputs(tx: sa.Connection, project: str, id: str, outputs: Sequence[RunOutput]) -> None:
    row = active_row(tx, project, id)
    for each in outputs:
        rules.check_id(each.model, "logged model")
        rules.check_int(each.step, "a step")
        tx.exec_driver_sql("INSERT OR REPLACE INTO output VALUES (?, ?, ?)", (row.id, each.model, each.step))


def find(
    tx: sa.Connection, project: str, experiment_ids: Sequence[str] | None, filter: str, order: Sequence[str],
    state: str, limit: int, offset: int,
) -> list[Run]:  # fmt: skip
    """One page, and one more when there is a further one. Without experiments: those of the project."""
    rows = _experiment_rows(tx, project, experiment_ids)
    conditions = filters.parse(filter)
    plain = [each for each in conditions if SCOPE.kinds.get(each.kind) != "dataset"]
    clauses = search.where(SCOPE, plain) + [_of_inputs(each) for each in conditions if each not in plain]
    orders = [filters.parse_order(each) for each in order]
    # One experiment is looked for by `=`: then its index gives runs in the order in which they began.
    base = f"r.experiment IN ({rules.marks(rows)})" if len(rows) != 1 else "r.experiment = ?"
    if state != "all":
        base, rows = f"{base} AND r.state = ?", [*rows, state]
    ids = search.find(tx, SCOPE, Clause(base, tuple(rows)), clauses, orders, limit, offset)
    found: dict[int, Any] = {}
    for start in range(0, len(ids), 900):
        part = tuple(ids[start : start + 900])
        found |= {row[0]: row for row in tx.exec_driver_sql(f"{RUN} WHERE r.id IN ({rules.marks(part)})", part)}
    return full(tx, [found[id] for id in ids])


def input_names(tx: sa.Connection, project: str, experiment_ids: Sequence[str]) -> list[tuple[str, str, str, str]]:
    """Experiment, name, version and context of everything that runs of these experiments have read."""
    rows = _experiment_rows(tx, project, experiment_ids)
    sql = (
        "SELECT DISTINCT e.number, i.name, i.version, i.context FROM input i JOIN run r ON r.id = i.owner"
        f" JOIN experiment e ON e.id = r.experiment WHERE i.kind != 'model' AND e.id IN ({rules.marks(rows)})"
        " ORDER BY i.name, i.version LIMIT 1000"
    )
    return [(str(row[0]), *row[1:]) for row in tx.exec_driver_sql(sql, tuple(rows))]


def _experiment_rows(tx: sa.Connection, project: str, ids: Sequence[str] | None) -> list[Any]:
    numbers = {int(id) for id in ids or () if id.isascii() and id.isdigit() and len(id) < 19}
    sql = "SELECT id, number FROM experiment WHERE project = ?"
    return [row[0] for row in tx.exec_driver_sql(sql, (project,)) if ids is None or row[1] in numbers][:30_000]


def _of_inputs(condition: filters.Condition) -> Clause:
    name = _INPUT_COLUMNS.get(condition.key)
    if name is None:
        raise search.unknown(SCOPE._replace(columns={key: Column(key) for key in _INPUT_COLUMNS}), condition.key)
    found = search.compare(Column(name), condition)
    return Clause(f"EXISTS (SELECT 1 FROM input i WHERE i.owner = r.id AND {found.sql})", found.values)


def _rename(tx: sa.Connection, row: int, name: str) -> None:
    rules.check_text(name, "the name of a run", rules.TAG_LENGTH)
    tx.exec_driver_sql("UPDATE run SET name = ? WHERE id = ?", (name, row))
    tx.exec_driver_sql("INSERT OR REPLACE INTO tag VALUES (?, ?, ?)", (row, NAME_TAG, name))


def _insert(tx: sa.Connection, sql: str, rows: list[tuple[Any, ...]]) -> None:
    if rows:
        ask_many(tx, sql, rows)


def full(tx: sa.Connection, rows: Sequence[Any]) -> list[Run]:
    """Rows with all that hangs on them, by one statement per kind."""
    ids = [row[0] for row in rows]
    params, tags = _pairs(tx, "param", ids), _pairs(tx, "tag", ids)
    metrics, inputs, outputs = (
        defaultdict[int, list[Metric]](list),
        defaultdict[int, list[RunInput]](list),
        dict[int, list[RunOutput]](),
    )
    for owner, key, value, nan, at, step in _of(tx, "owner, key, value, nan, timestamp_ms, step", "latest", ids):
        metrics[owner].append(Metric(key=key, value="NaN" if nan else shown(value), timestamp_ms=at, step=step))
    for row in _of(tx, "*", "input", ids):
        kind, name, version, context, source_type, source, schema, profile, said = row[1:]
        inputs[row[0]].append(
            RunInput(kind=kind, name=name, version=version, context=context, source_type=source_type, source=source,
                  schema=schema, profile=profile, tags=msgspec.json.decode(said))
        )  # fmt: skip
    for owner, model, step in _of(tx, "owner, model, step", "output", ids):
        outputs.setdefault(owner, []).append(RunOutput(model=model, step=step))
    return [
        _run(row, params[row[0]], metrics[row[0]], tags[row[0]], inputs[row[0]], outputs.get(row[0], []))
        for row in rows
    ]


def _run(
    row: Any, params: dict[str, str], metrics: list[Metric], tags: dict[str, str], inputs: list[RunInput],
    outputs: list[RunOutput],
) -> Run:  # fmt: skip
    (_, run_id, _, environment, name, by, status, state, started_ms, ended_ms, location, source, project, number,
     experiment) = row  # fmt: skip
    return Run(
        id=run_id, name=name, project=project, environment=environment, experiment=experiment,
        experiment_id=str(number), by=by, status=status, state=state, started_at=started_ms / 1000, location=location,
        ended_at=(ended_ms or 0) / 1000, seconds=round((ended_ms - started_ms) / 1000, 3) if ended_ms else 0.0,
        source=_seen_source(msgspec.json.decode(source, type=Source), tags), params=params, metrics=metrics, tags=tags,
        inputs=inputs, outputs=outputs,
    )  # fmt: skip


def _seen_source(source: Source, tags: Mapping[str, str]) -> Source:
    """What a client of MLflow said in tags counts where nothing else is said."""
    commit, program = source.commit or tags.get(COMMIT_TAG, ""), source.program or tags.get(PROGRAM_TAG, "")
    if (commit, program) == (source.commit, source.program):
        return source
    return msgspec.structs.replace(source, commit=commit, program=program)


def _pairs(tx: sa.Connection, table: str, ids: Sequence[int]) -> defaultdict[int, dict[str, str]]:
    found = defaultdict[int, dict[str, str]](dict)
    for owner, key, value in _of(tx, "owner, key, value", table, ids):
        found[owner][key] = value
    return found


def _of(tx: sa.Connection, columns: str, table: str, ids: Sequence[int]) -> Iterable[Any]:
    for start in range(0, len(ids), 900):
        part = tuple(ids[start : start + 900])
        yield from tx.exec_driver_sql(f"SELECT {columns} FROM {table} WHERE owner IN ({rules.marks(part)})", part)
