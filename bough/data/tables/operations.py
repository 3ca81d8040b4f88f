"""Verbs that look at tables and change their rows. What is slow runs before the transaction; when the table has moved
meanwhile, an append is put on top of what is there now, and anything else is worked out anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec

from bough.adapters.blobs import Blobs
from bough.adapters.tables import Tables
from bough.data.tables import rules
from bough.data.tables.finding import find, view
from bough.data.tables.incoming import Incoming
from bough.data.tables.models import TableCommit, TableView, Version, decode, encode
from bough.data.tables.store import TableFiles
from bough.data.tables.writing import Changed, Workshop
from bough.kernel import catalog, points
from bough.kernel.catalog import TABLE, Write
from bough.kernel.context import Context, Role
from bough.kernel.errors import Conflict, Invalid
from bough.kernel.operations import Commit, Moved, operation
from bough.kernel.project import PRODUCTION

Environment = Annotated[str, msgspec.Meta(description="environment; main is production")]
Name = Annotated[str, msgspec.Meta(description="name of the table")]
At = Annotated[str, msgspec.Meta(description=f"{points.ABOUT}; empty: now")]
Where = Annotated[str, msgspec.Meta(description='condition in SQL, such as "price < 0"')]
Message = Annotated[str, msgspec.Meta(description="why; shown in the history")]
Blob = Annotated[str, msgspec.Meta(description="digest of the uploaded file")]
Format = Annotated[str, msgspec.Meta(description="parquet, csv or json", pattern="^(parquet|csv|json)$")]


class OfTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    name: Name
    environment: Environment = PRODUCTION


class ListTables(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    environment: Environment = PRODUCTION
    at: At = ""


class ShowTable(OfTable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    at: At = ""


class TableHistory(OfTable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 50


class CreateTable(OfTable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From a file, or empty with a schema."""

    blob: Blob = ""
    format: Format = "parquet"
    schema: Annotated[str, msgspec.Meta(description='columns, such as "id BIGINT, name VARCHAR"')] = ""
    key: list[str] = []
    message: Message = ""


