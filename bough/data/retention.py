"""How long a dataset keeps files: what was written longer ago is erased from every environment, tag and all history,
when garbage is collected, as if an admin had done so each hour (`erasure.py`). A file whose content changes counts from
then. Without a rule of its own a dataset keeps files until somebody removes them, and history as `points.py` says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import sqlalchemy as sa

from bough.data import operations as files
from bough.data.erasure import ERASED, ErasedEntry, Proof, layers_of, unlink_views
from bough.data.garbage import Database, digests_in
from bough.kernel.catalog import FILE, change, entry, head
from bough.kernel.clock import Clock
from bough.kernel.context import Context, Role
from bough.kernel.events import Events
from bough.kernel.names import check_name
from bough.kernel.operations import operation
from bough.kernel.tables import metadata

BY = "retention"  # who an erasure says that it was
DAY_S = 86_400.0
Rule = sa.Row[Any]  # of the table

data_retention = sa.Table(
    "data_retention",
    metadata,
    sa.Column("project", sa.Text, primary_key=True),
    sa.Column("dataset", sa.Text, primary_key=True),
    sa.Column("days", sa.Float, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
)


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """Files of the dataset are kept for so many days after they were written."""

    dataset: str
    days: float
    at: float
    by: str


class SetRetention(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    dataset: Annotated[str, msgspec.Meta(description="dataset")]
    days: Annotated[float, msgspec.Meta(description="0: they are kept for good", ge=0, le=36_500)]


class ListRetentions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str


@operation("data.retain", role=Role.ADMIN, writes=True)
def retain(context: Context, request: SetRetention) -> list[Retention]:
    """Says for how many days a dataset keeps files. What is older is erased with the next collection of garbage."""
    dataset, table = check_name(request.dataset, "dataset"), data_retention
    context.tx.execute(table.delete().where(table.c.project == request.project, table.c.dataset == dataset))
    if request.days:
        rule = Retention(dataset=dataset, days=request.days, at=context.clock.now(), by=context.principal.name)
        context.tx.execute(table.insert().values(project=request.project, **msgspec.structs.asdict(rule)))
    return _rules(context.tx, request.project)


@operation("data.retentions", role=Role.VIEWER)
def retentions(context: Context, request: ListRetentions) -> list[Retention]:
    """Lists the datasets that keep files for a time."""
    return _rules(context.tx, request.project)


def expire(database: Database, events: Events, clock: Clock, views: Path) -> None:
    """Erases what is too old, and keeps a proof of it; its bytes are garbage from then on. `views`: what units see of
    datasets. Writes nothing when nothing is too old."""
    with database.read() as tx:
        due = [row for row in tx.execute(data_retention.select()) if _old(tx, row, clock.now())]
    for row in due:
        with database.write() as tx:
            if found := _old(tx, row, clock.now()):
                _erase(tx, events, row, found, clock.now(), views)


def _old(tx: sa.Connection, rule: Rule, now: float) -> list[ErasedEntry]:
    """Tombstones among them: what they hid is older still, and goes as well."""
    layers = layers_of(tx, rule.project)
    below = entry.c.key >= f"{rule.dataset}/", entry.c.key < f"{rule.dataset}/\U0010ffff"
    written = change.c.at <= now - rule.days * DAY_S
    query = sa.select(entry).join(change, change.c.seq == entry.c.seq)
    query = query.where(entry.c.layer.in_(list(layers)), entry.c.kind == FILE, *below, written)
    return [
        ErasedEntry(
            kind=FILE, key=row.key, layer=row.layer, change=row.seq, seen_in=layers[row.layer],
            digests=digests_in(row.value or ""),
        )
        for row in tx.execute(query.order_by(entry.c.layer, entry.c.key, entry.c.seq))
    ]  # fmt: skip


def _erase(tx: sa.Connection, events: Events, rule: Rule, found: list[ErasedEntry], now: float, views: Path) -> None:
    for each in found:
        same = entry.c.layer == each.layer, entry.c.kind == FILE, entry.c.key == each.key, entry.c.seq == each.change
        tx.execute(entry.delete().where(*same))
    newer = sa.select(entry.c.key).where(entry.c.kind == FILE, entry.c.layer.in_(list(layers_of(tx, rule.project))))
    gone = {each.key for each in found} - set(tx.execute(newer).scalars())
    proof = Proof(
        project=rule.project, dataset=rule.dataset, path="", erased_at=now, by=BY, entries=found, deleted_blobs=[],
        remains=[text for key in sorted(gone) for text in unlink_views(views, key)],
    )  # fmt: skip
    events.emit(tx, ERASED, rule.project, **msgspec.to_builtins(proof))
    last = max(each.change for each in found)
    for environment in tx.execute(sa.select(head.c.environment).where(head.c.project == rule.project)).scalars():
        data = {"project": rule.project, "environment": environment, "dataset": rule.dataset, "change": last}
        events.emit(tx, files.CHANGED, f"{rule.project}/{environment}", **data)


def _rules(tx: sa.Connection, project: str) -> list[Retention]:
    table = data_retention
    rows = tx.execute(table.select().where(table.c.project == project).order_by(table.c.dataset))
    return [Retention(dataset=row.dataset, days=row.days, at=row.at, by=row.by) for row in rows]
