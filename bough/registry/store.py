"""Models in the catalog, and what never changes of their versions in tables: how it is kept, and how it is read.

    NAME                  {description, tags, created_at, updated_at, by}
    NAME/versions/NUMBER  {id, digest, description, tags, stage, updated_at}: what may change, and the row's id
    NAME/aliases/ALIAS    {version}

An entry is what an environment sees; the row behind it is the same for all of them, is never updated, and stays when
the last entry is gone, for whoever asks later what served then. Numbers are counted outside of layers: two branches
never give the same one to different files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from bough.kernel import catalog
from bough.kernel.catalog import MODEL, Point
from bough.kernel.errors import NotFound
from bough.kernel.model_references import ModelReference, parse
from bough.kernel.prepared import Prepared
from bough.kernel.tables import metadata
from bough.registry import rules
from bough.registry.models import Facts, Model, ModelSignature, Place, SignedBy, Version

registered_model = sa.Table(
    "registered_model",
    metadata,
    sa.Column("project", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("last", sa.Integer, nullable=False),  # number that was given
)

model_version = sa.Table(
    "model_version",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),  # then; a model may be renamed
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("digest", sa.Text, nullable=False, index=True),
    sa.Column("files", sa.Integer, nullable=False),
    sa.Column("bytes", sa.Integer, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("environment", sa.Text, nullable=False),
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("details", sa.Text, nullable=False),  # JSON: signature, facts, card
    sa.UniqueConstraint("project", "name", "number"),
    sa.Index("ix_model_version_run", "project", "run"),
)

model_signed = sa.Table(
    "model_signed",
    metadata,
    sa.Column("version", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("signer", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("bundle", sa.Text, nullable=False),  # digest of a blob
)


model_attachment = sa.Table(
    "model_attachment",
    metadata,
    sa.Column("version", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),  # explanation
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("content", sa.Text, nullable=False),  # JSON
)


class Details(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    signature: ModelSignature | None = None
    facts: Facts = Facts()
    card: str = ""


class _FactsAlone(msgspec.Struct, frozen=True, kw_only=True):
    facts: Facts = Facts()


_read_facts = msgspec.json.Decoder(_FactsAlone).decode
_read_details = msgspec.json.Decoder(Details).decode
_IDS: sa.BindParameter[Any] = sa.bindparam("ids", expanding=True)
_VERSIONS = model_version.select().where(model_version.c.id.in_(_IDS))
_SIGNED = model_signed.select().where(model_signed.c.version.in_(_IDS)).order_by("at")
_ID = sa.bindparam("id", type_=sa.Text)
_ONE_VERSION = Prepared(model_version.select().where(model_version.c.id == _ID))
_ONE_SIGNED = Prepared(model_signed.select().where(model_signed.c.version == _ID).order_by("at"))
_SEEN = catalog.ITEMS.subquery()
_NUMBER = sa.cast(sa.func.substr(_SEEN.c.key, sa.bindparam("start_of_number", type_=sa.Integer)), sa.Integer)
_STAGE = sa.func.json_extract(_SEEN.c.value, "$.stage")
_NEWEST_BY_STAGE = Prepared(sa.select(sa.func.max(_NUMBER).label("number")).group_by(_STAGE))
_BY_CHANGE = Prepared(
    sa.select(_NUMBER.label("number"), _SEEN.c.value)
    .order_by(sa.func.json_extract(_SEEN.c.value, "$.updated_at").desc(), _NUMBER.desc())
    .limit(sa.bindparam("limit", type_=sa.Integer)).offset(sa.bindparam("skip", type_=sa.Integer))
)  # fmt: skip


def point_of(tx: sa.Connection, place: Place) -> Point:
    return Point(catalog.layer_of(tx, *place))


def model(tx: sa.Connection, place: Place, name: str) -> Model:
    """Raises `NotFound` (MODEL_NOT_FOUND)."""
    at = point_of(tx, place)
    found = catalog.get(tx, at, MODEL, rules.key_of(name))
    if found is None:
        raise missing(place, name)
    newest = next(iter(_entries(tx, at, place, name, limit=1)), (0, None))[0]
    return _model(name, found.value, newest, _aliases(tx, at, name))


def models(tx: sa.Connection, place: Place, *, limit: int, after: str = "") -> list[Model]:
    """By name, those after the name `after`."""
    at, counter, found = point_of(tx, place), registered_model, list[Model]()
    while len(found) < limit:
        query = sa.select(counter.c.name).where(counter.c.project == place[0], counter.c.name > after)
        names = list(tx.execute(query.order_by(counter.c.name).limit(catalog.AT_ONCE)).scalars())
        if not names:
            break
        there = catalog.several(tx, at, MODEL, [rules.key_of(name) for name in names])
        for name in names:
            if (entry := there.get(rules.key_of(name))) is not None and len(found) < limit:
                newest = next(iter(_entries(tx, at, place, name, limit=1)), (0, None))[0]
                found.append(_model(name, entry.value, newest, _aliases(tx, at, name)))
        after = names[-1]
    return found


def version(tx: sa.Connection, place: Place, name: str, number: int) -> Version:
    """Raises `NotFound` (MODEL_VERSION_NOT_FOUND)."""
    return _version_at(tx, point_of(tx, place), place, name, number)


def _version_at(tx: sa.Connection, at: Point, place: Place, name: str, number: int) -> Version:
    found = catalog.get(tx, at, MODEL, rules.version_key(name, number))
    if found is None:
        raise NotFound(
            f"{'/'.join(place)} has no version {number} of the model {name!r}",
            code="MODEL_VERSION_NOT_FOUND", hint=f"bough models versions {name!r} -e {place[1]}",
        )  # fmt: skip
    return _versions(tx, [(name, number, found.value)], {name: _aliases(tx, at, name)})[0]


def versions(
    tx: sa.Connection, place: Place, name: str, *, limit: int, before: int = 0, among: Sequence[int] | None = None
) -> list[Version]:
    """Newest first; `before`: only those with a lower number; `among`: only these numbers, the highest first."""
    at = point_of(tx, place)
    entries = list(_entries(tx, at, place, name, limit=limit, before=before, among=among))
    aliases = {name: _aliases(tx, at, name)} if entries else {}
    return _versions(tx, [(name, number, value) for number, value in entries], aliases)


def latest(tx: sa.Connection, place: Place, name: str) -> list[Version]:
    """The newest of each stage, the highest number first."""
    at, start = point_of(tx, place), rules.version_key(name, 0)[:-1]
    rows = catalog.asked(tx, _NEWEST_BY_STAGE, at, MODEL, start, start_of_number=len(start) + 1)
    keys = {rules.version_key(name, row.number): row.number for row in rows}
    there = catalog.several(tx, at, MODEL, list(keys))
    seen = sorted(((name, keys[key], entry.value) for key, entry in there.items()), key=lambda each: -each[1])
    return _versions(tx, seen, {name: _aliases(tx, at, name)} if seen else {})


def by_change(tx: sa.Connection, place: Place, name: str, *, limit: int, skip: int = 0) -> list[Version]:
    """Those described, staged or registered last come first."""
    at, start = point_of(tx, place), rules.version_key(name, 0)[:-1]
    page = {"start_of_number": len(start) + 1, "limit": limit, "skip": skip}
    rows = catalog.asked(tx, _BY_CHANGE, at, MODEL, start, **page)
    seen = [(name, int(row.number), msgspec.json.decode(row.value)) for row in rows]
    return _versions(tx, seen, {name: _aliases(tx, at, name)} if seen else {})


def numbers_with(tx: sa.Connection, project: str, facts: Sequence[rules.Fact]) -> list[int]:
    """Numbers that some version of a project has which meets all of these, the highest first. A model may be renamed,
    its versions keep their numbers: who has one of these under a name of now is asked again."""
    row, met = model_version, [model_version.c.project == project]
    for each in facts:
        compared = rules.SIGNS[each.sign]
        if each.field == "run":
            met.append(compared(row.c.run, each.value))
        else:
            said = sa.func.json_each(row.c.details, f"$.facts.{each.field}s").table_valued("key", "value")
            met.append(sa.exists().where(said.c.key == each.key, compared(said.c.value, each.value)))
    return list(tx.execute(sa.select(row.c.number).where(*met).distinct().order_by(row.c.number.desc())).scalars())


def resolve(tx: sa.Connection, place: Place, reference: str | ModelReference) -> Version:
    """The version that `NAME@ALIAS` or `NAME/NUMBER` means here. Raises `NotFound` (MODEL_NOT_FOUND,
    MODEL_ALIAS_NOT_FOUND, MODEL_VERSION_NOT_FOUND)."""
    meant = parse(reference) if isinstance(reference, str) else reference
    if not meant.alias:
        return version(tx, place, meant.name, meant.number)
    at = point_of(tx, place)
    found = catalog.get(tx, at, MODEL, rules.alias_key(meant.name, meant.alias))
    if found is None:
        known = sorted(aliases(tx, place, meant.name))
        said = f"it has {', '.join(known)}" if known else "it has no alias at all"
        raise NotFound(
            f"{'/'.join(place)} has no model {meant.name!r} with the alias {meant.alias!r}; {said}",
            code="MODEL_ALIAS_NOT_FOUND", hint=f"bough models alias {meant.name!r} {meant.alias} NUMBER -e {place[1]}",
        )  # fmt: skip
    return _version_at(tx, at, place, meant.name, int(found.value["version"]))


def aliases(tx: sa.Connection, place: Place, name: str) -> dict[str, int]:
    return _aliases(tx, point_of(tx, place), name)


def by_id(tx: sa.Connection, id: str) -> Version:
    """As it was registered, whatever environments made of it since. Raises `NotFound` (MODEL_VERSION_NOT_FOUND)."""
    row = tx.execute(model_version.select().where(model_version.c.id == id)).first()
    if row is None:
        raise NotFound(f"there is no model version {id}", code="MODEL_VERSION_NOT_FOUND", hint="bough models list")
    return _versions(tx, [(row.name, row.number, {"id": id})], {})[0]


def by_ids(tx: sa.Connection, ids: Sequence[str]) -> list[Version]:
    """As `by_id`, those that there are."""
    row, seen = model_version, list[tuple[str, int, Any]]()
    for start in range(0, len(ids), catalog.AT_ONCE):
        query = sa.select(row.c.name, row.c.number, row.c.id).where(row.c.id.in_(ids[start : start + catalog.AT_ONCE]))
        seen += [(each.name, each.number, {"id": each.id}) for each in tx.execute(query)]
    return _versions(tx, seen, {})


def of_runs(tx: sa.Connection, place: Place, runs: Sequence[str]) -> list[Version]:
    """Those that came from these runs, newest first, as an environment sees them."""
    at, row = point_of(tx, place), model_version
    query = sa.select(row.c.name, row.c.number).where(row.c.project == place[0], row.c.run.in_(list(runs)))
    made = [(each.name, each.number) for each in tx.execute(query.order_by(row.c.created_at.desc()))]
    there = catalog.several(tx, at, MODEL, [rules.version_key(*each) for each in made])
    seen = [(*each, there[key].value) for each in made if (key := rules.version_key(*each)) in there]
    return _versions(tx, seen, {name: _aliases(tx, at, name) for name in {each[0] for each in seen}})


def facts_of_all(tx: sa.Connection, project: str) -> Iterator[tuple[str, Facts]]:
    """Id and facts of every version of a project, whatever became of it in environments, newest first."""
    row = model_version
    query = sa.select(row.c.id, row.c.details).where(row.c.project == project).order_by(row.c.created_at.desc())
    for id, details in tx.execute(query):
        yield id, _read_facts(details).facts


def id_of(tx: sa.Connection, project: str, name: str, number: int) -> str:
    """The version that was registered as this; empty: none was."""
    row = model_version
    same = row.c.project == project, row.c.name == name, row.c.number == number
    return str(tx.execute(sa.select(row.c.id).where(*same)).scalar() or "")


def names_now(tx: sa.Connection, place: Place, versions: Sequence[Version]) -> dict[str, str]:
    """As `name_now`, by id: all that were not renamed in one statement for every AT_ONCE."""
    keys = {rules.version_key(each.name, each.number): each for each in versions}
    there = catalog.several(tx, point_of(tx, place), MODEL, list(keys))
    same = {
        each.id: each.name for key, each in keys.items() if key in there and there[key].value["id"] == each.id
    }  # fmt: skip
    return {each.id: same.get(each.id) or name_now(tx, place, each) for each in versions}


def name_now(tx: sa.Connection, place: Place, version: Version) -> str:
    """What an environment calls the model of a version now; as it was registered when that is not seen there."""
    at, counter = point_of(tx, place), registered_model
    own = catalog.get(tx, at, MODEL, rules.version_key(version.name, version.number))
    if own is not None and own.value["id"] == version.id:  # most are not renamed
        return version.name
    names = list(tx.execute(sa.select(counter.c.name).where(counter.c.project == place[0])).scalars())
    for start in range(0, len(names), catalog.AT_ONCE):
        keys = {rules.version_key(name, version.number): name for name in names[start : start + catalog.AT_ONCE]}
        for key, entry in catalog.several(tx, at, MODEL, list(keys)).items():
            if entry.value["id"] == version.id:
                return str(keys[key])
    return version.name


def used(tx: sa.Connection) -> Iterator[tuple[str, bool]]:
    """Digests of blobs that versions use which any environment, any kept history or the audit can still name; True for
    lists of files, whose files are used as well."""
    key = sa.literal("%/versions/%")
    entries = sa.select(catalog.entry.c.value).where(
        catalog.entry.c.kind == MODEL, catalog.entry.c.key.like(key), catalog.entry.c.value.is_not(None)
    )
    ids = {msgspec.json.decode(value)["id"] for value in tx.execute(entries).scalars()}
    for row in tx.execute(sa.select(model_version.c.id, model_version.c.digest)):
        if row.id in ids:
            yield row.digest, True
    for bundle in tx.execute(sa.select(model_signed.c.bundle)).scalars():
        yield bundle, False


def clashes(tx: sa.Connection, place: Place, name: str, to: str) -> bool:
    """Whether a number of the model `name` was given under the name `to` to other files."""
    at = point_of(tx, place)
    start = f"{rules.key_of(name)}/versions/"
    mine = {int(each.key[len(start) :]): each.value["id"] for each in catalog.items(tx, at, MODEL, start)}
    row = model_version
    given = sa.select(row.c.number, row.c.id).where(row.c.project == place[0], row.c.name == to)
    return any(mine.get(each.number, each.id) != each.id for each in tx.execute(given))


def attached(tx: sa.Connection, version: str, kind: str) -> Any:
    """None when there is nothing."""
    same = model_attachment.c.version == version, model_attachment.c.kind == kind
    text = tx.execute(sa.select(model_attachment.c.content).where(*same)).scalar()
    return None if text is None else msgspec.json.decode(text)


def missing(place: Place, name: str) -> NotFound:
    hint = f"bough models list -e {place[1]}, or bough models register {name!r} FOLDER"
    if name.rpartition("/")[2].isdecimal():
        hint = f"bough models resolve {name!r} -e {place[1]}, which shows a version"
    return NotFound(f"{'/'.join(place)} has no model {name!r}", code="MODEL_NOT_FOUND", hint=hint)


def _aliases(tx: sa.Connection, at: Point, name: str) -> dict[str, int]:
    start = rules.aliases_of(name)
    return {each.key[len(start) :]: int(each.value["version"]) for each in catalog.items(tx, at, MODEL, start)}


def _entries(
    tx: sa.Connection, at: Point, place: Place, name: str, *, limit: int, before: int = 0,
    among: Sequence[int] | None = None,
) -> Iterator[tuple[int, Any]]:  # fmt: skip
    """Numbers and values of versions, the highest first; looks at a few more keys than `limit`, not at all of them."""
    counter = registered_model
    last = tx.execute(sa.select(counter.c.last).where(counter.c.project == place[0], counter.c.name == name)).scalar()
    high = min(before - 1, last or 0) if before else last or 0
    numbers = range(high, 0, -1) if among is None else [each for each in among if each <= high]
    start, step, found = 0, min(limit, catalog.AT_ONCE), 0
    while start < len(numbers) and found < limit:
        part = numbers[start : start + step]
        there = catalog.several(tx, at, MODEL, [rules.version_key(name, number) for number in part])
        for number in part:
            if (entry := there.get(rules.version_key(name, number))) is not None and found < limit:
                found += 1
                yield number, entry.value
        start, step = start + step, catalog.AT_ONCE


def _model(name: str, value: dict[str, Any], newest: int, aliases: dict[str, int]) -> Model:
    return msgspec.convert({**value, "name": name, "newest": newest, "aliases": aliases}, Model)


def _versions(tx: sa.Connection, seen: list[tuple[str, int, Any]], aliases: dict[str, dict[str, int]]) -> list[Version]:
    """Rows behind entries (name, number, value), in that order; two statements for every AT_ONCE."""
    rows: dict[str, Any] = {}
    signed: dict[str, list[SignedBy]] = {}
    ids = [value["id"] for _, _, value in seen]
    for start in range(0, len(ids), catalog.AT_ONCE):
        part = ids[start : start + catalog.AT_ONCE]
        found: Sequence[Any]
        by_whom: Sequence[Any]
        if len(part) == 1:
            found, by_whom = _ONE_VERSION.all(tx, id=part[0]), _ONE_SIGNED.all(tx, id=part[0])
        else:
            found, by_whom = tx.execute(_VERSIONS, {"ids": part}).all(), tx.execute(_SIGNED, {"ids": part}).all()
        rows |= {row.id: row for row in found}
        for row in by_whom:
            by = SignedBy(key=row.key, signer=row.signer, at=row.at, by=row.by, bundle=row.bundle)
            signed.setdefault(row.version, []).append(by)
    return [
        _version(name, number, value, rows[value["id"]], aliases.get(name, {}), signed.get(value["id"], []))
        for name, number, value in seen
    ]


def _version(name: str, number: int, value: Any, row: Any, aliases: dict[str, int], signed: list[SignedBy]) -> Version:
    details = _read_details(row.details)
    return Version(
        id=row.id, name=name, number=number, digest=row.digest, files=row.files, bytes=row.bytes,
        created_at=row.created_at, updated_at=value.get("updated_at", row.created_at), by=row.by,
        environment=row.environment, source=row.source, description=value.get("description", ""),
        tags=value.get("tags", {}), stage=value.get("stage", "None"),
        aliases=sorted(alias for alias, of in aliases.items() if of == number), signature=details.signature,
        facts=details.facts, card=details.card, signed=signed,
    )  # fmt: skip
