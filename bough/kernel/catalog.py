"""The catalog of layers: what every environment sees, of every kind, and how it branches in O(1).

An environment writes into a layer of its own. A layer sees its parent only up to the parent's sequence number at the
moment of branching, so to branch is one row: nothing is frozen, nothing copied, and neither side sees what the other
writes afterwards. Everything that an environment has — files, tables, secrets, services, model pointers — is an entry
under (kind, key) and resolves through the same chain of layers, so a branch is atomic over all kinds.

    layer   a place to write; `parent`, and `at`: the last change of the parent that it shows
    shown   the layers that a layer shows, from itself up to the one without a parent; written when it is made
    change  one commit: a number that only grows, when, by whom, why. All entries of a transaction carry its number
    entry   what (kind, key) is in a layer from a change on; a value, or gone
    head    the name of an environment -> its layer
    tag     a name for a point
    point   a layer as it was at a change: any state that ever was can be named, read, compared and branched

Entries are never updated: a state that was committed stays readable until garbage collection finds that no head, no tag
and no younger layer can see it. Rejected: copying entries into the child (costs what the parent holds), freezing the
parent into a new layer at each branch (its chain grows with every branch), and wall-clock time as the order (clocks
go backwards; change numbers do not).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from bough.kernel.context import Principal, Role
from bough.kernel.errors import Conflict, Forbidden, Invalid, NotFound
from bough.kernel.prepared import Prepared
from bough.kernel.tables import metadata

# What may stand in a layer. A kind without a merger of its own (kernel/merging.py) conflicts by key.
FILE, TABLE, DATABASE, SERVICE, SECRET = "file", "table", "database", "service", "secret"
MODEL, FEATURE_VIEW = "model", "feature_view"
KINDS = (FILE, TABLE, DATABASE, SERVICE, SECRET, MODEL, FEATURE_VIEW)
LAST = 2**62  # later than any change
AT_ONCE = 500  # keys in one statement
_MOVED = "moved from layer "  # the reason of a change by nobody

layer = sa.Table(
    "layer",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("parent", sa.Integer, sa.ForeignKey("layer.id"), index=True),
    sa.Column("at", sa.Integer, nullable=False),
    sa.Column("sealed", sa.Text, nullable=False),  # kinds that it does not take from its parent, with commas around
)

# A layer's parent never changes, so the way up is walked once: a row for each layer above costs a branch some bytes;
# through twenty layers, the walk was most of a lookup's time.
shown = sa.Table(
    "shown",
    metadata,
    sa.Column("layer", sa.Integer, primary_key=True),
    sa.Column("depth", sa.Integer, primary_key=True),  # 0: the layer itself
    sa.Column("above", sa.Integer, nullable=False, index=True),  # whose entries it shows
    sa.Column("seq", sa.Integer, nullable=False),  # up to this change
    sa.Column("sealed", sa.Text, nullable=False),  # kinds that some layer on the way does not take from its parent
    sqlite_with_rowid=False,
)

change = sa.Table(
    "change",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("layer", sa.Integer, nullable=False, index=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sqlite_autoincrement=True,  # a number is never given twice, also when the newest changes were collected
)

# Clustered by its key: reading a layer, a kind or a prefix is one range.
entry = sa.Table(
    "entry",
    metadata,
    sa.Column("layer", sa.Integer, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("value", sa.Text),  # JSON; null: gone
    sqlite_with_rowid=False,
)

head = sa.Table(
    "head",
    metadata,
    sa.Column("project", sa.Text, primary_key=True),
    sa.Column("environment", sa.Text, primary_key=True),
    sa.Column("layer", sa.Integer, sa.ForeignKey("layer.id"), nullable=False),
    sa.Column("protected", sa.Boolean, nullable=False),
)

tag = sa.Table(
    "tag",
    metadata,
    sa.Column("project", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("environment", sa.Text, nullable=False),
    sa.Column("layer", sa.Integer, nullable=False),
    sa.Column("seq", sa.Integer, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
)


class Point(msgspec.Struct, frozen=True):
    """What `layer` shows up to the change `seq`."""

    layer: int
    seq: int = LAST


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """`value` is plain data, None when the entry is gone; `layer` and `seq` say where and when it was written."""

    kind: str
    key: str
    value: Any
    layer: int
    seq: int


class Write(msgspec.Struct, frozen=True):
    """A wish: (kind, key) becomes `value`, or goes when that is None."""

    kind: str
    key: str
    value: Any


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """One change, for people. `value` is what it made of the entry that was asked about."""

    seq: int
    at: float
    by: str
    why: str
    layer: int
    value: Any = None


# --- heads: environments by name


def open_head(
    tx: sa.Connection, project: str, environment: str, parent: Point | None, sealed: Sequence[str] = ()
) -> int:
    """Gives an environment a fresh layer on `parent` (None: empty), also in place of the one that it had."""
    made = new_layer(tx, parent, sealed)
    if tx.execute(head.update().where(*_is(project, environment)).values(layer=made)).rowcount == 0:
        values = {"project": project, "environment": environment, "layer": made, "protected": False}
        tx.execute(head.insert(), values)
    return made


def move_head(tx: sa.Connection, project: str, environment: str, onto: Point, at: float) -> int:
    """Puts an environment on a fresh layer over `onto`, sealed as before. A change without entries marks where it was:
    its earlier states can still be named."""
    old = layer_of(tx, project, environment)
    made = open_head(tx, project, environment, onto, sealed_kinds(tx, old))
    before = tx.execute(sa.select(change.c.at).order_by(change.c.seq.desc()).limit(1)).scalar() or 0.0
    tx.execute(change.insert().values(layer=made, at=max(at, before), by="", why=f"{_MOVED}{old}"))
    return made


def moves(tx: sa.Connection, after: int = 0) -> dict[int, Point]:
    """By layer: where its environment was until then, and up to which change; of the moves after the change `after`."""
    query = sa.select(change).where(change.c.by == "", change.c.why.like(f"{_MOVED}%"), change.c.seq > after)
    return {row.layer: Point(int(row.why.removeprefix(_MOVED)), row.seq - 1) for row in tx.execute(query)}


def layer_of(tx: sa.Connection, project: str, environment: str) -> int:
    """The layer of an environment; raises `NotFound` (ENVIRONMENT_NOT_FOUND)."""
    found = _LAYER_OF.first(tx, project=project, environment=environment)
    if found is None:
        raise NotFound(
            f"there is no {project}/{environment}",
            code="ENVIRONMENT_NOT_FOUND",
            hint=f"bough branch list --project {project}, or bough branch create {environment}",
        )
    return int(found.layer)


def environment_of(tx: sa.Connection, project: str, layer: int) -> str:
    """The environment that writes into a layer; empty when none does any more."""
    same = head.c.project == project, head.c.layer == layer
    return tx.execute(sa.select(head.c.environment).where(*same)).scalar() or ""


def writable_layer(tx: sa.Connection, project: str, environment: str, principal: Principal) -> int:
    """The same for a writer: a protected environment asks for an approver (ENVIRONMENT_PROTECTED)."""
    found = layer_of(tx, project, environment)
    if is_protected(tx, project, environment) and principal.role < Role.APPROVER:
        raise Forbidden(
            f"{project}/{environment} is protected, and {principal.name} is a {principal.role.name.lower()}",
            code="ENVIRONMENT_PROTECTED",
            hint="change it in a branch, and ask an approver to merge: bough branch create",
        )
    return found


def is_protected(tx: sa.Connection, project: str, environment: str) -> bool:
    return bool(tx.execute(sa.select(head.c.protected).where(*_is(project, environment))).scalar())


def protect(tx: sa.Connection, project: str, environment: str, protected: bool) -> None:
    tx.execute(head.update().where(*_is(project, environment)).values(protected=protected))


def sealed_kinds(tx: sa.Connection, of: int) -> tuple[str, ...]:
    """The kinds that a layer does not take from its parent."""
    text = tx.execute(sa.select(layer.c.sealed).where(layer.c.id == of)).scalar() or ""
    return tuple(filter(None, text.split(",")))


def close_head(tx: sa.Connection, project: str, environment: str) -> None:
    """Lets go of an environment's layer; garbage collection finds what only it could see."""
    tx.execute(head.delete().where(*_is(project, environment)))


