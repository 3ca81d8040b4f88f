"""What changes of models, as environments see them, and of what is kept beside their versions; `store` says how."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from bough.kernel import catalog
from bough.kernel.catalog import MODEL, Point, Write
from bough.kernel.context import Context
from bough.kernel.errors import Conflict
from bough.kernel.model_references import check_alias
from bough.kernel.names import new_id
from bough.registry import rules, store
from bough.registry.models import Draft, Place, SignedBy, Version

REGISTERED, ALIAS_SET = "model.registered", "model.alias_set"  # events; data: project, environment, name, version, …


def ensure_model(
    context: Context, place: Place, name: str, *, description: str = "", tags: dict[str, str] | None = None
) -> bool:
    """Makes a model without versions unless it is there; says whether it did."""
    tx, key = context.tx, rules.key_of(name)
    layer = catalog.writable_layer(tx, *place, context.principal)
    if catalog.get(tx, Point(layer), MODEL, key) is not None:
        return False
    counter = store.registered_model
    same = counter.c.project == place[0], counter.c.name == name
    if tx.execute(counter.select().where(*same)).first() is None:
        tx.execute(counter.insert().values(project=place[0], name=name, last=0))
    now, by = context.clock.now(), context.principal.name
    value = {"created_at": now, "updated_at": now, "by": by, "description": description, "tags": tags or {}}
    catalog.commit(tx, layer, [Write(MODEL, key, value)], at=now, by=by, why=f"model {name} created")
    return True


def register(context: Context, place: Place, name: str, draft: Draft) -> Version:
    """The next version of a model, which is made if it is not there; sets the draft's aliases on it."""
    tx, now, by = context.tx, context.clock.now(), context.principal.name
    ensure_model(context, place, name)
    layer = catalog.writable_layer(tx, *place, context.principal)
    counter = store.registered_model
    same = counter.c.project == place[0], counter.c.name == name
    number = int(tx.execute(sa.select(counter.c.last).where(*same)).scalar() or 0) + 1
    tx.execute(counter.update().where(*same).values(last=number))
    id = new_id("ver")
    details = store.Details(signature=draft.signature, facts=draft.facts, card=draft.card)
    tx.execute(
        store.model_version.insert().values(
            id=id, project=place[0], name=name, number=number, digest=draft.digest, files=draft.files,
            bytes=draft.bytes, created_at=now, by=by, environment=place[1], run=draft.facts.run, source=draft.source,
            details=msgspec.json.encode(details).decode(),
        )
    )  # fmt: skip
    for each in draft.signed:
        add_signed(tx, id, msgspec.structs.replace(each, at=now, by=by))
    value = {"id": id, "digest": draft.digest, "updated_at": now}
    value |= {"description": draft.description, "tags": draft.tags, "stage": "None"}
    writes = [Write(MODEL, rules.version_key(name, number), value)]
    catalog.commit(tx, layer, writes, at=now, by=by, why=f"model {name} version {number} registered")
    data = {"project": place[0], "environment": place[1], "name": name, "version": number, "id": id}
    context.emit(
        REGISTERED,
        subject(place, name),
        **data,
        digest=draft.digest,
        run=draft.facts.run,
        by=by,
        signed=[each.key for each in draft.signed],
    )
    for alias in draft.aliases:
        set_alias(context, place, name, alias, number, "registered with it")
    return store.version(tx, place, name, number)


def set_alias(context: Context, place: Place, name: str, alias: str, number: int | None, why: str = "") -> int:
    """Points an alias at a version, or nowhere (None); returns the version that it meant before, 0 for none. Setting
    what is so already changes nothing. Raises `NotFound` (MODEL_VERSION_NOT_FOUND)."""
    tx, key = context.tx, rules.alias_key(name, check_alias(alias))
    layer = catalog.writable_layer(tx, *place, context.principal)
    if number is not None and catalog.get(tx, Point(layer), MODEL, rules.version_key(name, number)) is None:
        store.version(tx, place, name, number)  # says what is missing
    was = catalog.get(tx, Point(layer), MODEL, key)
    before = int(was.value["version"]) if was else 0
    if before == (number or 0):
        return before
    text = why or (f"{name}@{alias} is version {number}" if number else f"{name}@{alias} removed")
    value = None if number is None else {"version": number}
    now, by = context.clock.now(), context.principal.name
    change = catalog.commit(tx, layer, [Write(MODEL, key, value)], at=now, by=by, why=text)
    data = {"project": place[0], "environment": place[1], "name": name, "alias": alias, "version": number or 0}
    context.emit(ALIAS_SET, subject(place, name), **data, before=before, by=by, why=why, change=change)
    return before


