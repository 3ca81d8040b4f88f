"""Verbs that read rows."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec.structs import replace

from bough.adapters.tables import Limits, Tables
from bough.data.tables import comparing, exporting, querying
from bough.data.tables.comparing import TableDifference
from bough.data.tables.exporting import ExportedFile
from bough.data.tables.finding import find
from bough.data.tables.models import Version, decode
from bough.data.tables.operations import At, Environment, ShowTable
from bough.data.tables.picture import draw
from bough.data.tables.querying import QueryResult
from bough.data.tables.store import TableFiles
from bough.kernel import catalog, points
from bough.kernel.catalog import TABLE
from bough.kernel.context import Context, Role
from bough.kernel.errors import NotFound
from bough.kernel.operations import operation
from bough.kernel.project import PRODUCTION


class Query(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`output`: the whole answer as a file, named by its blob, instead of rows."""

    project: str
    sql: Annotated[str, msgspec.Meta(description="one SELECT, in DuckDB's SQL")]
    environment: Environment = PRODUCTION
    at: At = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=querying.ROWS_AT_ONCE, description="rows shown at most")] = 1000
    output: Annotated[str, msgspec.Meta(pattern="^(|parquet|csv|json)$", description="parquet, csv or json")] = ""
    seconds: Annotated[float, msgspec.Meta(gt=0, le=50, description="how long it may take")] = 30.0


class Compare(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str
    before: Annotated[str, msgspec.Meta(description=points.ABOUT)]
    after: Annotated[str, msgspec.Meta(description="the same")]
    name: Annotated[str, msgspec.Meta(description="one table; all that differ without it")] = ""
    picture: Annotated[bool, msgspec.Meta(description="with an SVG for each table")] = False


class ExportTable(ShowTable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    location: Annotated[
        str, msgspec.Meta(min_length=1, description="where the files will lie, such as file:///data/orders")
    ]


@operation("tables.export", role=Role.VIEWER, slow=True)
def export(context: Context, request: ExportTable) -> list[ExportedFile]:
    """Writes a table as an Iceberg table (format 2), for other engines to read.

    Answers with the files that it consists of, to be fetched as blobs and put at the location."""
    with context.read() as tx:
        at = points.resolve(tx, request.project, request.environment, request.at, context.clock.now())
        version = find(tx, at, request.name)
    files, tables, now = context.part(TableFiles), context.part(Tables), context.clock.now()
    return exporting.export(files, tables, version, request.location.rstrip("/"), int(now * 1000))


@operation("tables.diff", role=Role.VIEWER, slow=True)
def diff(context: Context, request: Compare) -> list[TableDifference]:
    """Compares tables of two states: rows by key, columns, and how their values are spread."""
    with context.read() as tx:
        sides = []
        for text in (request.before, request.after):
            at = points.resolve(tx, request.project, PRODUCTION, text, context.clock.now())
            found = {each.key: decode(each.value) for each in catalog.items(tx, at, TABLE)}
            sides.append({key: each for key, each in found.items() if request.name in ("", key)})
    if request.name and not any(sides):
        raise NotFound(f"neither side has a table {request.name!r}", code="TABLE_NOT_FOUND", hint="bough tables list")
    nothing = Version(fields=[])
    old, new = sides
    files, tables = context.part(TableFiles), context.part(Tables)
    differing = [
        comparing.compare(files, tables, key, old.get(key, nothing), new.get(key, nothing))
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    ]
    if request.picture:
        return [replace(each, picture=draw(each, request.before, request.after)) for each in differing]
    return differing


@operation("tables.query", role=Role.VIEWER, slow=True)
def query(context: Context, request: Query) -> QueryResult:
    """Answers a SELECT over the tables of an environment, as it is now or was."""
    with context.read() as tx:
        at = points.resolve(tx, request.project, request.environment, request.at, context.clock.now())
        versions = {each.key: decode(each.value) for each in catalog.items(tx, at, TABLE)}
    files, tables, limits = context.part(TableFiles), context.part(Tables), Limits(seconds=request.seconds)
    if request.output:
        return querying.query_to_file(files, tables, request.sql, versions, format=request.output, limits=limits)
    return querying.query(files, tables, request.sql, versions, limit=request.limit, limits=limits)