def seal(tx: sa.Connection, of: int, kind: str, sealed: bool) -> None:
    """Seals a layer off from its parent for one kind, or opens it again."""
    found = tx.execute(sa.select(layer.c.sealed).where(layer.c.id == of)).scalar() or ""
    kinds = sorted({*filter(None, found.split(",")), kind} if sealed else {*filter(None, found.split(","))} - {kind})
    tx.execute(layer.update().where(layer.c.id == of).values(sealed=f",{','.join(kinds)}," if kinds else ""))
    below = sa.select(shown.c.layer, shown.c.depth).where(shown.c.above == of).order_by(shown.c.depth)
    for each in tx.execute(below).all():  # the nearest first: who is further down takes it from there
        _show_above(tx, each.layer)


# --- points


def new_layer(tx: sa.Connection, parent: Point | None, sealed: Sequence[str] = ()) -> int:
    """One row, and one for each layer above. `parent` at LAST means the parent as it is now."""
    at = 0 if parent is None else min(parent.seq, newest(tx))
    kinds = f",{','.join(sealed)}," if sealed else ""
    values = {"parent": None if parent is None else parent.layer, "at": at, "sealed": kinds}
    key = tx.execute(layer.insert(), values).inserted_primary_key
    assert key is not None  # noqa: S101 - an insert into a table with a key always has one
    tx.execute(shown.insert().values(layer=key[0], depth=0, above=key[0], seq=LAST, sealed=""))
    _show_above(tx, int(key[0]))
    return int(key[0])