def adopt(context: Context, place: Place, name: str, number: int, source: Place) -> None:
    """Lets an environment see a version that another one has; does nothing where it does already. Raises `Conflict`
    (MODEL_VERSION_OTHER) where that number is another version."""
    tx, key = context.tx, rules.version_key(name, number)
    brought = catalog.get(tx, store.point_of(tx, source), MODEL, key)
    there = catalog.get(tx, store.point_of(tx, place), MODEL, key)
    if brought is None:
        store.version(tx, source, name, number)  # says what is missing
        return
    if there is not None and there.value["id"] != brought.value["id"]:
        raise Conflict(
            f"{name}/{number} of {'/'.join(place)} is another version than that of {'/'.join(source)}",
            code="MODEL_VERSION_OTHER", hint=f"bough models resolve {name}/{number} -e {place[1]}",
        )  # fmt: skip
    if there is not None:
        return
    layer = catalog.writable_layer(tx, *place, context.principal)
    writes, model_key = [Write(MODEL, key, brought.value)], rules.key_of(name)
    if catalog.get(tx, Point(layer), MODEL, model_key) is None:
        described = catalog.get(tx, store.point_of(tx, source), MODEL, model_key)
        writes += [Write(MODEL, model_key, described.value)] if described is not None else []
    why = f"model {name} version {number} from {source[1]}"
    catalog.commit(tx, layer, writes, at=context.clock.now(), by=context.principal.name, why=why)


def change_entry(context: Context, place: Place, key: str, changes: dict[str, Any], why: str) -> None:
    """Lays `changes` over the value of a model or a version, which must be there."""
    tx, now, by = context.tx, context.clock.now(), context.principal.name
    layer = catalog.writable_layer(tx, *place, context.principal)
    found = catalog.get(tx, Point(layer), MODEL, key)
    if found is None:
        raise store.missing(place, rules.name_of(key))
    if any(found.value.get(name) != value for name, value in changes.items()):
        value = found.value | changes | {"updated_at": now}
        catalog.commit(tx, layer, [Write(MODEL, key, value)], at=now, by=by, why=why)


def remove(context: Context, place: Place, name: str, number: int = 0) -> None:
    """Takes a version, or a model with all that it has, out of what an environment sees. Others keep it."""
    tx, now, by = context.tx, context.clock.now(), context.principal.name
    layer = catalog.writable_layer(tx, *place, context.principal)
    keys = [rules.version_key(name, number)] if number else _all_keys(tx, Point(layer), name)
    why = f"model {name} version {number} removed" if number else f"model {name} removed"
    catalog.commit(tx, layer, [Write(MODEL, key, None) for key in keys], at=now, by=by, why=why)


def rename(context: Context, place: Place, name: str, to: str) -> None:
    """Gives a model with all that it has another name in an environment; versions stay the same ones."""
    tx, now, by = context.tx, context.clock.now(), context.principal.name
    layer = catalog.writable_layer(tx, *place, context.principal)
    start = rules.key_of(name)
    old = catalog.several(tx, Point(layer), MODEL, _all_keys(tx, Point(layer), name))
    new = {f"{rules.key_of(to)}{key[len(start) :]}": each.value for key, each in old.items()}
    writes = [*(Write(MODEL, key, None) for key in old), *(Write(MODEL, key, value) for key, value in new.items())]
    catalog.commit(tx, layer, writes, at=now, by=by, why=f"model {name} renamed to {to}")
    counter, same = store.registered_model, store.registered_model.c.project == place[0]
    last = int(tx.execute(sa.select(counter.c.last).where(same, counter.c.name == name)).scalar() or 0)
    there = tx.execute(sa.select(counter.c.last).where(same, counter.c.name == to)).scalar()
    if there is None:
        tx.execute(counter.insert().values(project=place[0], name=to, last=last))
    elif there < last:
        tx.execute(counter.update().where(same, counter.c.name == to).values(last=last))


def add_signed(tx: sa.Connection, version: str, made: SignedBy) -> None:
    """In place of what the same key has signed before."""
    same = store.model_signed.c.version == version, store.model_signed.c.key == made.key
    tx.execute(store.model_signed.delete().where(*same))
    tx.execute(store.model_signed.insert().values(version=version, **msgspec.structs.asdict(made)))


def subject(place: Place, name: str) -> str:
    """Of a model's events."""
    return f"{place[0]}/{place[1]}/{name}"


def attach(tx: sa.Connection, version: str, kind: str, content: Any, *, at: float, by: str) -> None:
    """Keeps something beside a version, in place of what was kept of that kind before."""
    same = store.model_attachment.c.version == version, store.model_attachment.c.kind == kind
    tx.execute(store.model_attachment.delete().where(*same))
    text = msgspec.json.encode(content).decode()
    tx.execute(store.model_attachment.insert().values(version=version, kind=kind, at=at, by=by, content=text))


def _all_keys(tx: sa.Connection, at: Point, name: str) -> list[str]:
    key = rules.key_of(name)
    below = [each.key for each in catalog.items(tx, at, MODEL, f"{key}/")]
    return [key, *below] if catalog.get(tx, at, MODEL, key) else below
