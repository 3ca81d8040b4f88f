"""Structs as rows."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from bough.kernel.rows import Rows


class Box(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    content: dict[str, list[int]] = {}
    note: str | None = None


def test_a_struct_comes_back_as_it_was_and_can_be_changed_by_field() -> None:
    rows, metadata = Rows(Box, "content"), sa.MetaData()
    columns = [sa.Column(name, sa.Text) for name in Box.__struct_fields__]
    table = sa.Table("box", metadata, *columns, sa.Column("extra", sa.Integer))
    made = Box(id="a", content={"ö": [1, 2]}, note="null")
    with sa.create_engine("sqlite://").begin() as tx:
        metadata.create_all(tx)
        tx.execute(table.insert(), rows.row(made))
        assert rows.struct(tx.execute(table.select()).one()) == made
        tx.execute(table.update().values(**rows.columns(content={}, extra=7)))
        changed = tx.execute(table.select()).one()
    assert rows.struct(changed) == Box(id="a", note="null")
    assert (changed.content, changed.extra) == ("{}", 7)