def drop_layer(tx: sa.Connection, of: int) -> None:
    """Forgets a layer that nothing shows, with all that was written into it."""
    for table in (entry, change, shown):
        tx.execute(table.delete().where(table.c.layer == of))
    tx.execute(layer.delete().where(layer.c.id == of))


def cut_layer(tx: sa.Connection, of: int) -> None:
    """Takes a layer that nothing shows from its parent, for the sake of entries that must stay."""
    tx.execute(layer.update().where(layer.c.id == of).values(parent=None, at=0))
    _show_above(tx, of)


def newest(tx: sa.Connection) -> int:
    """The number of the last change of all."""
    return tx.execute(sa.select(sa.func.max(change.c.seq))).scalar() or 0


def at_of(tx: sa.Connection, seq: int) -> float:
    """When a change was made; 0 for one that is not there any more."""
    return tx.execute(sa.select(change.c.at).where(change.c.seq == seq)).scalar() or 0.0


def point(tx: sa.Connection, project: str, name: str, at: float | None = None) -> Point:
    """The state that `name` means: an environment as it is now, or was at the time `at`; else a tag. Raises `NotFound`
    (POINT_NOT_FOUND)."""
    found = tx.execute(sa.select(head.c.layer).where(*_is(project, name))).scalar()
    if found is not None:
        return Point(int(found), LAST if at is None else _seq_at(tx, at))
    row = tx.execute(tag.select().where(tag.c.project == project, tag.c.name == name)).first()
    if row is None:
        raise NotFound(
            f"{project} has neither an environment nor a tag {name!r}",
            code="POINT_NOT_FOUND",
            hint=f"bough branch list --project {project}; bough tags list --project {project}",
        )
    return Point(row.layer, row.seq)


def set_tag(tx: sa.Connection, project: str, name: str, environment: str, at: float, by: str) -> Point:
    """Names what the environment shows now. A tag never moves (TAG_EXISTS)."""
    made = Point(layer_of(tx, project, environment), newest(tx))
    if tx.execute(tag.select().where(tag.c.project == project, tag.c.name == name)).first():
        raise Conflict(f"{project} has a tag {name!r} already", code="TAG_EXISTS", hint="choose another name")
    if tx.execute(head.select().where(*_is(project, name))).first():
        raise Conflict(f"{name!r} is an environment of {project}", code="TAG_EXISTS", hint="choose another name")
    values = {"environment": environment, "layer": made.layer, "seq": made.seq, "at": at, "by": by}
    tx.execute(tag.insert().values(project=project, name=name, **values))
    return made


# --- reading


def get(tx: sa.Connection, at: Point, kind: str, key: str) -> Entry | None:
    """What (kind, key) is at a point; None when it is not there."""
    row = _GET.first(tx, start=at.layer, until=at.seq, kind=kind, key=key, sealed=f"%,{kind},%")
    if row is None or row.value is None:
        return None
    return Entry(kind=kind, key=key, value=msgspec.json.decode(row.value), layer=row.layer, seq=row.seq)


