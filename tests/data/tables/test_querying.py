"""A person's SQL sees tables of the environment, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from bough.adapters.tables import Limits
from bough.data.tables import querying
from bough.data.tables.models import decode
from bough.data.tables.store import TableFiles
from bough.kernel.errors import Invalid, Problem, TooLarge
from tests.data.tables.conftest import Shop


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('/etc/passwd')", "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_blob('/proc/self/environ')", "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM sniff_csv('/etc/passwd')", "SELECT * FROM parquet_metadata('{other}')",
        "SELECT * FROM read_parquet('{other}')", "SELECT * FROM query('COPY (SELECT 1) TO ''{out}''')",
        "COPY (SELECT 1) TO '{out}'", "COPY orders TO '{out}'", "ATTACH '{out}'", "EXPORT DATABASE '{out}'",
        "INSTALL httpfs", "LOAD httpfs", "SELECT * FROM read_parquet('https://127.0.0.1/x.parquet')",
        "SET memory_limit = '99GB'", "SET lock_configuration = false", "RESET ALL", "PRAGMA threads=64",
        "DROP VIEW orders", "CREATE TABLE t AS SELECT 1", "DELETE FROM orders",
        "INSERT INTO orders SELECT * FROM orders",
        "WITH x AS (DELETE FROM orders RETURNING *) SELECT * FROM x", "SELECT 1; SELECT 2", "CALL enable_logging()",
        "SELECT getenv('HOME')", "CREATE SECRET s (TYPE s3)", "", "no sql at all",
    ],
)  # fmt: skip
def test_everything_else_is_refused(orders: Shop, tmp_path: Path, sql: str) -> None:
    out, other = tmp_path / "out", tmp_path / "1.parquet"  # `other` is there, and no table's
    before = orders.value("orders")
    with pytest.raises(Problem) as caught:
        orders.rows(sql.format(out=out, other=other))
    assert isinstance(caught.value, Invalid), caught.value
    assert not out.exists()
    assert orders.value("orders") == before
    assert orders.rows("SELECT count(*) FROM orders") == [[1000]]


def test_a_condition_is_locked_in_as_well(orders: Shop) -> None:
    for where in ("(SELECT count(*) FROM read_text('/etc/passwd')) > 0", "getenv('HOME') <> ''"):
        with pytest.raises(Invalid):
            orders.do("delete", "orders", where=where)


def test_a_query_that_takes_too_long_is_stopped(orders: Shop) -> None:
    with pytest.raises(Invalid) as caught:
        orders.rows(
            "SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE a.range % 7 = b.range", seconds=0.2
        )
    assert caught.value.own_code == "QUERY_TOO_SLOW"


def test_a_query_that_needs_too_much_memory_is_stopped(orders: Shop) -> None:
    limits = Limits(memory_bytes=32 << 20, spill_bytes=1 << 20)
    versions = {"orders": decode(orders.value("orders"))}
    files = TableFiles(orders.bough.blobs, orders.folder / "copies")
    with pytest.raises(Problem) as caught:
        querying.query(
            files, orders.tables, "SELECT list(range) FROM range(50000000)", versions, limit=1, limits=limits
        )
    assert isinstance(caught.value, TooLarge) or caught.value.own_code == "DISK_FULL"


def test_more_rows_than_asked_for_are_said_to_be_there(orders: Shop) -> None:
    found = orders.do("query", sql="SELECT id FROM orders ORDER BY id", limit=2)
    assert (found.rows, found.more) == ([[0], [1]], True)
    assert not orders.do("query", sql="SELECT id FROM orders", limit=1000).more


@pytest.mark.parametrize("format", ["parquet", "csv", "json"])
def test_a_large_answer_is_a_file(orders: Shop, format: str) -> None:
    found = orders.do("query", sql="SELECT * FROM orders -- all of it", output=format)
    content = orders.bough.blobs.read(found.blob)
    assert len(content) == found.bytes
    assert content.startswith({"parquet": b"PAR1", "csv": b"id,kind", "json": b'{"id":0'}[format])


def test_nothing_of_a_session_is_left(orders: Shop) -> None:
    orders.do("delete", "orders", where="id = 1")
    with pytest.raises(Invalid):
        orders.rows("SELECT nothing FROM orders")
    assert list(orders.bough.home.tables.glob("session-*")) == []
