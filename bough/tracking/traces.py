"""Traces: their rows. A trace is there as soon as a span of it or its own summary has come, whichever is first; the
summary has the last word about times and state."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from bough.kernel.errors import NotFound
from bough.tracking import artifacts, assessments, experiments, rules
from bough.tracking.models_traces import Span, SpanEvent, SpanLink, SpansOf, Trace, TraceState

MOST_SPANS = 20_000  # at once
MOST_TRACES = 1000
LONGEST_PREVIEW = 10_000
DEEPEST = 64  # of the values of a span's attributes

_TRACE = (
    "SELECT t.id, t.trace_id, t.project, t.state, t.started_ms, t.duration_ms, t.request_id, t.request, t.response,"
    " t.said, e.number FROM trace t JOIN experiment e ON e.id = t.experiment"
)


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a program says of a whole trace."""

    id: str
    experiment: str
    state: TraceState
    started_ms: int
    duration_ms: int | None = None
    request_id: str | None = None
    request: str | None = None
    response: str | None = None
    metadata: Mapping[str, str] = {}
    tags: Mapping[str, str] = {}


def put(tx: sa.Connection, project: str, summary: Summary) -> bool:
    """May come twice, and before or after the spans; says whether it came for the first time."""
    rules.check_id(summary.id, "trace")
    _check(summary.metadata)
    _check(summary.tags)
    rules.check_text(summary.request_id or "", "what the caller calls the trace", rules.TAG_LENGTH)
    owner = experiments.active_row(tx, project, summary.experiment)
    sql = "SELECT said FROM trace WHERE project = ? AND trace_id = ?"
    said = tx.exec_driver_sql(sql, (project, summary.id)).scalar()
    row = tx.exec_driver_sql(
        "INSERT INTO trace (project, trace_id, experiment, state, started_ms, duration_ms, request_id, request,"
        " response, said) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1) ON CONFLICT (project, trace_id) DO UPDATE SET"
        " experiment = excluded.experiment, state = excluded.state, started_ms = excluded.started_ms,"
        " duration_ms = excluded.duration_ms, request_id = excluded.request_id, said = 1,"
        " request = coalesce(excluded.request, request), response = coalesce(excluded.response, response)"
        " RETURNING id",
        (project, summary.id, owner.id, summary.state, summary.started_ms, summary.duration_ms, summary.request_id,
         _beginning(summary.request), _beginning(summary.response)),
    ).scalar_one()  # fmt: skip
    _set(tx, "trace_metadata", row, summary.metadata)
    _set(tx, "trace_tag", row, summary.tags)
    return not said


def add(tx: sa.Connection, project: str, experiment: str, batches: Sequence[SpansOf]) -> None:
    """A span that comes again replaces itself."""
    if len(batches) > MOST_TRACES or sum(len(each.spans) for each in batches) > MOST_SPANS:
        raise rules.invalid(
            "these are too many spans at once", f"at most {MOST_SPANS} of {MOST_TRACES} traces; send them in parts"
        )
    for batch in batches:
        if batch.spans:
            _add(tx, project, experiment, batch)


def _add(tx: sa.Connection, project: str, experiment: str, batch: SpansOf) -> None:
    rules.check_id(batch.trace, "trace")
    _check(batch.metadata)
    _check(batch.tags)
    rows = [_span_row(each) for each in batch.spans]
    start = min(each.started_ns for each in batch.spans) // 1_000_000
    end = max((each.ended_ns for each in batch.spans), default=0) // 1_000_000
    root = next((each for each in batch.spans if not each.parent), None)
    state = "in_progress" if root is None else "error" if root.status == "error" else "ok"
    there = tx.exec_driver_sql(f"{_TRACE} WHERE t.project = ? AND t.trace_id = ?", (project, batch.trace)).first()
    if there is None:
        owner = experiments.active_row(tx, project, experiment)
        row = tx.exec_driver_sql(
            "INSERT INTO trace (project, trace_id, experiment, state, started_ms, duration_ms, said)"
            " VALUES (?, ?, ?, ?, ?, ?, 0)",
            (project, batch.trace, owner.id, state, start, max(end - start, 0) if end else None),
        ).lastrowid
    else:
        row = there.id
        if not there.said:
            last = max(end, there.started_ms + (there.duration_ms or 0))
            start = min(start, there.started_ms)
            sql = "UPDATE trace SET started_ms = ?, duration_ms = ? WHERE id = ?"
            tx.exec_driver_sql(sql, (start, last - start if end or there.duration_ms is not None else None, row))
        if root is not None and there.state in ("in_progress", "unspecified"):
            tx.exec_driver_sql("UPDATE trace SET state = ? WHERE id = ?", (state, row))
    tx.exec_driver_sql(
        "INSERT OR REPLACE INTO span VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", [(row, *each) for each in rows]
    )
    tx.exec_driver_sql(
        "UPDATE trace SET request = coalesce(request, ?), response = coalesce(response, ?) WHERE id = ?",
        (_beginning(batch.request), _beginning(batch.response), row),
    )
    _set(tx, "trace_tag", row, batch.tags)
    for key, value in batch.metadata.items():
        tx.exec_driver_sql("INSERT OR IGNORE INTO trace_metadata VALUES (?, ?, ?)", (row, key, value))


