"""Verbs that keep and bring back states of databases: snapshot, restore, reset, backup, migrate, policies."""

from __future__ import annotations

from typing import Annotated

import msgspec
import sqlalchemy as sa

from bough.adapters.blobs import Blobs
from bough.adapters.sql import Cut
from bough.databases import rules, store
from bough.databases.contents import scratch, taken_out
from bough.databases.cutting import Cutting
from bough.databases.disk import Databases
from bough.databases.migrating import scripts, tried, with_scripts
from bough.databases.models import (
    READY,
    DatabaseBackup,
    DatabaseView,
    Declared,
    Instance,
    Migrated,
    Place,
    Snapshot,
    SnapshotView,
)
from bough.databases.operations import Environment, Name, OneDatabase, view
from bough.kernel import catalog, points
from bough.kernel.catalog import DATABASE, LAST, Point, Write
from bough.kernel.context import Context, Role
from bough.kernel.errors import Conflict, Invalid
from bough.kernel.operations import Commit, Moved, operation
from bough.kernel.project import PRODUCTION


class SnapshotDatabase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    name: Name
    environment: Environment = PRODUCTION
    message: Annotated[str, msgspec.Meta(description="why; kept with it")] = ""


class ListSnapshots(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    name: Annotated[
        str, msgspec.Meta(description="one database; empty: all", extra_json_schema={"x-argument": True})
    ] = ""


class OneSnapshot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    id: Annotated[str, msgspec.Meta(description="the snapshot")]


class RestoreDatabase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    name: Name
    environment: Environment = PRODUCTION
    snapshot: Annotated[str, msgspec.Meta(description="id of a snapshot; empty: the newest of this environment")] = ""
    content: Annotated[str, msgspec.Meta(description="digest of a blob with a backup, instead of a snapshot")] = ""


class ResetDatabase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    name: Name
    environment: Environment = PRODUCTION
    to: Annotated[str, msgspec.Meta(description=f"{points.ABOUT}; empty: the parent as it is now")] = ""


class MigrateDatabase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    name: Name
    scripts: Annotated[dict[str, str], msgspec.Meta(description="SQL by the migration's name")]
    environment: Environment = PRODUCTION
    dry_run: Annotated[bool, msgspec.Meta(description="only try them on a fresh branch")] = False


class SetPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    name: Name
    policy: Annotated[str, msgspec.Meta(description="what the policy is called")]
    columns: Annotated[
        dict[str, str],
        msgspec.Meta(description="TABLE.COLUMN=MASK, of Redis PATTERN.FIELD=MASK: drop, null, token, hash, noise"),
    ] = {}
    environment: Environment = PRODUCTION


@operation("databases.snapshot", role=Role.DEVELOPER, writes=True, command="db snapshot")
def snapshot(context: Context, request: SnapshotDatabase) -> SnapshotView:
    """Keeps a database as it is now, at the price of a branch. `bough db restore` brings it back."""
    place = request.project, request.environment
    found = _ready(context.tx, place, request.name)
    point = Point(catalog.layer_of(context.tx, *place), catalog.newest(context.tx))
    by, now = context.principal.name, context.clock.now()
    return _view(context.part(Cutting).snapshot(context.tx, found, now, by, request.message, point))


@operation("databases.snapshots", role=Role.VIEWER, command="db snapshots")
def list_snapshots(context: Context, request: ListSnapshots) -> list[SnapshotView]:
    """Lists snapshots of databases, newest first; resets, restores and merges leave one of what they replaced."""
    return [_view(each) for each in store.snapshots(context.tx, request.project, request.name)]


@operation("databases.forget", role=Role.DEVELOPER, writes=True, command="db forget")
def forget(context: Context, request: OneSnapshot) -> SnapshotView:
    """Drops a snapshot; garbage collection frees what only it kept."""
    found = store.find_snapshot(context.tx, request.project, request.id)
    if found.tag:
        raise Conflict(f"the tag {found.tag} keeps it", code="SNAPSHOT_TAGGED", hint=f"bough tags delete {found.tag}")
    store.remove_snapshots(context.tx, request.project, id=request.id)
    return _view(found)


@operation("databases.restore", role=Role.DEVELOPER, writes=True, command="db restore", slow=True)
def restore(context: Context, request: RestoreDatabase) -> Commit[DatabaseView]:
    """Makes a database what a snapshot or a backup holds; what it was stays as a snapshot. Programs that have it open
    get errors and open the restored one."""
    place, disk = (request.project, request.environment), context.part(Databases)
    with context.read() as tx:
        found, declared = store.find(tx, place, request.name), store.find_declared(tx, place, request.name)
        known = store.snapshots(tx, place[0], request.name)
    engine = disk.engine(found.engine)
    if request.content:
        with taken_out(context, request.content) as source:
            cut, of = Cut(handle=engine.make(declared.way, source), size=0, held_s=0.0), "a backup"
    else:
        snapshot = _chosen(known, request)
        cut, of = engine.cut(snapshot.handle), snapshot.tag or snapshot.id

    def commit(context: Context) -> DatabaseView:
        catalog.writable_layer(context.tx, *place, context.principal)
        return _replaced(context, place, declared, cut, request.name, f"before a restore from {of}")

    return commit


@operation("databases.reset", role=Role.DEVELOPER, writes=True, command="db reset")
def reset(context: Context, request: ResetDatabase) -> DatabaseView:
    """Makes a branch's database what its parent's is now, or what it was at a tag; what it was stays as a snapshot."""
    place = request.project, request.environment
    catalog.writable_layer(context.tx, *place, context.principal)
    declared = store.find_declared(context.tx, place, request.name)
    if request.to:
        start = points.resolve(context.tx, place[0], place[1], request.to, context.clock.now())
    else:
        above = catalog.chain(context.tx, Point(catalog.layer_of(context.tx, *place)))[1:]
        if not above:
            raise Conflict(f"{place[1]} has no parent", code="PARENT_MISSING", hint="say to which state: --to TAG")
        start = Point(above[0].layer, LAST)
    cut = context.part(Cutting).cut_of(context.tx, place[0], start, request.name)
    return _replaced(context, place, declared, cut, request.name, "before a reset")


@operation("databases.backup", role=Role.DEVELOPER, command="db dump", slow=True)
def backup(context: Context, request: OneDatabase) -> DatabaseBackup:
    """Writes all of a database into one file, which is kept as a blob for a day: a SQLite file, a dump of Postgres,
    a snapshot of Redis. `bough db backup NAME FILE` fetches it."""
    with context.read() as tx:
        found = _ready(tx, (request.project, request.environment), request.name)
    with scratch(context) as folder:
        target = folder / "backup"
        context.part(Databases).engine(found.engine).dump(found.handle, target)
        with target.open("rb") as file:
            digest = context.part(Blobs).put(file)
        return DatabaseBackup(name=found.name, engine=found.engine, digest=digest, size=target.stat().st_size)


@operation("databases.check", role=Role.DEVELOPER, command="db check", slow=True)
def check(context: Context, request: OneDatabase) -> list[str]:
    """Checks a database by its engine's own means (integrity_check, pg_amcheck, redis-check-aof); lists what is
    wrong."""
    with context.read() as tx:
        found = _ready(tx, (request.project, request.environment), request.name)
    return context.part(Databases).engine(found.engine).check(found.handle)


@operation("databases.migrate", role=Role.DEVELOPER, writes=True, command="db apply", slow=True)
def migrate(context: Context, request: MigrateDatabase) -> Commit[Migrated]:
    """Runs migrations on an environment's database: tried on a fresh branch of it first, then all in one transaction.
    A merge brings them into the parent. `bough db migrate NAME FILE…` reads them from files."""
    place = request.project, request.environment
    with context.read() as tx:
        _ready(tx, place, request.name)
        before = store.find_declared(tx, place, request.name)
    declared = with_scripts(context, before, request.scripts)
    ran = tried(context, place, request.name, declared)

    def commit(context: Context) -> Migrated:
        layer = catalog.writable_layer(context.tx, *place, context.principal)
        if store.find_declared(context.tx, place, request.name) != before:
            raise Moved(f"the database {request.name} was changed meanwhile", hint="try again")
        if not request.dry_run:
            found = _ready(context.tx, place, request.name)
            context.part(Databases).engine(found.engine).migrate(found.handle, scripts(context, declared))
            _declare(context, layer, request.name, declared, f"{len(ran)} migrations of {request.name}")
        return Migrated(name=request.name, environment=place[1], ran=ran)

    return commit


@operation("databases.policy", role=Role.DEVELOPER, writes=True, command="db policy")
def policy(context: Context, request: SetPolicy) -> DatabaseView:
    """Says how columns with personal data are masked in branches that are made with `--mask POLICY`; without columns,
    forgets the policy. Merged and inherited like everything else."""
    place = request.project, request.environment
    layer = catalog.writable_layer(context.tx, *place, context.principal)
    found = _ready(context.tx, place, request.name)
    declared = store.find_declared(context.tx, place, request.name)
    rules.check_policy(request.columns)
    context.part(Databases).engine(found.engine).check_policy(found.handle, request.columns)
    policies = {name: each for name, each in declared.policies.items() if name != request.policy}
    policies |= {request.policy: request.columns} if request.columns else {}
    declared = msgspec.structs.replace(declared, policies=policies)
    _declare(context, layer, request.name, declared, f"policy {request.policy} of {request.name}")
    return view(context, found, declared)


def _chosen(known: list[Snapshot], request: RestoreDatabase) -> Snapshot:
    wanted = [each for each in known if request.snapshot in (each.id, each.tag)] if request.snapshot else [
        each for each in known if each.environment == request.environment
    ]  # fmt: skip
    if not wanted:
        raise Invalid(
            f"{request.name} has no snapshot {request.snapshot}".rstrip(),
            code="SNAPSHOT_UNKNOWN", hint=f"bough db snapshots {request.name}",
        )  # fmt: skip
    return wanted[0]


def _replaced(context: Context, place: Place, declared: Declared, cut: Cut, name: str, why: str) -> DatabaseView:
    made = Instance(
        project=place[0], environment=place[1], name=name, engine=declared.engine, handle=cut.handle, state=READY,
        made_at=context.clock.now(), held_s=cut.held_s, remake=cut.remake,
    )  # fmt: skip
    context.part(Cutting).replace(context.tx, made, why, context.principal.name)
    return view(context, made, declared)


def _declare(context: Context, layer: int, name: str, declared: Declared, why: str) -> None:
    write = Write(DATABASE, name, msgspec.to_builtins(declared))
    catalog.commit(context.tx, layer, [write], at=context.clock.now(), by=context.principal.name, why=why)


def _ready(tx: sa.Connection, place: Place, name: str) -> Instance:
    found = store.find(tx, place, name)
    if found.state != READY:
        raise Conflict(
            f"the database {name} of {place[1]} is {found.state}",
            code="DATABASE_NOT_READY", hint=f"bough db show {name} -e {place[1]}",
        )  # fmt: skip
    return found


def _view(each: Snapshot) -> SnapshotView:
    return SnapshotView(id=each.id, name=each.name, environment=each.environment, at=each.at, by=each.by, why=each.why,
                        tag=each.tag)  # fmt: skip
