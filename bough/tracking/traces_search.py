"""What traces can be found by: themselves, their tags and metadata, their spans, and what was thought of them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from bough.kernel.errors import Invalid
from bough.tracking import filters, search, traces
from bough.tracking.filters import Condition, Order
from bough.tracking.models_traces import Trace
from bough.tracking.search import Clause, Column, Keyed, Scope

NAME_TAG, RUN_KEY = "mlflow.traceName", "mlflow.sourceRun"  # where clients of MLflow write a trace's name and run

_ATTRIBUTES = {
    **{name: Column("r.trace_id") for name in ("request_id", "trace_id")},
    **{name: Column("r.started_ms", number=True) for name in ("timestamp", "timestamp_ms")},
    **{name: Column("r.duration_ms", number=True, nullable=True) for name in ("execution_time", "execution_time_ms")},
    **{
        name: Column("(r.started_ms + coalesce(r.duration_ms, 0))", number=True) for name in ("end_time", "end_time_ms")
    },
    **{name: Column("upper(r.state)") for name in ("status", "state")},
    "client_request_id": Column("r.request_id", nullable=True),
}
SCOPE = Scope(
    noun="traces",
    table="trace",
    kinds={"": "attribute", "attribute": "attribute", "attributes": "attribute", "trace": "attribute",
           "tag": "tag", "tags": "tag", "metadata": "metadata", "request_metadata": "metadata"},
    columns=_ATTRIBUTES,
    keyed={"tag": Keyed("trace_tag", indexed=True), "metadata": Keyed("trace_metadata", indexed=True)},
    order=_ATTRIBUTES | {"experiment_id": Column("r.experiment")},
    natural=(("r.started_ms", False), ("r.trace_id", True)),
)  # fmt: skip
_SPAN = {"name": Column("s.name"), "type": Column("s.type"), "status": Column("upper(s.status)")}
_TEXT = Column("(s.name || char(10) || s.content)")
_SAID = ("feedback", "expectation")


def find(
    tx: sa.Connection, project: str, experiment_ids: Sequence[str] | None, filter: str, order: Sequence[str],
    limit: int, offset: int,
) -> list[Trace]:  # fmt: skip
    """One page, and one more when there is a further one. Without spans."""
    base = Clause("r.experiment IN (SELECT id FROM experiment WHERE project = ?)", (project,))
    if experiment_ids is not None:
        numbers = [int(id) for id in experiment_ids if id.isascii() and id.isdigit() and len(id) < 19]
        listed = f"{base.sql[:-1]} AND number IN (SELECT value FROM json_each(?)))"
        base = Clause(listed, (project, msgspec.json.encode(numbers).decode()))
    orders = [_order(filters.parse_order(each)) for each in order]
    ids = search.find(tx, SCOPE, base, _clauses(filters.parse(filter)), orders, limit, offset)
    return traces.full(tx, traces.rows(tx, ids), spans=False)


def _order(order: Order) -> Order:
    if SCOPE.kinds.get(order.kind) == "attribute" and order.key in ("name", "run_id"):
        kind, key = ("tag", NAME_TAG) if order.key == "name" else ("metadata", RUN_KEY)
        return Order(kind, key, order.ascending)
    return order


def _clauses(conditions: Sequence[Condition]) -> list[Clause]:
    """What is asked of spans has to be true of one and the same span."""
    found, spans = list[Clause](), list[Clause]()
    for each in conditions:
        plain = SCOPE.kinds.get(each.kind) == "attribute"
        if each.kind == "span" or (plain and each.key == "text"):
            spans.append(_of_span(each))
        elif each.kind in _SAID:
            found.append(_said(each))
        elif plain and each.key == "name":
            found.append(search.clause(SCOPE, each._replace(kind="tag", key=NAME_TAG)))
        elif plain and each.key == "run_id":
            found.append(_of_run(each))
        else:
            found.append(search.clause(SCOPE, each))
    if spans:
        every = " AND ".join(each.sql for each in spans)
        values = tuple(value for each in spans for value in each.values)
        found.append(Clause(f"EXISTS (SELECT 1 FROM span s WHERE s.owner = r.id AND {every})", values))
    return found


def _of_span(condition: Condition) -> Clause:
    key = condition.key
    if key in ("text", "content"):
        if condition.operator not in ("LIKE", "ILIKE"):
            raise Invalid("a text is looked for with LIKE or ILIKE", code="FILTER_INVALID", hint="text LIKE '%word%'")
        return search.compare(_TEXT, condition)
    if key in _SPAN:
        return search.compare(_SPAN[key], condition)
    if key.startswith("attributes.") and len(key) > len("attributes."):
        name = key.removeprefix("attributes.").strip('`"')
        number = isinstance(condition.value, float)
        value = "j.value" if number else "CAST(j.value AS TEXT)"
        kinds = " AND j.type IN ('integer', 'real')" if number else ""
        found = search.compare(Column(value, number=number), condition)
        inner = f"SELECT 1 FROM json_each(s.content, '$.attributes') j WHERE j.key = ?{kinds} AND {found.sql}"
        return Clause(f"EXISTS ({inner})", (name, *found.values))
    raise Invalid(
        f"there is nothing like {key!r} of a span", code="FILTER_INVALID",
        hint="span.name, span.type, span.status, span.content, span.attributes.NAME",
    )  # fmt: skip


def _said(condition: Condition) -> Clause:
    base = "SELECT 1 FROM assessment a WHERE a.owner = r.id AND a.valid = 1 AND a.kind = ? AND a.name = ?"
    values = (condition.kind, condition.key)
    if condition.operator in ("NULL", "NOT NULL"):
        return Clause(f"{'NOT ' if condition.operator == 'NULL' else ''}EXISTS ({base})", values)
    if isinstance(condition.value, float):
        found = search.compare(Column("a.number", number=True), condition)
        return Clause(f"EXISTS ({base} AND {found.sql})", (*values, *found.values))
    found = search.compare(Column("a.value"), condition)
    if condition.operator in ("=", "!="):  # of a text, or of true, false and numbers as JSON writes them
        quoted = msgspec.json.encode(condition.value).decode()
        isnt = "NOT " if condition.operator == "!=" else ""
        return Clause(f"EXISTS ({base} AND a.value {isnt}IN (?, ?))", (*values, str(condition.value), quoted))
    return Clause(f"EXISTS ({base} AND {found.sql})", (*values, *found.values))


def _of_run(condition: Condition) -> Clause:
    """Those that a run has made, and those that were linked to it."""
    made = search.clause(SCOPE, condition._replace(kind="metadata", key=RUN_KEY))
    if condition.operator != "=":
        return made
    linked = "EXISTS (SELECT 1 FROM trace_run l WHERE l.owner = r.id AND l.run = ?)"
    return Clause(f"({made.sql} OR {linked})", (*made.values, condition.value))
