"""Verbs of databases: add, list, show, url, plan, remove."""

from __future__ import annotations

import contextlib
from typing import Annotated

import msgspec
import sqlalchemy as sa

from bough.adapters.sql import POSTGRES, REDIS, SQLITE, SqlEngine
from bough.databases import rules, store
from bough.databases.contents import taken_out
from bough.databases.cutting import CHANGED, KIND, Cutting
from bough.databases.disk import Databases
from bough.databases.giving import given
from bough.databases.models import (
    READY,
    DatabasePlan,
    DatabaseRemoved,
    DatabaseUrl,
    DatabaseView,
    Declared,
    Instance,
)
from bough.environments import store as environments
from bough.kernel import catalog
from bough.kernel.catalog import DATABASE, Point, Write
from bough.kernel.context import Context, Role
from bough.kernel.errors import Conflict, Invalid, Problem
from bough.kernel.names import check_name
from bough.kernel.operations import Commit, operation
from bough.kernel.project import PRODUCTION
from bough.kernel.reconcile import wake
from bough.secrets.operations import seal_all

Environment = Annotated[str, msgspec.Meta(description="environment; main is production")]
Name = Annotated[str, msgspec.Meta(description="the database")]


class AddDatabase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    name: Annotated[str, msgspec.Meta(description="what it is called; programs find NAME_URL")]
    engine: Annotated[str, msgspec.Meta(description="sqlite, postgres or redis")] = SQLITE
    how: Annotated[str, msgspec.Meta(description="how it branches, see `data plan`; empty: the best here")] = ""
    environment: Environment = PRODUCTION
    content: Annotated[str, msgspec.Meta(description="digest of a blob with what it begins with")] = ""
    server: Annotated[
        str,
        msgspec.Meta(description="URL of a database on a PostgreSQL server of your own; its password is kept sealed"),
    ] = ""


class OneDatabase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    name: Name
    environment: Environment = PRODUCTION