def items(tx: sa.Connection, at: Point, kind: str, prefix: str = "") -> list[Entry]:
    """Every entry of a kind at a point whose key begins with `prefix`, by key."""
    return [
        Entry(kind=kind, key=key, value=msgspec.json.decode(value), layer=of, seq=seq)
        for key, of, seq, value in asked(tx, _ITEMS, at, kind, prefix)
    ]


def asked(tx: sa.Connection, query: Prepared, at: Point, kind: str, prefix: str, **more: Any) -> Sequence[Any]:
    """Rows of a statement that is made of `ITEMS`, for who has too many entries to read them all."""
    values = {"start": at.layer, "until": at.seq, "kind": kind, "sealed": f"%,{kind},%"}
    return query.all(tx, **values, low=prefix, high=prefix + "\U0010ffff", **more)


def several(tx: sa.Connection, at: Point, kind: str, keys: Sequence[str]) -> dict[str, Entry]:
    """Those of these entries that are there at a point, by key; one statement for every AT_ONCE of them."""
    found: dict[str, Entry] = {}
    for start in range(0, len(keys), AT_ONCE):
        values = {"start": at.layer, "until": at.seq, "kind": kind, "sealed": f"%,{kind},%"}
        rows = tx.execute(_SEVERAL, {**values, "keys": list(keys[start : start + AT_ONCE])}).all()
        for key, of, seq, value in rows:  # all of them at once is half the time of one by one
            found[key] = Entry(kind=kind, key=key, value=msgspec.json.decode(value), layer=of, seq=seq)
    return found


def written(tx: sa.Connection, into: int, after: int = 0, until: int = LAST) -> set[tuple[str, str]]:
    """The (kind, key) that were written into one layer by the changes after `after` up to `until`."""
    query = sa.select(entry.c.kind, entry.c.key).where(entry.c.layer == into).distinct()
    if after or until < LAST:
        query = query.where(entry.c.seq > after, entry.c.seq <= until)
    return {(row.kind, row.key) for row in tx.execute(query)}


def chain(tx: sa.Connection, at: Point, kind: str = "") -> list[Point]:
    """The layers that a point shows (for `kind`: up to where that is sealed off), its own first, each with the last
    change that shows through."""
    values = {"start": at.layer, "until": at.seq, "sealed": f"%,{kind},%" if kind else "-"}
    return [Point(*row) for row in tx.execute(_CHAIN_QUERY, values)]


def history(tx: sa.Connection, at: Point, kind: str = "", key: str = "", limit: int = 100) -> list[Commit]:
    """The changes that a point shows, newest first; of one entry, or of all without `kind`."""
    found: list[Commit] = []
    for each in chain(tx, at, kind):
        joined = sa.join(change, entry, sa.and_(entry.c.layer == each.layer, entry.c.seq == change.c.seq))
        query = sa.select(change, entry.c.value if kind else sa.null().label("value"))
        query = query.select_from(joined if kind else change).where(
            change.c.layer == each.layer, change.c.seq <= each.seq
        )
        if kind:
            query = query.where(entry.c.kind == kind, entry.c.key == key)
        for row in tx.execute(query.order_by(change.c.seq.desc()).limit(limit - len(found))):
            value = msgspec.json.decode(row.value) if row.value is not None else None
            found.append(Commit(seq=row.seq, at=row.at, by=row.by, why=row.why, layer=row.layer, value=value))
        if len(found) >= limit:
            break
    return found


# --- writing


def commit(tx: sa.Connection, into: int, writes: Iterable[Write], *, at: float, by: str, why: str) -> int:
    """Writes all of it as one change and returns its number; nothing to write makes none and returns the newest."""
    rows = [
        {"kind": each.kind, "key": each.key, "value": None if each.value is None else _encode(each.value)}
        for each in writes
    ]
    if not rows:
        return newest(tx)
    if unknown := {row["kind"] for row in rows} - set(KINDS):
        raise Invalid(f"the catalog knows no {', '.join(sorted(map(str, unknown)))}", code="KIND_UNKNOWN")
    before = tx.execute(sa.select(change.c.at).order_by(change.c.seq.desc()).limit(1)).scalar() or 0.0
    # A clock that went backwards must not make a younger change look older: time travel by time would skip it.
    made = tx.execute(change.insert().values(layer=into, at=max(at, before), by=by, why=why)).inserted_primary_key
    assert made is not None  # noqa: S101 - as above
    tx.execute(entry.insert(), [{"layer": into, "seq": made[0], **row} for row in rows])
    return int(made[0])