def get(tx: sa.Connection, project: str, id: str, *, spans: bool = False) -> Trace:
    return full(tx, [row_of(tx, project, id)], spans=spans)[0]


def several(tx: sa.Connection, project: str, ids: Sequence[str], *, spans: bool) -> list[Trace]:
    """Those that are there, in this order."""
    found: dict[str, Any] = {}
    for id in dict.fromkeys(ids):
        row = tx.exec_driver_sql(f"{_TRACE} WHERE t.project = ? AND t.trace_id = ?", (project, id)).first()
        if row is not None:
            found[id] = row
    return full(tx, list(found.values()), spans=spans)


def row_of(tx: sa.Connection, project: str, id: str) -> Any:
    row = tx.exec_driver_sql(f"{_TRACE} WHERE t.project = ? AND t.trace_id = ?", (project, id)).first()
    if row is None:
        raise NotFound(f"{project} has no trace {id[:300]!r}", code="TRACE_NOT_FOUND", hint="bough traces list")
    return row


def rows(tx: sa.Connection, ids: Sequence[int]) -> list[Any]:
    """In the order of the numbers."""
    found: dict[int, Any] = {}
    for start in range(0, len(ids), 900):
        part = tuple(ids[start : start + 900])
        found |= {row[0]: row for row in tx.exec_driver_sql(f"{_TRACE} WHERE t.id IN ({rules.marks(part)})", part)}
    return [found[id] for id in ids if id in found]


def tag(tx: sa.Connection, project: str, id: str, tags: Mapping[str, str], remove: Sequence[str]) -> Trace:
    row = row_of(tx, project, id)
    rules.check_tags(tags)
    _set(tx, "trace_tag", row.id, tags)
    for key in remove:
        if not tx.exec_driver_sql("DELETE FROM trace_tag WHERE owner = ? AND key = ?", (row.id, key)).rowcount:
            raise experiments.no_tag(key, f"trace {id}")
    return get(tx, project, id)


def link(tx: sa.Connection, project: str, ids: Sequence[str], run: str) -> None:
    if len(ids) > MOST_TRACES:
        raise rules.invalid(f"{len(ids)} traces at once", f"at most {MOST_TRACES}")
    sql = "SELECT 1 FROM run r JOIN experiment e ON e.id = r.experiment WHERE r.run_id = ? AND e.project = ?"
    if tx.exec_driver_sql(sql, (run, project)).first() is None:
        raise NotFound(f"{project} has no run {run[:300]!r}", code="RUN_NOT_FOUND", hint="bough runs list")
    for id in ids:
        tx.exec_driver_sql("INSERT OR IGNORE INTO trace_run VALUES (?, ?)", (row_of(tx, project, id).id, run))


def remove(
    tx: sa.Connection, project: str, experiment: str, ids: Sequence[str], before_ms: int | None, most: int | None
) -> int:
    """The oldest first; says how many. They are gone for good."""
    owner = experiments.row_of(tx, project, experiment)
    wanted, values = "experiment = ?", [owner.id]
    for number in (before_ms, most):
        rules.check_int(number or 0, "a number")
    if before_ms is not None:
        wanted, values = f"{wanted} AND started_ms <= ?", [*values, before_ms]
    if ids:
        listed = msgspec.json.encode(list(ids)).decode()
        wanted, values = f"{wanted} AND trace_id IN (SELECT value FROM json_each(?))", [*values, listed]
    sql = f"SELECT id, trace_id FROM trace WHERE {wanted} ORDER BY started_ms, trace_id LIMIT ?"
    found = tx.exec_driver_sql(sql, (*values, -1 if most is None else max(most, 0))).all()
    for id, trace_id in found:
        artifacts.remove(tx, artifacts.of_trace(project, trace_id), "")
        tx.exec_driver_sql("DELETE FROM trace WHERE id = ?", (id,))
        for table in ("trace_tag", "trace_metadata", "trace_run", "span", "assessment"):
            tx.exec_driver_sql(f"DELETE FROM {table} WHERE owner = ?", (id,))
    return len(found)