class DatabasesOf(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    environment: Environment = PRODUCTION


class WaysOf(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    engine: Annotated[str, msgspec.Meta(description="sqlite, postgres or redis; empty: all")] = ""


class WayView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How databases of an engine branch on this machine; the best that fits is taken."""

    engine: str
    way: str
    about: str
    why_not: str = ""


@operation("databases.add", role=Role.DEVELOPER, writes=True, command="db add", slow=True, private=True)
def add(context: Context, request: AddDatabase) -> Commit[DatabaseView]:
    """Gives an environment a database, and with it every branch that is made from then on.

    Services, jobs and `bough data run` find its URL in NAME_URL, different in every environment; in DATABASE_URL too,
    where it is the only one."""
    place, name = (request.project, request.environment), check_name(request.name, "database")
    disk = context.part(Databases)
    named = _engine_of(disk, request)
    engine = disk.engine(named)
    way = chosen(engine, named, request.how)
    with context.read() as tx:
        if place[1] != PRODUCTION or environments.exists(tx, place):  # else it is made below, with the database
            _check_free(tx, catalog.layer_of(tx, *place), name)
    secret = f"database-{name}"
    if request.server and disk.own is not None:
        handle = disk.own[1].adopt(request.server, "/".join((*place, secret)))
    else:
        with taken_out(context, request.content) as source:
            handle = engine.make(way, source)

    def commit(context: Context) -> DatabaseView:
        environments.begin_production(context.tx, place, context.clock.now(), context.principal.name)
        layer = catalog.writable_layer(context.tx, *place, context.principal)
        _check_free(context.tx, layer, name)
        declared = Declared(engine=named, way=way)
        now, by = context.clock.now(), context.principal.name
        if password := rules.password_of(request.server):
            seal_all(context, place, layer, {secret: password})
        catalog.commit(
            context.tx, layer, [Write(DATABASE, name, msgspec.to_builtins(declared))], at=now, by=by,
            why=f"database {name} added",
        )  # fmt: skip
        made = Instance(project=place[0], environment=place[1], name=name, engine=named, handle=handle,
                        state=READY, made_at=now)  # fmt: skip
        store.put(context.tx, made)
        disk.show(made)
        wake(context.tx, KIND, "/".join((*place, name)))
        context.emit(CHANGED, "/".join(place), name=name, state=READY)
        return view(context, made, declared)

    return commit


@operation("databases.list", role=Role.VIEWER, command="db list")
def list_databases(context: Context, request: DatabasesOf) -> list[DatabaseView]:
    """Lists the databases of an environment, with the URL that its programs are given."""
    place = request.project, request.environment
    here = store.declared(context.tx, Point(catalog.layer_of(context.tx, *place)))
    return [view(context, each, here[each.name]) for each in store.of(context.tx, place) if each.name in here]


@operation("databases.show", role=Role.VIEWER, command="db show")
def show(context: Context, request: OneDatabase) -> DatabaseView:
    """Shows a database: how it branches, what it has of its own, its migrations and policies."""
    place = request.project, request.environment
    found = store.find(context.tx, place, request.name)
    return view(context, found, store.find_declared(context.tx, place, request.name))


@operation("databases.url", role=Role.DEVELOPER, command="db url")
def url(context: Context, request: OneDatabase) -> DatabaseUrl:
    """Gives the URL of a database, as its programs find it."""
    found = store.find(context.tx, (request.project, request.environment), request.name)
    text = connectable(context.part(Databases), found)
    return DatabaseUrl(name=found.name, variable=rules.variable_of(found.name), url=text)


@operation("databases.variables", role=Role.DEVELOPER, command="db variables")
def variables(context: Context, request: DatabasesOf) -> dict[str, str]:
    """Gives the variables with which programs of an environment find its databases."""
    disk, found = context.part(Databases), store.of(context.tx, (request.project, request.environment))
    for each in found:
        if each.state == READY:
            disk.engine(each.engine).ensure(each.handle)
    return given(disk, found)


@operation("databases.plan", role=Role.VIEWER, command="data plan")
def plan(context: Context, request: DatabasesOf) -> list[DatabasePlan]:
    """Says what a branch of an environment would do with its databases, before it is made: which way, how long until
    it can be used, how many bytes it takes, how long writers wait, what first reads and writes of shared tables copy.
    Files and tables branch by one row."""
    found = []
    disk = context.part(Databases)
    for each in store.of(context.tx, (request.project, request.environment)):
        if each.state != READY:
            continue
        told = disk.engine(each.engine).announce(each.handle)
        found.append(DatabasePlan(
            name=each.name, engine=each.engine, way=told.way, about=told.about, size=told.size,
            seconds=round(told.seconds, 3),
            bytes=told.bytes, held_ms=round(told.held_s * 1000, 3), first_read_bytes=told.first_read_bytes,
            first_read_seconds=round(told.first_read_s, 3), first_write_bytes=told.first_write_bytes,
            first_write_seconds=round(told.first_write_s, 3),
        ))  # fmt: skip
    return found


@operation("databases.ways", role=Role.VIEWER, command="db ways")
def ways(context: Context, request: WaysOf) -> list[WayView]:
    """Lists how databases can branch on this machine, the best first, and why the others cannot."""
    engines = context.part(Databases).engines
    names = [request.engine] if request.engine else sorted(engines)
    return [
        WayView(engine=name, way=each.name, about=each.about, why_not=each.why_not)
        for name in names for each in context.part(Databases).engine(name).ways()
    ]  # fmt: skip


@operation("databases.remove", role=Role.DEVELOPER, writes=True, command="db rm")
def remove(context: Context, request: OneDatabase) -> DatabaseRemoved:
    """Removes a database from an environment; a snapshot keeps what it held, other environments keep theirs."""
    place = request.project, request.environment
    layer = catalog.writable_layer(context.tx, *place, context.principal)
    found = store.find(context.tx, place, request.name)
    cutting, now, by = context.part(Cutting), context.clock.now(), context.principal.name
    kept = cutting.keep(context.tx, found, now, by, "before it was removed")
    catalog.commit(
        context.tx, layer, [Write(DATABASE, request.name, None)], at=now, by=by, why=f"database {request.name} removed"
    )
    store.remove(context.tx, place, request.name)
    cutting.let_go(context.tx, found)
    wake(context.tx, KIND, "/".join((*place, request.name)))
    context.emit(CHANGED, "/".join(place), name=request.name, state="")
    return DatabaseRemoved(name=request.name, environment=place[1], snapshot=kept.id if kept else "")


def view(context: Context, found: Instance, declared: Declared) -> DatabaseView:
    disk = context.part(Databases)
    engine = disk.engine(found.engine)
    ready = found.state == READY
    shown, size = disk.shown_url(found) if ready else "", 0
    with contextlib.suppress(Problem, OSError):  # a database that was lost is listed all the same
        size = engine.own_bytes(found.handle) if ready else 0
    return DatabaseView(
        project=found.project, environment=found.environment, name=found.name, engine=found.engine, way=declared.way,
        state=found.state, url=shown, variable=rules.variable_of(found.name), bytes=size,
        made_at=found.made_at, held_ms=round(found.held_s * 1000, 3), mask=found.mask,
        migrations=[each.name for each in declared.migrations], policies=declared.policies, failure=found.failure,
    )  # fmt: skip


def connectable(disk: Databases, found: Instance) -> str:
    """Its URL; raises `Conflict` (DATABASE_NOT_READY) for one that is not there yet."""
    if found.state != READY:
        raise Conflict(
            f"the database {found.name} of {found.environment} is {found.state}; {found.failure.get('message', '')}",
            code="DATABASE_NOT_READY", hint=f"bough db show {found.name} -e {found.environment}",
        )  # fmt: skip
    disk.engine(found.engine).ensure(found.handle)
    return disk.url(found)


def chosen(engine: SqlEngine, name: str, how: str) -> str:
    """The best way that fits, or the one that was asked for. Raises `Invalid` (WAY_UNFIT)."""
    there = engine.ways()
    wanted = [each for each in there if each.name == how] if how else [each for each in there if each.fits]
    if not wanted or not wanted[0].fits:
        why = wanted[0].why_not if wanted else f"{name} knows {', '.join(each.name for each in there)}"
        raise Invalid(
            f"databases of {name} cannot branch by {how or 'any way'} here; {why}",
            code="WAY_UNFIT", hint=f"bough db ways --engine {name}",
        )  # fmt: skip
    return wanted[0].name


def _engine_of(disk: Databases, request: AddDatabase) -> str:
    """Raises `Invalid` (SERVER_UNFIT) for the URL of a server that is none of PostgreSQL's."""
    if not request.server:
        return request.engine
    if request.engine == REDIS or request.server.startswith(("redis:", "rediss:", "valkey:")):
        raise Invalid(
            "a Redis server of your own has no state of one moment that a branch could begin with, so it is not taken",
            code="SERVER_UNFIT",
            hint="redis-cli -u URL --rdb FILE, then bough db add NAME --engine redis --from FILE; or keep its URL as a"
            " secret of each environment: bough secrets set NAME_URL",
        )
    if disk.own is None or request.engine not in (POSTGRES, disk.own[0]) or not rules.is_server(request.server):
        raise Invalid(
            "a server of your own is one of PostgreSQL", code="SERVER_UNFIT",
            hint="bough db add NAME --engine postgres --server postgresql://USER:PASSWORD@HOST/DATABASE",
        )  # fmt: skip
    return disk.own[0]


def _check_free(tx: sa.Connection, layer: int, name: str) -> None:
    if catalog.get(tx, Point(layer), DATABASE, name) is not None:
        raise Conflict(f"there is a database {name!r} already", code="DATABASE_EXISTS", hint=f"bough db show {name}")
