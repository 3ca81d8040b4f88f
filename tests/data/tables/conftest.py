"""A control plane with one environment, and tables made from plain Python rows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest

from bough.adapters.tables import Tables
from bough.adapters.tables.duckdb import DuckTables
from bough.kernel import catalog
from bough.kernel.catalog import TABLE, Point
from tests.plane import Plane

PROJECT = "shop"
SHARED = Path(os.environ.get("BOUGH_SHARED_DATA") or Path(__file__).parents[4] / "shared" / "data")


class Shop(Plane):
    """A project with production, and short words for what tests do with tables."""

    def __init__(self, folder: Path, *, tables: Tables | None = None, fresh: bool = True) -> None:
        """Not `fresh`: over what another one has left in the folder."""
        super().__init__(folder, tables=tables)
        self.folder = folder
        self._files = len(list(folder.glob("*.parquet")))
        self.tables = DuckTables(folder / "sessions")
        if fresh:
            with self.bough.database.write() as tx:
                catalog.open_head(tx, PROJECT, "main", None)

    def do(self, verb: str, name: str = "", **fields: Any) -> Any:
        given = {"project": PROJECT, "name": name, **fields} if name else {"project": PROJECT, **fields}
        return self.call(f"tables.{verb}", **given)

    def file(self, select: str) -> str:
        """The digest of an uploaded Parquet file with the answer of a SELECT."""
        self._files += 1
        path = self.folder / f"{self._files}.parquet"
        duckdb.execute(f"COPY ({select}) TO '{path}' (FORMAT parquet)")
        return self.upload(path)

    def upload(self, path: Path) -> str:
        with path.open("rb") as stream:
            return self.bough.blobs.put(stream)

    def rows(self, sql: str, **fields: Any) -> list[list[Any]]:
        return self.do("query", sql=sql, **fields).rows

    def branch(self, name: str, of: str = "main") -> None:
        with self.bough.database.write() as tx:
            catalog.open_head(tx, PROJECT, name, Point(catalog.layer_of(tx, PROJECT, of)))

    def value(self, name: str, environment: str = "main") -> Any:
        with self.bough.database.read() as tx:
            found = catalog.get(tx, Point(catalog.layer_of(tx, PROJECT, environment)), TABLE, name)
        return None if found is None else found.value


def values(rows: Sequence[Sequence[Any]], *columns: str) -> str:
    """A SELECT that gives these rows."""
    written = ", ".join("(" + ", ".join("NULL" if v is None else repr(v) for v in row) + ")" for row in rows)
    return f"SELECT * FROM (VALUES {written}) AS t({', '.join(columns)})"


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path)
    yield made
    made.bough.stop()


@pytest.fixture(scope="session")
def of_orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one with a table of 1,000 orders, keyed by id, has left in its folder."""
    return left_by(with_orders(Shop(tmp_path_factory.mktemp("orders"))))


@pytest.fixture
def orders(of_orders: Path, tmp_path: Path) -> Iterator[Shop]:
    made = over_copy(of_orders, tmp_path)
    yield made
    made.bough.stop()


def left_by(shop: Shop) -> Path:
    shop.bough.stop()
    return shop.folder


def over_copy(left: Path, folder: Path) -> Shop:
    shutil.copytree(left, folder, dirs_exist_ok=True)
    return Shop(folder, fresh=False)


def with_orders(shop: Shop) -> Shop:
    shop.do(
        "create", "orders", key=["id"],
        blob=shop.file("SELECT range AS id, range % 7 AS kind, range * 1.5::DOUBLE AS price, 'o' || range AS note "
                       "FROM range(1000)"),
    )  # fmt: skip
    return shop