def full(tx: sa.Connection, found: Sequence[Any], *, spans: bool) -> list[Trace]:
    ids = tuple(row.id for row in found)
    texts: dict[str, defaultdict[int, dict[str, str]]] = {"metadata": defaultdict(dict), "tag": defaultdict(dict)}
    runs, pieces = defaultdict[int, list[str]](list), defaultdict[int, list[Span]](list)
    for start in range(0, len(ids), 900):
        part = ids[start : start + 900]
        marks = rules.marks(part)
        for table, into in texts.items():
            sql = f"SELECT owner, key, value FROM trace_{table} WHERE owner IN ({marks})"
            for owner, key, value in tx.exec_driver_sql(sql, part):
                into[owner][key] = value
        for owner, run in tx.exec_driver_sql(f"SELECT owner, run FROM trace_run WHERE owner IN ({marks})", part):
            runs[owner].append(run)
        if spans:
            sql = f"SELECT * FROM span WHERE owner IN ({marks}) ORDER BY parent != '', started_ns, rowid"
            for row in tx.exec_driver_sql(sql, part):
                pieces[row.owner].append(_span(row))
    said = assessments.of(tx, {row.id: row.trace_id for row in found})
    return [
        Trace(
            id=row.trace_id, project=row.project, experiment_id=str(row.number), state=row.state,
            started_at=row.started_ms / 1000, seconds=None if row.duration_ms is None else row.duration_ms / 1000,
            request_id=row.request_id, request=row.request, response=row.response,
            metadata=texts["metadata"][row.id], tags=texts["tag"][row.id], assessments=said[row.id],
            runs=runs[row.id], spans=pieces[row.id],
        )
        for row in found
    ]  # fmt: skip


def _span_row(span: Span) -> tuple[Any, ...]:
    rules.check_id(span.id, "span")
    for text in (span.name, span.type, span.parent):
        rules.check_text(text, "the name, type or parent of a span", rules.TAG_LENGTH)
    for at in (span.started_ns, span.ended_ns):
        if not 0 <= at < 1 << 63:
            raise rules.invalid(f"{at} is not a time in nanoseconds since 1970", "64 bits are kept")
    inner = {"attributes": span.attributes, "message": span.message, "events": span.events, "links": span.links}
    parts: list[Span | SpanEvent | SpanLink] = [span, *span.events, *span.links]
    if max(_depth(each.attributes) for each in parts) > DEEPEST:
        raise rules.invalid(f"the span {span.id} has attributes in more than {DEEPEST} layers", "flatten them")
    try:
        content = msgspec.json.encode(inner).decode()
    except (UnicodeEncodeError, msgspec.MsgspecError, TypeError, OverflowError) as error:
        raise rules.invalid(f"the span {span.id} cannot be kept: {error}", "attributes are JSON") from None
    return (span.id, span.parent, span.name, span.type, span.status, span.started_ns, span.ended_ns, content)


def _span(row: Any) -> Span:
    inner = msgspec.json.decode(row.content)
    return msgspec.convert(
        {"id": row.span_id, "parent": row.parent, "name": row.name, "type": row.type, "status": row.status,
         "started_ns": row.started_ns, "ended_ns": row.ended_ns, **inner},
        Span,
    )  # fmt: skip


def _depth(value: Any) -> int:
    """Layers of a value; looks no deeper than what is refused anyway."""
    layers, here = 0, [value]
    while here and layers <= DEEPEST:
        layers += 1
        here = [
            inner
            for each in here
            for inner in (each.values() if isinstance(each, dict) else each if isinstance(each, list) else ())
            if isinstance(inner, dict | list)
        ]
    return layers


def _check(texts: Mapping[str, str]) -> None:
    """Programs that trace name things as they like, and a whole trace is not refused for it."""
    for key, value in texts.items():
        rules.check_text(key, "a key", rules.KEY_LENGTH)
        rules.check_text(value, f"the value of {key!r}", rules.TAG_LENGTH)


def _beginning(text: str | None) -> str | None:
    return None if text is None else text[:LONGEST_PREVIEW].encode("utf-8", "replace").decode()


def _set(tx: sa.Connection, table: str, row: int, values: Mapping[str, str]) -> None:
    for key, value in values.items():
        tx.exec_driver_sql(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)", (row, key, value))
