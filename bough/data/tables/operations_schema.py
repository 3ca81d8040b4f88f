"""Verbs that look at a table's columns and change them. No data file is touched."""

from __future__ import annotations

from typing import Annotated

import msgspec

from bough.adapters.tables import Tables
from bough.data.tables import rules
from bough.data.tables.finding import find, view
from bough.data.tables.models import ColumnView, TableView, Version
from bough.data.tables.operations import OfTable, current, workshop_of, write_version
from bough.data.tables.writing import Changed
from bough.kernel import catalog
from bough.kernel.context import Context, Role
from bough.kernel.operations import operation

ColumnName = Annotated[str, msgspec.Meta(description="name of the column")]
ColumnType = Annotated[str, msgspec.Meta(description="its type, such as BIGINT")]


class AddColumn(OfTable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    column: ColumnName
    type: ColumnType


class RenameColumn(OfTable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    column: ColumnName
    to: ColumnName


class DropColumn(OfTable, frozen=True, kw_only=True, forbid_unknown_fields=True):
    column: ColumnName


@operation("tables.schema", role=Role.VIEWER)
def schema(context: Context, request: OfTable) -> list[ColumnView]:
    """Lists the columns of a table."""
    layer = catalog.layer_of(context.tx, request.project, request.environment)
    found = find(context.tx, catalog.Point(layer), request.name)
    return view((request.project, request.environment), request.name, found).columns


@operation("tables.add_column", role=Role.DEVELOPER, writes=True)
def add_column(context: Context, request: AddColumn) -> TableView:
    """Adds a column, which is null in the rows that are there."""
    kind = _kind(context, request.type)
    return _evolve(context, request, rules.add_column(_now(context, request), request.column, kind),
                   f"add column {request.column}")  # fmt: skip


@operation("tables.rename_column", role=Role.DEVELOPER, writes=True)
def rename_column(context: Context, request: RenameColumn) -> TableView:
    """Renames a column. Its id stays, and so does what a branch does to it under the old name."""
    after = rules.rename_column(_now(context, request), request.column, request.to)
    return _evolve(context, request, after, f"rename column {request.column} to {request.to}")


@operation("tables.widen_column", role=Role.DEVELOPER, writes=True)
def widen_column(context: Context, request: AddColumn) -> TableView:
    """Gives a column a wider type, such as BIGINT for INTEGER."""
    after = rules.widen_column(_now(context, request), request.column, _kind(context, request.type))
    return _evolve(context, request, after, f"widen column {request.column} to {request.type}")


@operation("tables.drop_column", role=Role.DEVELOPER, writes=True)
def drop_column(context: Context, request: DropColumn) -> TableView:
    """Drops a column. Earlier versions still have it."""
    after = rules.drop_column(_now(context, request), request.column)
    return _evolve(context, request, after, f"drop column {request.column}")


def _now(context: Context, request: OfTable) -> Version:
    return current(context, request)[1]


def _evolve(context: Context, request: OfTable, after: Version, why: str) -> TableView:
    layer, before = current(context, request)
    if after == before:
        return view((request.project, request.environment), request.name, before)
    return write_version(context, request, layer, Changed(version=after, rows=0), why)


def _kind(context: Context, written: str) -> str:
    """The type's own name: `int` is INTEGER. Opens no file."""
    context.part(Tables).check_expression(f"CAST(NULL AS {written})")
    return workshop_of(context).columns_in(f"it {written}")[0].type