class AddRows(OfTable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    blob: Blob
    format: Format = "parquet"
    message: Message = ""


class DeleteRows(OfTable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    where: Where
    message: Message = ""


class UpdateRows(OfTable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    set: Annotated[dict[str, str], msgspec.Meta(description='column -> SQL expression, such as price="price * 2"')]
    where: Where
    message: Message = ""


class CompactTable(OfTable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    all: Annotated[bool, msgspec.Meta(description="also files that are well as they are")] = False


@operation("tables.list", role=Role.VIEWER, command="tables")
def list_tables(context: Context, request: ListTables) -> list[TableView]:
    """Lists the tables of an environment."""
    at = points.resolve(context.tx, request.project, request.environment, request.at, context.clock.now())
    place = request.project, request.environment
    return [view(place, each.key, decode(each.value)) for each in catalog.items(context.tx, at, TABLE)]


@operation("tables.show", role=Role.VIEWER)
def show(context: Context, request: ShowTable) -> TableView:
    """Shows a table: its columns and what it holds."""
    at = points.resolve(context.tx, request.project, request.environment, request.at, context.clock.now())
    return view((request.project, request.environment), request.name, find(context.tx, at, request.name))


@operation("tables.history", role=Role.VIEWER)
def history(context: Context, request: TableHistory) -> list[TableCommit]:
    """Lists the changes of a table, newest first."""
    at = catalog.Point(catalog.layer_of(context.tx, request.project, request.environment))
    find(context.tx, at, request.name)
    found = []
    for each in catalog.history(context.tx, at, TABLE, request.name, request.limit):
        version = None if each.value is None else decode(each.value)
        found.append(
            TableCommit(
                seq=each.seq, at=each.at, by=each.by, why=each.why, gone=version is None,
                rows=version.rows if version else 0, files=len(version.files) if version else 0,
                bytes=version.bytes if version else 0,
            )
        )  # fmt: skip
    return found


@operation("tables.create", role=Role.DEVELOPER, writes=True, slow=True)
def create(context: Context, request: CreateTable) -> Commit[TableView]:
    """Makes a table from a file, or an empty one with a schema. A key makes rows tell apart by it."""
    rules.check_table_name(request.name)
    if bool(request.blob) == bool(request.schema):
        raise Invalid("a table is made from a file or from a schema", code="SCHEMA_MISSING",
                      hint="bough tables create NAME FILE, or --schema 'id BIGINT, name VARCHAR'")  # fmt: skip
    workshop = workshop_of(context)
    incoming = Incoming(blob=request.blob, format=request.format)
    columns = workshop.columns_of(incoming) if request.blob else workshop.columns_in(request.schema)
    version = rules.new(columns, request.key)
    changed = Changed(version=version, rows=0)
    if request.blob:
        changed = workshop.append(version, workshop.take(version, incoming))

    def commit(context: Context) -> TableView:
        layer = catalog.writable_layer(context.tx, request.project, request.environment, context.principal)
        if catalog.get(context.tx, catalog.Point(layer), TABLE, request.name):
            raise Conflict(f"there is a table {request.name!r} already", code="TABLE_EXISTS",
                           hint="bough tables append, upsert or drop")  # fmt: skip
        return write_version(context, request, layer, changed, request.message or "created")

    return commit


@operation("tables.append", role=Role.DEVELOPER, writes=True, slow=True)
def append(context: Context, request: AddRows) -> Commit[TableView]:
    """Adds the rows of a file to a table."""
    workshop, before = workshop_of(context), _read(context, request)
    fresh = workshop.take(before, Incoming(blob=request.blob, format=request.format))

    def commit(context: Context) -> TableView:
        layer, now = current(context, request)
        if now != before and not _rebases(before, now):
            raise _moved(request.name)
        return write_version(context, request, layer, workshop.append(now, fresh), request.message or "append")

    return commit


@operation("tables.upsert", role=Role.DEVELOPER, writes=True, slow=True)
def upsert(context: Context, request: AddRows) -> Commit[TableView]:
    """Changes the rows whose key is in a file, and adds the others of it."""
    incoming = Incoming(blob=request.blob, format=request.format)
    return _change(context, request, request.message or "upsert", lambda shop, now: shop.upsert(now, incoming))


@operation("tables.delete", role=Role.DEVELOPER, writes=True, slow=True)
def delete(context: Context, request: DeleteRows) -> Commit[TableView]:
    """Deletes the rows for which a condition holds."""
    why = request.message or f"delete where {request.where}"
    return _change(context, request, why, lambda shop, now: shop.delete(now, request.where))


@operation("tables.update", role=Role.DEVELOPER, writes=True, slow=True)
def update(context: Context, request: UpdateRows) -> Commit[TableView]:
    """Changes columns of the rows for which a condition holds."""
    why = request.message or f"update {', '.join(request.set)} where {request.where}"
    return _change(context, request, why, lambda shop, now: shop.update(now, request.where, request.set))


@operation("tables.compact", role=Role.DEVELOPER, writes=True, slow=True)
def compact(context: Context, request: CompactTable) -> Commit[TableView]:
    """Puts small files together and writes out deletes. Earlier versions stay as they are."""
    return _change(context, request, "compact", lambda shop, now: shop.compact(now, all=request.all))


@operation("tables.drop", role=Role.DEVELOPER, writes=True)
def drop(context: Context, request: OfTable) -> TableView:
    """Drops a table. Its earlier versions stay readable by time and tag."""
    layer, now = current(context, request)
    by, at = context.principal.name, context.clock.now()
    catalog.commit(context.tx, layer, [Write(TABLE, request.name, None)], at=at, by=by, why=f"drop {request.name}")
    return view((request.project, request.environment), request.name, now)


def _change(
    context: Context, request: OfTable, why: str, work: Callable[[Workshop, Version], Changed]
) -> Commit[TableView]:
    before = _read(context, request)
    changed = work(workshop_of(context), before)

    def commit(context: Context) -> TableView:
        layer, now = current(context, request)
        if now != before:
            raise _moved(request.name)
        if changed.version == before:
            return view((request.project, request.environment), request.name, before)
        return write_version(context, request, layer, changed, why)

    return commit


def workshop_of(context: Context) -> Workshop:
    return Workshop(context.part(TableFiles), context.part(Tables))


def _read(context: Context, request: OfTable) -> Version:
    """The table as it is now; refuses who may not write before any work is done."""
    with context.read() as tx:
        layer = catalog.writable_layer(tx, request.project, request.environment, context.principal)
        return find(tx, catalog.Point(layer), request.name)


def current(context: Context, request: OfTable) -> tuple[int, Version]:
    layer = catalog.writable_layer(context.tx, request.project, request.environment, context.principal)
    return layer, find(context.tx, catalog.Point(layer), request.name)


def write_version(context: Context, request: OfTable, layer: int, changed: Changed, why: str) -> TableView:
    if context.part(Blobs).missing(changed.version.blobs):  # asking counts as use, which garbage collection spares
        raise Moved(f"files of table {request.name} were collected meanwhile", code="TABLE_MOVED", hint="run it again")
    write = Write(TABLE, request.name, encode(changed.version))
    by, at = context.principal.name, context.clock.now()
    catalog.commit(context.tx, layer, [write], at=at, by=by, why=why)
    context.emit("table.changed", f"{request.project}/{request.environment}/{request.name}", rows=changed.rows)
    return view((request.project, request.environment), request.name, changed.version, changed.rows)


def _rebases(before: Version, now: Version) -> bool:
    """Whether rows that were checked against `before` can be added to `now` unseen: keys ask to be looked at again."""
    return not now.key and before.fields == now.fields


def _moved(name: str) -> Moved:
    return Moved(
        f"table {name} has been changed by others, again and again, while this change was prepared",
        code="TABLE_MOVED",
        hint="run it again, or work in a branch: bough branch create",
    )
