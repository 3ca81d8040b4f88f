"""Assessments of traces: their rows."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from bough.kernel.errors import Invalid, NotFound
from bough.tracking import rules
from bough.tracking.models_traces import Assessment, Kind

LONGEST = 1 << 20  # characters of a value, and of all that is said about it


class Fresh(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    kind: Kind
    name: str
    value: Any = None
    source: str = ""
    by: str = ""
    span: str = ""
    rationale: str = ""
    error: dict[str, str] = {}
    metadata: dict[str, str] = {}
    overrides: str = ""


class ChangedAssessment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is not given stays; metadata is added to what there is."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    kind: Kind | msgspec.UnsetType = msgspec.UNSET
    value: Any = msgspec.UNSET
    rationale: str | msgspec.UnsetType = msgspec.UNSET
    error: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    metadata: dict[str, str] = {}


class Times(NamedTuple):
    """In milliseconds since 1970."""

    created: int
    updated: int


def create(tx: sa.Connection, owner: int, trace: str, fresh: Fresh, times: Times, id: str = "") -> Assessment:
    """One that comes with an `id` is there once however often it comes, as it came first."""
    if id:
        rules.check_id(id, "assessment")
        sql = "SELECT 1 FROM assessment WHERE owner = ? AND assessment_id = ?"
        if tx.exec_driver_sql(sql, (owner, id)).first() is not None:
            return get(tx, owner, trace, id)
    if fresh.overrides:
        sql = "UPDATE assessment SET valid = 0 WHERE owner = ? AND assessment_id = ?"
        if not tx.exec_driver_sql(sql, (owner, fresh.overrides)).rowcount:
            raise _missing(trace, fresh.overrides)
    id = id or f"a-{uuid.uuid4().hex}"
    _put(tx, owner, id, fresh, True, *times)
    return get(tx, owner, trace, id)


def get(tx: sa.Connection, owner: int, trace: str, id: str) -> Assessment:
    return _assessment(_row(tx, owner, trace, id), trace)


def update(tx: sa.Connection, owner: int, trace: str, id: str, changed: ChangedAssessment, now_ms: int) -> Assessment:
    row = _row(tx, owner, trace, id)
    if changed.kind not in (msgspec.UNSET, row.kind):
        raise Invalid(
            f"{id} is of the kind {row.kind}, and stays it", code="ASSESSMENT_KIND", hint="delete it, and say it anew"
        )
    before = msgspec.json.decode(row.content, type=Fresh)
    given = {
        key: value
        for key in ("name", "value", "rationale", "error")
        if (value := getattr(changed, key)) is not msgspec.UNSET
    }
    after = msgspec.structs.replace(before, **given, metadata=before.metadata | changed.metadata)
    _put(tx, owner, id, after, bool(row.valid), row.created_ms, now_ms)
    return get(tx, owner, trace, id)


def remove(tx: sa.Connection, owner: int, id: str) -> None:
    """What it had overridden is valid again. Does nothing when it is not there."""
    sql = "DELETE FROM assessment WHERE owner = ? AND assessment_id = ? RETURNING overrides"
    overrides = tx.exec_driver_sql(sql, (owner, id)).scalar()
    if overrides:
        tx.exec_driver_sql("UPDATE assessment SET valid = 1 WHERE owner = ? AND assessment_id = ?", (owner, overrides))


def of(tx: sa.Connection, traces: Mapping[int, str]) -> defaultdict[int, list[Assessment]]:
    """By the number of the trace, oldest first."""
    found = defaultdict[int, list[Assessment]](list)
    ids = tuple(traces)
    for start in range(0, len(ids), 900):
        part = ids[start : start + 900]
        sql = f"SELECT * FROM assessment WHERE owner IN ({rules.marks(part)}) ORDER BY created_ms, rowid"
        for row in tx.exec_driver_sql(sql, part):
            found[row.owner].append(_assessment(row, traces[row.owner]))
    return found


def _put(tx: sa.Connection, owner: int, id: str, fresh: Fresh, valid: bool, created_ms: int, updated_ms: int) -> None:
    rules.check_text(fresh.name, "the name of an assessment", rules.KEY_LENGTH)
    if not fresh.name:
        raise rules.invalid("an assessment has a name", "such as correctness")
    try:
        value, content = msgspec.json.encode(fresh.value).decode(), msgspec.json.encode(fresh).decode()
    except (UnicodeEncodeError, msgspec.MsgspecError, TypeError, OverflowError) as error:
        raise rules.invalid(f"the assessment {fresh.name!r} cannot be kept: {error}", "a value is JSON") from None
    rules.check_text(content, f"the assessment {fresh.name!r}", LONGEST)
    plain = isinstance(fresh.value, int | float) and not isinstance(fresh.value, bool)
    number = float(fresh.value) if plain and abs(fresh.value) < 1e300 else None
    tx.exec_driver_sql(
        "INSERT INTO assessment VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (owner, assessment_id) DO UPDATE"
        " SET name = excluded.name, value = excluded.value, number = excluded.number, content = excluded.content,"
        " updated_ms = excluded.updated_ms",
        (owner, id, fresh.kind, fresh.name, value, number, valid, fresh.overrides, created_ms, updated_ms, content),
    )


def _row(tx: sa.Connection, owner: int, trace: str, id: str) -> Any:
    row = tx.exec_driver_sql("SELECT * FROM assessment WHERE owner = ? AND assessment_id = ?", (owner, id)).first()
    if row is None:
        raise _missing(trace, id)
    return row


def _missing(trace: str, id: str) -> NotFound:
    return NotFound(
        f"the trace {trace} has no assessment {id[:300]!r}",
        code="ASSESSMENT_NOT_FOUND",
        hint=f"bough traces show {trace}",
    )


def _assessment(row: Any, trace: str) -> Assessment:
    fresh = msgspec.json.decode(row.content, type=Fresh)
    return Assessment(
        id=row.assessment_id, trace=trace, created_at=row.created_ms / 1000, updated_at=row.updated_ms / 1000,
        valid=bool(row.valid), **msgspec.structs.asdict(fresh),
    )  # fmt: skip
