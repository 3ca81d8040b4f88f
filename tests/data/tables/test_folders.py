"""Programs read a table as Parquet files: linked where that says it all, written where it does not."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import duckdb

from bough.data.tables.folders import TableFolders
from bough.data.tables.models import decode
from bough.data.tables.store import TableFiles
from bough.data.views import Views
from tests.data.tables.conftest import PROJECT, Shop


def folders(shop: Shop) -> TableFolders:
    return TableFolders(TableFiles(shop.bough.blobs, shop.folder / "copies"), shop.tables)


def laid_out(shop: Shop, target: Path, environment: str = "main") -> list[Any]:
    folders(shop).lay_out(decode(shop.value("orders", environment)), target)
    return read(target)


def read(folder: Path) -> list[Any]:
    return duckdb.connect().execute(f"SELECT * FROM read_parquet('{folder}/*.parquet') ORDER BY id").fetchall()


def test_a_table_without_changes_is_linked_and_costs_no_bytes(orders: Shop, tmp_path: Path) -> None:
    rows = laid_out(orders, tmp_path / "t")
    assert [list(row) for row in rows] == orders.rows("SELECT * FROM orders ORDER BY id")
    files = list((tmp_path / "t").iterdir())
    assert len(files) == 1 and files[0].stat().st_nlink > 1


def test_rows_that_are_gone_changed_or_of_an_older_schema_are_written_as_the_table_has_them(
    orders: Shop, tmp_path: Path
) -> None:
    orders.do("delete", "orders", where="id = 3")
    orders.do("update", "orders", where="id = 4", set={"price": "-1"})
    orders.do("add_column", "orders", column="extra", type="INTEGER")
    rows = laid_out(orders, tmp_path / "t")
    assert [list(row) for row in rows] == orders.rows("SELECT * FROM orders ORDER BY id")
    assert all(path.stat().st_mode & 0o222 == 0 for path in (tmp_path / "t").iterdir())


def test_an_empty_table_still_tells_its_columns(shop: Shop, tmp_path: Path) -> None:
    shop.do("create", "orders", schema="id BIGINT, name VARCHAR")
    folders(shop).lay_out(decode(shop.value("orders")), tmp_path / "t")
    query = f"DESCRIBE SELECT * FROM read_parquet('{tmp_path}/t/*.parquet')"
    assert [row[:2] for row in duckdb.connect().execute(query).fetchall()] == [("id", "BIGINT"), ("name", "VARCHAR")]


def test_a_unit_sees_the_table_of_its_own_environment(orders: Shop, tmp_path: Path) -> None:
    orders.branch("dev")
    orders.do("delete", "orders", where="id >= 10", environment="dev")
    views = Views(tmp_path / "views", orders.bough.blobs, folders(orders))
    counts = [len(read(waited(views, orders, name) / "orders")) for name in ("main", "dev")]
    assert counts == [1000, 10]


def waited(views: Views, shop: Shop, environment: str) -> Path:
    for _ in range(500):
        with shop.bough.database.read() as tx:
            if found := views.ensure(tx, (PROJECT, environment), environment, ["orders"]):
                return found
        time.sleep(0.01)
    raise AssertionError("the view was never made")
