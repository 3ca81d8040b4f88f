"""Tables of promotions, their stages and approvals."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from bough.kernel.errors import Conflict, NotFound
from bough.kernel.reconcile import Still, wake
from bough.kernel.rows import Rows
from bough.kernel.tables import metadata
from bough.promotions import timeline
from bough.promotions.models import ENDED, Approval, Promotion, Stage
from bough.registry.models import Place

KIND = "promotion"

promotion = sa.Table(
    "promotion",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("environment", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("registered_by", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("policy", sa.Text, nullable=False),
    sa.Column("needed", sa.Integer, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("changed_at", sa.Float, nullable=False),
    sa.Column("gate_run", sa.Text, nullable=False, index=True),
    sa.Column("evidence", sa.Text, nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("base", sa.Text, nullable=False),
    sa.Column("before", sa.Integer, nullable=False),
    sa.Column("deployments", sa.Text, nullable=False),
    sa.Column("watch", sa.Text, nullable=False),
    sa.Column("failure", sa.Text, nullable=False),
    sa.Column("finished_at", sa.Float, nullable=False),
    # The database itself keeps a second one out.
    sa.Index(
        "ix_promotion_under_way", "project", "environment", "name", unique=True,
        sqlite_where=sa.text("finished_at = 0"),
    ),
)  # fmt: skip

stage = sa.Table(
    "promotion_stage",
    metadata,
    sa.Column("promotion", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("percent", sa.Float, nullable=False),
    sa.Column("began_at", sa.Float, nullable=False),
    sa.Column("ended_at", sa.Float, nullable=False),
    sa.Column("watched_s", sa.Float, nullable=False),
    sa.Column("candidate", sa.Text, nullable=False),
    sa.Column("champion", sa.Text, nullable=False),
)

approval = sa.Table(
    "approval",
    metadata,
    sa.Column("promotion", sa.Text, primary_key=True),
    sa.Column("by", sa.Text, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("evidence", sa.Text, nullable=False),
    sa.Column("expires_at", sa.Float, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
)
_ROWS = Rows(Promotion, "policy", "deployments", "watch", "failure")
_STAGES = Rows(Stage, "candidate", "champion")


def add(tx: sa.Connection, made: Promotion) -> None:
    """Raises `Conflict` (PROMOTION_UNDER_WAY) while another one of the model is under way there."""
    if (other := under_way(tx, made.place, made.name)) is not None:
        raise Conflict(
            f"{other.by} is promoting {made.name}/{other.number} to {'/'.join(made.place)} (it is {other.state})",
            code="PROMOTION_UNDER_WAY", hint=f"bough promotions show {other.id}; bough promotions abort {other.id}",
            promotion=other.id,
        )  # fmt: skip
    tx.execute(promotion.insert(), _ROWS.row(made))
    tx.execute(stage.insert(), _STAGES.row(timeline.entered(made, 1)))
    wake(tx, KIND, made.id)


def get(tx: sa.Connection, id: str) -> Promotion:
    row = tx.execute(promotion.select().where(promotion.c.id == id)).first()
    if row is None:
        raise NotFound(f"there is no promotion {id!r}", code="PROMOTION_NOT_FOUND", hint="bough promotions list")
    return _ROWS.struct(row)


def stands(read: Promotion) -> Still:
    """Whether it is as it was read: nobody has ended it meanwhile, or begun it again."""
    return lambda tx: get(tx, read.id) == read


def under_way(tx: sa.Connection, place: Place, name: str) -> Promotion | None:
    same = promotion.c.project == place[0], promotion.c.environment == place[1], promotion.c.name == name
    row = tx.execute(promotion.select().where(*same, promotion.c.finished_at == 0)).first()
    return _ROWS.struct(row) if row else None


def of_gates(tx: sa.Connection, gate_run: str) -> list[str]:
    """Ids of the promotions that wait for a gate run."""
    waiting = promotion.c.gate_run == gate_run, promotion.c.finished_at == 0
    return list(tx.execute(sa.select(promotion.c.id).where(*waiting)).scalars())


def listed(tx: sa.Connection, project: str, environment: str = "", name: str = "", limit: int = 50) -> list[Promotion]:
    """Newest first."""
    query = promotion.select().where(promotion.c.project == project)
    for column, value in ((promotion.c.environment, environment), (promotion.c.name, name)):
        query = query.where(column == value) if value else query
    order = promotion.c.created_at.desc(), promotion.c.id.desc()
    return [_ROWS.struct(row) for row in tx.execute(query.order_by(*order).limit(limit))]


def unfinished(tx: sa.Connection, place: Place | None = None) -> list[Promotion]:
    query = promotion.select().where(promotion.c.finished_at == 0)
    if place is not None:
        query = query.where(promotion.c.project == place[0], promotion.c.environment == place[1])
    return [_ROWS.struct(row) for row in tx.execute(query)]


def change(tx: sa.Connection, id: str, now: float, **values: Any) -> Promotion:
    """`values` are fields of Promotion; an end sets when. Another state or step is another stage."""
    before = get(tx, id)
    if values.get("state") in ENDED:
        values["finished_at"] = now
    tx.execute(promotion.update().where(promotion.c.id == id).values(**_ROWS.columns(**values), changed_at=now))
    after = get(tx, id)
    if timeline.differs(before, after):
        _enter(tx, before, after)
    return after


def _enter(tx: sa.Connection, before: Promotion, after: Promotion) -> None:
    """Closes the stage that ends, with what was seen in it, and begins the next."""
    last = tx.execute(sa.select(sa.func.max(stage.c.number)).where(stage.c.promotion == after.id)).scalar() or 0
    seen = [msgspec.structs.replace(each, raw={}) for each in (before.watch.candidate, before.watch.champion)]
    ended = {
        "ended_at": after.changed_at, "watched_s": before.watch.watched_s, "candidate": seen[0], "champion": seen[1],
    }  # fmt: skip
    same = stage.c.promotion == after.id, stage.c.number == last
    tx.execute(stage.update().where(*same).values(**_STAGES.columns(**ended)))
    tx.execute(stage.insert(), _STAGES.row(timeline.entered(after, last + 1)))


def stages(tx: sa.Connection, id: str) -> list[Stage]:
    """Oldest first; none of a promotion that began before they were kept."""
    rows = tx.execute(stage.select().where(stage.c.promotion == id).order_by(stage.c.number))
    return [_STAGES.struct(row) for row in rows]


def approve(tx: sa.Connection, made: Approval) -> None:
    """In place of the one that the same person gave before."""
    same = approval.c.promotion == made.promotion, approval.c.by == made.by
    tx.execute(approval.delete().where(*same))
    tx.execute(approval.insert(), msgspec.structs.asdict(made))
    wake(tx, KIND, made.promotion)


def approvals(tx: sa.Connection, id: str) -> list[Approval]:
    """Oldest first."""
    rows = tx.execute(approval.select().where(approval.c.promotion == id).order_by(approval.c.at, approval.c.by))
    return [Approval(**row._mapping) for row in rows]
