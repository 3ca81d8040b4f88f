"""The table of what starts of jobs have taken."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from bough.capacity.changeovers import KEPT, Changeover, Measured, learnt
from bough.kernel.events import Event
from bough.kernel.tables import metadata

changeover = sa.Table(
    "capacity_changeover",
    metadata,
    sa.Column("project", sa.Text, primary_key=True),
    sa.Column("job", sa.Text, primary_key=True),
    sa.Column("measured", sa.Text, nullable=False),  # JSON, oldest first
)


def on_under_way(tx: sa.Connection, event: Event) -> None:
    """An attempt of a job makes steps."""
    place = str(event.data["project"]), str(event.data["job"])
    measured = [*_measured(tx, [place]).get(place, []), msgspec.convert(event.data["changeover"], Measured)][-KEPT:]
    row = {"project": place[0], "job": place[1], "measured": msgspec.json.encode(measured).decode()}
    kept = {"measured": row["measured"]}
    tx.execute(insert(changeover).values(row).on_conflict_do_update(index_elements=["project", "job"], set_=kept))


def changeovers(tx: sa.Connection, jobs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Changeover]:
    """By project and job; of every one that was asked for, whatever the environment."""
    wanted = list(jobs)
    found = _measured(tx, wanted)
    return {each: learnt(found.get(each, [])) for each in wanted}


def _measured(tx: sa.Connection, jobs: list[tuple[str, str]]) -> dict[tuple[str, str], list[Measured]]:
    query = changeover.select().where(sa.tuple_(changeover.c.project, changeover.c.job).in_(jobs))
    return {(row.project, row.job): msgspec.json.decode(row.measured, type=list[Measured]) for row in tx.execute(query)}
