"""Files and tags as rows of the catalog."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from bough.data.models import File, FileChange, Tag
from bough.data.rules import file_of
from bough.kernel import catalog
from bough.kernel.catalog import FILE, Point

MANY = 500  # from here on it is cheaper to read a whole dataset than to ask for every path
_END = "\U0010ffff"


def files(tx: sa.Connection, at: Point, key: str) -> list[File]:
    """The file `key` or all files below it, by key; whole keys as paths. An empty key means everything."""
    if key and (found := catalog.get(tx, at, FILE, key)):
        return [file_of(key, found.value)]
    return [file_of(each.key, each.value) for each in catalog.items(tx, at, FILE, f"{key}/" if key else "")]


def existing(tx: sa.Connection, at: Point, dataset: str, paths: list[str]) -> dict[str, File]:
    """Those of these files that are there; more of the dataset when many are asked for."""
    if len(paths) > MANY:
        start = len(dataset) + 1
        return {each.key[start:]: file_of(each.key[start:], each.value) for each in _all(tx, at, dataset)}
    found = {path: catalog.get(tx, at, FILE, f"{dataset}/{path}") for path in paths}
    return {path: file_of(path, each.value) for path, each in found.items() if each}


def below(tx: sa.Connection, at: Point, dataset: str, path: str) -> set[str]:
    """The files in a folder of a dataset."""
    start = len(dataset) + 1
    return {each.key[start:] for each in catalog.items(tx, at, FILE, f"{dataset}/{path}/")}


def written_since(tx: sa.Connection, layer: int, dataset: str, seq: int) -> set[str] | None:
    """The files of a dataset that were written or removed after the change `seq`; None when the environment has been
    merged or reset since, after which nothing compares."""
    if layer in catalog.moves(tx, seq):
        return None
    found: set[str] = set()
    for each in catalog.chain(tx, Point(layer), FILE):
        found.update(key for kind, key in catalog.written(tx, each.layer, seq, each.seq) if kind == FILE)
    return {key[len(dataset) + 1 :] for key in found if key.startswith(f"{dataset}/")}


def history(tx: sa.Connection, at: Point, key: str, limit: int) -> list[FileChange]:
    """The changes that a point shows of one file, or of all below `key`, newest first."""
    found: list[FileChange] = []
    entry, change = catalog.entry, catalog.change
    below = sa.and_(entry.c.key >= f"{key}/", entry.c.key < f"{key}/{_END}")
    wanted = sa.or_(entry.c.key == key, below) if key else sa.true()
    for each in catalog.chain(tx, at):
        gone = sa.func.sum(sa.case((entry.c.value.is_(None), 1), else_=0))
        one = sa.func.max(sa.case((entry.c.key == key, entry.c.value), else_=None))
        query = (
            sa.select(change, sa.func.count().label("all"), gone.label("gone"), one.label("value"))
            .join(entry, sa.and_(entry.c.layer == change.c.layer, entry.c.seq == change.c.seq))
            .where(change.c.layer == each.layer, change.c.seq <= each.seq, entry.c.kind == FILE, wanted)
            .group_by(change.c.seq)
            .order_by(change.c.seq.desc())
            .limit(limit - len(found))
        )
        found += [_change(row) for row in tx.execute(query)]
        if len(found) >= limit:
            break
    return found


def tags(tx: sa.Connection, project: str) -> list[Tag]:
    """By age, the newest first."""
    tag = catalog.tag
    rows = tx.execute(tag.select().where(tag.c.project == project).order_by(tag.c.at.desc(), tag.c.name))
    return [_tag(row) for row in rows]


def delete_tag(tx: sa.Connection, project: str, name: str) -> bool:
    tag = catalog.tag
    return tx.execute(tag.delete().where(tag.c.project == project, tag.c.name == name)).rowcount > 0


def _all(tx: sa.Connection, at: Point, dataset: str) -> list[catalog.Entry]:
    return catalog.items(tx, at, FILE, f"{dataset}/")


def _change(row: sa.Row[tuple[object, ...]]) -> FileChange:
    digest = msgspec.json.decode(row.value)["digest"] if row.value else ""
    return FileChange(
        change=row.seq, changed_at=row.at, by=row.by, why=row.why, written=row.all - row.gone, removed=row.gone,
        digest=digest,
    )  # fmt: skip


def _tag(row: sa.Row[tuple[object, ...]]) -> Tag:
    return Tag(name=row.name, environment=row.environment, change=row.seq, created_at=row.at, by=row.by)
