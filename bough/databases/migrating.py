"""Migrations: SQL that runs once on a database, and that a merge brings into the parent.

They are entries of the catalog, so they branch, are compared and merge like everything else; the database itself keeps
a list of what it has run, so that nothing runs twice whatever was interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from bough.adapters.blobs import Blobs
from bough.adapters.sql import Script
from bough.databases import rules, store
from bough.databases.cutting import KIND, Cutting
from bough.databases.disk import Databases
from bough.databases.models import READY, Declared, Instance, MigrationPin, Place
from bough.kernel.catalog import Write
from bough.kernel.context import Context
from bough.kernel.errors import Invalid
from bough.kernel.merging import Choices, Conflict
from bough.kernel.reconcile import wake


class Migrating:
    """What merges ask (`environments.models.Migrations`)."""

    def try_out(self, context: Context, place: Place, writes: Sequence[Write]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for each in writes:
            if each.value is not None:
                declared = msgspec.convert(each.value, Declared)
                try:
                    found[each.key] = tried(context, place, each.key, declared)
                except Invalid as error:
                    raise Invalid(
                        f"a migration fails on a fresh branch of {place[1]}, so nothing was merged; {error.message}",
                        code="MIGRATION_FAILED", hint=f"bough branch create NAME --from {place[1]}, and try it there",
                    ) from error  # fmt: skip
        return {name: names for name, names in found.items() if names}

    def run(self, context: Context, place: Place, writes: Sequence[Write]) -> None:
        disk, cutting = context.part(Databases), context.part(Cutting)
        there = {each.name: each for each in store.of(context.tx, place)}
        for each in writes:
            found = there.get(each.key)
            if each.value is None:
                if found is not None:
                    cutting.keep(
                        context.tx, found, context.clock.now(), context.principal.name, "before it was removed"
                    )
                    store.remove(context.tx, place, each.key)
                    cutting.let_go(context.tx, found)
                    wake(context.tx, KIND, "/".join((*place, each.key)))
                continue
            declared = msgspec.convert(each.value, Declared)
            if found is None:
                found = self._begin(context, place, each.key, declared)
            disk.engine(found.engine).migrate(found.handle, scripts(context, declared))

    def _begin(self, context: Context, place: Place, name: str, declared: Declared) -> Instance:
        """A database that the branch has added begins empty where it is merged into: rows do not merge."""
        disk = context.part(Databases)
        handle = disk.engine(declared.engine).make(declared.way)
        made = Instance(project=place[0], environment=place[1], name=name, engine=declared.engine, handle=handle,
                        state=READY, made_at=context.clock.now())  # fmt: skip
        store.put(context.tx, made)
        disk.show(made)
        wake(context.tx, KIND, "/".join((*place, name)))
        return made


class DatabaseMerger:
    """Both sides have changed a database's entry: migrations are put together, policies key by key."""

    def merge(self, key: str, base: Any, ours: Any, theirs: Any, choices: Choices) -> tuple[Any, list[Conflict]]:
        empty = msgspec.to_builtins(Declared(engine=ours["engine"], way=ours["way"]))
        old, mine, other = (msgspec.convert(each or empty, Declared) for each in (base, ours, theirs))
        migrations = rules.together(old.migrations, mine.migrations, other.migrations)
        clash = [name for name, policy in other.policies.items()
                 if mine.policies.get(name, policy) not in (policy, old.policies.get(name))]  # fmt: skip
        if migrations is None or clash or mine.engine != other.engine:
            if choices.all:
                return (ours if choices.all == "ours" else theirs), []
            return None, [Conflict(kind="database", key=key, base=base, ours=ours, theirs=theirs)]
        fresh = {name: policy for name, policy in other.policies.items() if old.policies.get(name) != policy}
        merged = msgspec.structs.replace(mine, migrations=migrations, policies=mine.policies | fresh)
        return msgspec.to_builtins(merged), []


def tried(context: Context, place: Place, name: str, declared: Declared) -> list[str]:
    """Runs the migrations that are new to an environment's database on a fresh branch of it; their names."""
    disk = context.part(Databases)
    engine = disk.engine(declared.engine)
    with context.read() as tx:
        there = [each for each in store.of(tx, place) if each.name == name and each.state == READY]
    handle = engine.cut(there[0].handle).handle if there else engine.make(declared.way)
    try:
        return engine.migrate(handle, scripts(context, declared))
    finally:
        engine.close(handle)


def scripts(context: Context, declared: Declared) -> list[Script]:
    blobs = context.part(Blobs)
    return [
        Script(name=each.name, digest=each.digest, sql=blobs.read(each.digest).decode("utf-8"))
        for each in declared.migrations
    ]


def with_scripts(context: Context, declared: Declared, given: dict[str, str]) -> Declared:
    """The declaration with migrations behind those that it has, in the order of their names. Raises `Invalid`
    (MIGRATION_CHANGED) for one that has run with another content."""
    known = {each.name: each.digest for each in declared.migrations}
    fresh: list[MigrationPin] = []
    for name, sql in sorted(given.items()):
        digest = context.part(Blobs).put(sql.encode())
        if known.get(name, digest) != digest:
            raise Invalid(
                f"the migration {name} has another content than when it ran; nothing was run",
                code="MIGRATION_CHANGED", hint="write a new migration that changes what that one did",
            )  # fmt: skip
        if name not in known:
            fresh.append(MigrationPin(name=name, digest=digest))
    return msgspec.structs.replace(declared, migrations=[*declared.migrations, *fresh])
