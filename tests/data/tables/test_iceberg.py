"""An export is an Iceberg table that pyiceberg reads, with the rows, names and types that the table has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.data.tables.conftest import Shop

WIDE = (
    "SELECT range AS id, range::UINTEGER AS u, range::UBIGINT AS big, range / 3 AS x, (range / 4)::DECIMAL(9,2) AS d, "
    "'n' || range AS name, DATE '2026-01-01' + range::INTEGER AS day, TIMESTAMP '2026-01-01' AS at, "
    "TIMESTAMPTZ '2026-01-01 00:00:00+00' AS zoned, range % 2 = 0 AS even, [range, 7] AS many, "
    "{'a': range, 'b': ['x']} AS pair, MAP {'k': range} AS named FROM range(100)"
)


def exported(shop: Shop, name: str, folder: Path) -> tuple[Path, list[Any]]:
    found = shop.do("export", name, location=folder.as_uri())
    for each in found:
        path = folder / each.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(shop.bough.blobs.read(each.blob))
    return folder / "metadata/v1.metadata.json", [each for each in found if each.path.endswith(".parquet")]


def read(metadata: Path, **scan: Any) -> list[dict[str, Any]]:
    pyiceberg = pytest.importorskip("pyiceberg.table")
    table = pyiceberg.StaticTable.from_metadata(str(metadata))
    found: list[dict[str, Any]] = table.scan(**scan).to_arrow().to_pylist()
    return sorted(found, key=lambda row: row["id"])


def test_a_table_with_deletes_updates_and_changed_columns_reads_the_same(orders: Shop, tmp_path: Path) -> None:
    later = "SELECT range + 1000 AS id, 1::BIGINT AS kind, 1.5::DOUBLE AS price, 'later' AS note FROM range(10)"
    orders.do("append", "orders", blob=orders.file(later))
    orders.do("delete", "orders", where="id < 10")
    orders.do("update", "orders", set={"price": "0"}, where="id = 77")
    orders.do("rename_column", "orders", column="note", to="remark")
    orders.do("add_column", "orders", column="extra", type="VARCHAR")
    metadata, files = exported(orders, "orders", tmp_path / "ice")
    assert sorted(each.rewritten for each in files) == [False, False, True]  # appended, updated; the one with deletes
    rows = read(metadata)
    told = orders.rows("SELECT id, kind, price, remark, extra FROM orders ORDER BY id")
    assert [list(row.values()) for row in rows] == told
    assert list(rows[0]) == ["id", "kind", "price", "remark", "extra"]
    assert [row["id"] for row in read(metadata, row_filter="price = 0")] == [77]


def test_every_type_comes_back(shop: Shop, tmp_path: Path) -> None:
    shop.do("create", "wide", blob=shop.file(WIDE))
    metadata, _ = exported(shop, "wide", tmp_path / "ice")
    rows = read(metadata)
    assert len(rows) == 100
    assert (rows[9]["u"], int(rows[9]["big"]), rows[9]["name"], rows[9]["many"]) == (9, 9, "n9", [9, 7])
    assert (rows[9]["pair"], dict(rows[9]["named"]), str(rows[9]["day"])) == ({"a": 9, "b": ["x"]}, {"k": 9},
                                                                            "2026-01-10")  # fmt: skip


def test_a_name_that_meant_another_column_is_not_mistaken(shop: Shop, tmp_path: Path) -> None:
    shop.do("create", "t", blob=shop.file("SELECT 1 AS id, 'old' AS a, 'other' AS b"))
    shop.do("drop_column", "t", column="a")
    shop.do("rename_column", "t", column="b", to="a")
    shop.do("append", "t", blob=shop.file("SELECT 2 AS id, 'new' AS a"))
    metadata, _ = exported(shop, "t", tmp_path / "ice")
    assert [row["a"] for row in read(metadata)] == ["other", "new"]


def test_files_that_compaction_wrote_stay_as_they_are(orders: Shop, tmp_path: Path) -> None:
    orders.do("delete", "orders", where="id % 2 = 0")
    orders.do("compact", "orders")
    metadata, files = exported(orders, "orders", tmp_path / "ice")
    assert [each.rewritten for each in files] == [False]
    assert len(read(metadata)) == 500


def test_an_empty_table_is_exported_too(shop: Shop, tmp_path: Path) -> None:
    shop.do("create", "t", schema="id BIGINT, note VARCHAR")
    metadata, files = exported(shop, "t", tmp_path / "ice")
    assert (files, read(metadata)) == ([], [])
