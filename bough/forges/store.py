"""Tables of forges."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from bough.forges.models import ForgeDelivery, ForgeLink, Preview
from bough.kernel.errors import NotFound
from bough.kernel.rows import Rows
from bough.kernel.tables import metadata

KEPT_S = 30 * 86_400.0  # deliveries are known for so long

forge_link = sa.Table(
    "forge_link",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("repository", sa.Text, nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("secret", sa.Text, nullable=False),
    sa.Column("token", sa.Text, nullable=False),
    sa.Column("forks", sa.Text, nullable=False),
    sa.Column("branches", sa.Text, nullable=False),  # JSON
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)

preview = sa.Table(
    "preview",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("link", sa.Text, nullable=False),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("branch", sa.Text, nullable=False),
    sa.Column("commit", sa.Text, nullable=False),
    sa.Column("base", sa.Text, nullable=False),
    sa.Column("fork", sa.Boolean, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("open", sa.Boolean, nullable=False),
    sa.Column("seen_at", sa.Float, nullable=False),
    sa.Column("changed_at", sa.Float, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("environment", sa.Text, nullable=False),
    sa.Column("deployed", sa.Text, nullable=False),
    sa.Column("release", sa.Integer, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("allowed", sa.Text, nullable=False),
    sa.Column("comment", sa.Text, nullable=False),
    sa.Column("shown", sa.Text, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Index("ix_preview_link", "link", "number"),
    sa.Index("ix_preview_project", "project", "changed_at"),
)

forge_delivery = sa.Table(
    "forge_delivery",
    metadata,
    sa.Column("link", sa.Text, primary_key=True),
    sa.Column("delivery", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("about", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Index("ix_forge_delivery_at", "link", "at"),
)

_LINKS, _PREVIEWS, _DELIVERIES = Rows(ForgeLink, "branches"), Rows(Preview), Rows(ForgeDelivery)


def add(tx: sa.Connection, link: ForgeLink) -> None:
    tx.execute(forge_link.insert().values(**_LINKS.row(link)))


def link(tx: sa.Connection, id: str) -> ForgeLink | None:
    row = tx.execute(forge_link.select().where(forge_link.c.id == id)).first()
    return _LINKS.struct(row) if row is not None else None


def links(tx: sa.Connection, project: str = "") -> list[ForgeLink]:
    query = forge_link.select().order_by(forge_link.c.id)
    return [
        _LINKS.struct(row) for row in tx.execute(query.where(forge_link.c.project == project) if project else query)
    ]


def remove(tx: sa.Connection, id: str) -> None:
    for table, column in ((forge_link, "id"), (preview, "link"), (forge_delivery, "link")):
        tx.execute(table.delete().where(table.c[column] == id))


def find(tx: sa.Connection, link: str, number: int, branch: str) -> Preview | None:
    """That of a pull request, or, with number 0, of a branch."""
    query = preview.select().where(preview.c.link == link, preview.c.number == number)
    row = tx.execute(query if number else query.where(preview.c.branch == branch)).first()
    return _PREVIEWS.struct(row) if row is not None else None


def by_id(tx: sa.Connection, id: str) -> Preview | None:
    row = tx.execute(preview.select().where(preview.c.id == id)).first()
    return _PREVIEWS.struct(row) if row is not None else None


def numbered(tx: sa.Connection, project: str, number: int) -> Preview:
    """Raises `NotFound` (PREVIEW_NOT_FOUND)."""
    query = preview.select().where(preview.c.project == project, preview.c.number == number)
    row = tx.execute(query.order_by(preview.c.changed_at.desc())).first()
    if row is None:
        raise NotFound(f"{project} has no preview of a pull request {number}", code="PREVIEW_NOT_FOUND",
                       hint="bough previews list")  # fmt: skip
    return _PREVIEWS.struct(row)


def previews(tx: sa.Connection, project: str, limit: int, *, closed: bool = False) -> list[Preview]:
    query = preview.select().where(preview.c.project == project).order_by(preview.c.changed_at.desc()).limit(limit)
    return [_PREVIEWS.struct(row) for row in tx.execute(query if closed else query.where(preview.c.state != "closed"))]


def unfinished(tx: sa.Connection) -> list[str]:
    """Ids of those that are not closed: at a start each is looked at once."""
    return list(tx.execute(sa.select(preview.c.id).where(preview.c.state != "closed")).scalars())


def same_branch(tx: sa.Connection, of: Preview) -> bool:
    """Whether another open pull request, or a push that is followed, has the same branch."""
    query = sa.select(preview.c.id).where(
        preview.c.project == of.project, preview.c.branch == of.branch, preview.c.id != of.id, preview.c.open
    )
    return tx.execute(query.limit(1)).first() is not None


def put(tx: sa.Connection, made: Preview) -> None:
    if tx.execute(preview.update().where(preview.c.id == made.id).values(**_PREVIEWS.row(made))).rowcount == 0:
        tx.execute(preview.insert().values(**_PREVIEWS.row(made)))


def change(tx: sa.Connection, id: str, **values: Any) -> None:
    tx.execute(preview.update().where(preview.c.id == id).values(**_PREVIEWS.columns(**values)))


def known(tx: sa.Connection, link: str, delivery: str) -> bool:
    query = sa.select(forge_delivery.c.at).where(forge_delivery.c.link == link, forge_delivery.c.delivery == delivery)
    return tx.execute(query).first() is not None


def record(tx: sa.Connection, made: ForgeDelivery) -> None:
    tx.execute(forge_delivery.insert().values(**_DELIVERIES.row(made)))
    old = sa.and_(forge_delivery.c.link == made.link, forge_delivery.c.at < made.at - KEPT_S)
    tx.execute(forge_delivery.delete().where(old))


def deliveries(tx: sa.Connection, link: str, limit: int) -> list[ForgeDelivery]:
    query = forge_delivery.select().where(forge_delivery.c.link == link)
    found = tx.execute(query.order_by(forge_delivery.c.at.desc()).limit(limit))
    return [_DELIVERIES.struct(row) for row in found]