def rewrite(tx: sa.Connection, kind: str, changed: Callable[[str, Any], Any]) -> int:
    """Replaces the values of a kind wherever they stand, also in the past; `changed(key, value)` gives the new one.
    Only for what means the same as before, such as a secret sealed anew. Returns how many there were."""
    rows = tx.execute(entry.select().where(entry.c.kind == kind, entry.c.value.is_not(None))).all()
    for row in rows:
        same = entry.c.layer == row.layer, entry.c.kind == kind, entry.c.key == row.key, entry.c.seq == row.seq
        value = _encode(changed(row.key, msgspec.json.decode(row.value)))
        tx.execute(entry.update().where(*same).values(value=value))
    return len(rows)


def _is(project: Any, environment: Any) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return head.c.project == project, head.c.environment == environment


def _seq_at(tx: sa.Connection, at: float) -> int:
    return tx.execute(sa.select(sa.func.max(change.c.seq)).where(change.c.at <= at)).scalar() or 0


def _encode(value: Any) -> str:
    """Equal values have equal texts."""
    return msgspec.json.encode(value, order="sorted").decode()


def _show_above(tx: sa.Connection, of: int) -> None:
    """Writes down anew what a layer shows of those above, from what its parent shows."""
    tx.execute(shown.delete().where(shown.c.layer == of, shown.c.depth > 0))
    seen = _least(shown.c.seq, layer.c.at)
    rows = sa.select(layer.c.id, shown.c.depth + 1, shown.c.above, seen, layer.c.sealed + shown.c.sealed)
    rows = rows.join(shown, shown.c.layer == layer.c.parent).where(layer.c.id == of)
    tx.execute(shown.insert().from_select(["layer", "depth", "above", "seq", "sealed"], rows))


def _least(one: sa.ColumnElement[int], other: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    return sa.case((one < other, one), else_=other)


# A layer shows the newest entry of the nearest layer above that has one. Statements are built once.

_UNTIL = _least(shown.c.seq, sa.bindparam("until", type_=sa.Integer))
_SHOWN = (
    shown.c.layer == sa.bindparam("start", type_=sa.Integer),
    shown.c.sealed.not_like(sa.bindparam("sealed", type_=sa.Text)),
)


def _inside(*which: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    kind = entry.c.kind == sa.bindparam("kind", type_=sa.Text)
    return sa.and_(entry.c.layer == shown.c.above, kind, *which, entry.c.seq <= _UNTIL)


def _get() -> sa.Select[Any]:
    inside = _inside(entry.c.key == sa.bindparam("key", type_=sa.Text))
    found = sa.select(entry.c.layer, entry.c.seq, entry.c.value).join(shown, inside).where(*_SHOWN)
    return found.order_by(shown.c.depth, entry.c.seq.desc()).limit(1)


def _items() -> sa.Select[Any]:
    return _newest(
        entry.c.key >= sa.bindparam("low", type_=sa.Text),
        entry.c.key < sa.bindparam("high", type_=sa.Text),
    )


def _several() -> sa.Select[Any]:
    return _newest(entry.c.key.in_(sa.bindparam("keys", expanding=True, type_=sa.Text)))


def _newest(*which: sa.ColumnElement[bool]) -> sa.Select[Any]:
    order = sa.func.row_number().over(partition_by=entry.c.key, order_by=(shown.c.depth, entry.c.seq.desc()))
    ranked = sa.select(entry, order.label("rank")).join(shown, _inside(*which)).where(*_SHOWN).subquery()
    wanted = ranked.c.rank == 1, ranked.c.value.is_not(None)
    return sa.select(ranked.c.key, ranked.c.layer, ranked.c.seq, ranked.c.value).where(*wanted).order_by(ranked.c.key)


def _chain_query() -> sa.Select[Any]:
    return sa.select(shown.c.above, _UNTIL.label("seq")).where(*_SHOWN).order_by(shown.c.depth)


_LAYER_OF = Prepared(sa.select(head.c.layer).where(*_is(sa.bindparam("project"), sa.bindparam("environment"))))
_SEVERAL, _CHAIN_QUERY = _several(), _chain_query()
ITEMS = _items()  # key, layer, seq and value (JSON) of entries
_GET, _ITEMS = Prepared(_get()), Prepared(ITEMS)
