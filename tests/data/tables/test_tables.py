"""Tables through their operations: what a change does, and what it leaves alone."""

from __future__ import annotations

from typing import Any

import pytest

from bough.adapters.blobs.memory import MemoryBlobs
from bough.data.tables.models import decode
from bough.kernel.context import Principal, Role
from bough.kernel.errors import Conflict, Forbidden, Invalid, NotFound, Problem
from tests.data.tables.conftest import PROJECT, SHARED, Shop, values

TOTAL = "SELECT count(*), sum(id), sum(price) FROM orders"


def test_a_parquet_file_becomes_a_table_as_it_is(orders: Shop) -> None:
    made = orders.do("show", "orders")
    assert (made.rows, made.files) == (1000, 1)
    assert [(each.id, each.name, each.type, each.key) for each in made.columns] == [
        (1, "id", "BIGINT", True), (2, "kind", "BIGINT", False), (3, "price", "DOUBLE", False),
        (4, "note", "VARCHAR", False),
    ]  # fmt: skip
    assert orders.rows(TOTAL) == [[1000, 499500, 749250.0]]


def test_csv_and_json_are_taken_as_well(shop: Shop) -> None:
    (shop.folder / "a.csv").write_text("id,name\n1,Ada\n2,Bo\n")
    (shop.folder / "b.json").write_text('{"id": 3, "name": "Cy"}\n')
    shop.do("create", "people", blob=shop.upload(shop.folder / "a.csv"), format="csv")
    shop.do("append", "people", blob=shop.upload(shop.folder / "b.json"), format="json")
    assert shop.rows("SELECT * FROM people ORDER BY id") == [[1, "Ada"], [2, "Bo"], [3, "Cy"]]


def test_a_schema_makes_an_empty_table(shop: Shop) -> None:
    made = shop.do("create", "t", schema='id BIGINT, "full name" VARCHAR, v DECIMAL(10,2), at TIMESTAMPTZ', key=["id"])
    assert [each.type for each in made.columns] == ["BIGINT", "VARCHAR", "DECIMAL(10,2)", "TIMESTAMP WITH TIME ZONE"]
    assert shop.rows("SELECT * FROM t") == []
    assert shop.do("delete", "t", where="id = 1").changed == 0
    shop.do("append", "t", blob=shop.file("SELECT 7 AS id, 'Ada' AS \"full name\", 1.25 AS v, "
                                          "TIMESTAMPTZ '2026-01-02 03:04:05+01' AS at"))  # fmt: skip
    assert shop.rows("SELECT * FROM t") == [[7, "Ada", "1.25", "2026-01-02T02:04:05Z"]]


def test_a_delete_writes_a_delete_list_and_nothing_else(orders: Shop) -> None:
    before = decode(orders.value("orders"))
    made = orders.do("delete", "orders", where="id = 500 OR id < 3")
    after = decode(orders.value("orders"))
    assert made.changed == 4 and made.rows == 996
    assert [each.blob for each in after.files] == [each.blob for each in before.files]
    gone = after.files[0].deleted
    assert gone and gone.rows == 4 and gone.bytes < 2000
    assert orders.rows("SELECT count(*) FROM orders WHERE id IN (0, 1, 2, 500)") == [[0]]
    orders.do("delete", "orders", where="id BETWEEN 2 AND 20")
    assert orders.rows("SELECT count(*), min(id) FROM orders") == [[978, 21]]


def test_deleting_all_rows_of_a_file_lets_go_of_the_file(orders: Shop) -> None:
    assert orders.do("delete", "orders", where="true").files == 0
    assert orders.rows(TOTAL) == [[0, None, None]]


def test_an_update_writes_the_changed_rows_only(orders: Shop) -> None:
    made = orders.do("update", "orders", set={"price": "price + 1", "note": "upper(note)"}, where="id = 7")
    assert (made.changed, made.rows, made.files) == (1, 1000, 2)
    assert orders.rows("SELECT id, price, note FROM orders WHERE id IN (6, 7) ORDER BY id") == [
        [6, 9.0, "o6"], [7, 11.5, "O7"],
    ]  # fmt: skip
    again = orders.do("update", "orders", set={"price": "0"}, where="id = 7")
    assert again.files == 2
    assert orders.rows("SELECT price FROM orders WHERE id = 7") == [[0.0]]


def test_an_upsert_changes_adds_and_leaves_alone(orders: Shop) -> None:
    rows = [(5, 5, 7.5, "o5"), (6, 6, 1.0, "changed"), (2000, 1, 2.0, "new")]
    made = orders.do("upsert", "orders", blob=orders.file(values(rows, "id", "kind", "price", "note")))
    assert (made.changed, made.rows) == (2, 1001)  # 5 is as it was
    assert orders.rows("SELECT id, note FROM orders WHERE id IN (5, 6, 2000) ORDER BY id") == [
        [5, "o5"], [6, "changed"], [2000, "new"],
    ]  # fmt: skip
    unchanged = orders.value("orders")
    orders.do("upsert", "orders", blob=orders.file(values(rows, "id", "kind", "price", "note")))
    assert orders.value("orders") == unchanged


def test_rows_keep_their_ids_through_updates_and_compaction(orders: Shop) -> None:
    orders.do("delete", "orders", where="id % 2 = 0")
    orders.do("update", "orders", set={"price": "-1"}, where="id % 3 = 0")
    orders.do("compact", "orders", all=True)
    version = decode(orders.value("orders"))
    assert len(version.files) == 1 and version.next_row == 1000 and version.files[0].first_row is None
    assert orders.rows("SELECT count(*) FROM rows.orders WHERE __row <> id") == [[0]]
    assert orders.rows("SELECT count(*), count(*) FILTER (price = -1) FROM orders") == [[500, 167]]


def test_the_version_before_stays_readable_by_time_and_by_tag(orders: Shop) -> None:
    then = orders.clock.now()
    orders.call("tables.show", project=PROJECT, name="orders")
    from bough.kernel import catalog

    with orders.bough.database.write() as tx:
        catalog.set_tag(tx, PROJECT, "q1", "main", then, "admin")
    orders.clock.advance(60)
    orders.do("delete", "orders", where="id >= 10")
    orders.clock.advance(60)
    orders.do("drop", "orders")
    assert orders.rows(TOTAL, at="q1") == orders.rows(TOTAL, at="90s") == [[1000, 499500, 749250.0]]
    assert orders.rows("SELECT count(*) FROM orders", at="30s") == [[10]]
    with pytest.raises(Invalid, match="orders"):
        orders.rows(TOTAL)


def test_a_branch_and_its_parent_do_not_see_each_other(orders: Shop) -> None:
    orders.branch("try")
    orders.do("delete", "orders", where="id < 500", environment="try")
    orders.do("update", "orders", set={"note": "'x'"}, where="true")
    assert orders.rows("SELECT count(*), count(*) FILTER (note = 'x') FROM orders") == [[1000, 1000]]
    assert orders.rows("SELECT count(*), count(*) FILTER (note = 'x') FROM orders", environment="try") == [[500, 0]]


def test_the_history_says_who_did_what(orders: Shop) -> None:
    orders.do("delete", "orders", where="id = 1", message="a refund")
    found = orders.do("history", "orders")
    assert [(each.why, each.rows, each.by) for each in found] == [
        ("a refund", 999, "admin"), ("created", 1000, "admin"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("select", "code"),
    [
        (values([(1, 1, 1.0, "a")], "id", "kind", "price", "note"), "KEY_EXISTS"),
        (values([(9000, 1, 1.0, "a"), (9000, 1, 1.0, "b")], "id", "kind", "price", "note"), "KEY_TWICE"),
        ("SELECT NULL::BIGINT AS id, 1 AS kind, 1.0 AS price, 'a' AS note", "NULL_REFUSED"),
        ("SELECT 1 AS kind", "COLUMN_MISSING"),
        ("SELECT 9000 AS id, 2 AS colour", "COLUMN_UNKNOWN"),
        ("SELECT 'nine' AS id", "DATA_INVALID"),
    ],
)
def test_rows_that_do_not_fit_are_refused_and_change_nothing(orders: Shop, select: str, code: str) -> None:
    before = orders.value("orders")
    with pytest.raises(Problem) as caught:
        orders.do("append", "orders", blob=orders.file(select))
    assert caught.value.own_code == code
    assert orders.value("orders") == before


def test_an_update_cannot_give_two_rows_one_key(orders: Shop) -> None:
    for where, value in (("id < 2", "77"), ("id = 1", "2")):
        with pytest.raises(Conflict, match="two rows would have the key"):
            orders.do("update", "orders", set={"id": value}, where=where)
    assert orders.do("update", "orders", set={"id": "id + 1"}, where="true").changed == 1000


@pytest.mark.parametrize(
    "condition", ["1=1) OR (1=1", "true; DROP VIEW it", "", "true) UNION SELECT (1", "*", "id = 1 /*", "id, kind"]
)
def test_a_condition_is_one_expression(orders: Shop, condition: str) -> None:
    before = orders.value("orders")
    with pytest.raises(Invalid):
        orders.do("delete", "orders", where=condition)
    assert orders.value("orders") == before


@pytest.mark.parametrize("kind", ["HUGEINT", "INTERVAL", "BIT", "TIMETZ"])
def test_types_that_tables_do_not_keep_are_refused_with_another(shop: Shop, kind: str) -> None:
    with pytest.raises(Invalid) as caught:
        shop.do("create", "t", schema=f"id {kind}")
    assert caught.value.own_code == "TYPE_UNSUPPORTED" and "cast it to" in caught.value.hint


def test_nested_values_decimals_and_moments_come_back_as_they_went_in(shop: Shop) -> None:
    select = (
        "SELECT 1.10::DECIMAL(10,2) AS d, [1, 2] AS l, {'a': 1, 'b c': 'x'} AS s, MAP {'k': 1.5} AS m, "
        "DATE '2026-01-02' AS day, TIMESTAMPTZ '2026-01-02 00:00:00+02' AS at, uuid '0b8d5ad0-0000-4000-8000-000000000001' AS u, "  # noqa: E501 - one literal
        "'\\xAA'::BLOB AS b, 'nan'::DOUBLE AS f"
    )
    shop.do("create", "odd", blob=shop.file(select))
    shop.do("append", "odd", blob=shop.file(select))
    shop.do("update", "odd", set={"d": "d + 1"}, where="true")
    assert shop.rows("SELECT * FROM odd LIMIT 1") == [
        ["2.10", [1, 2], {"a": 1, "b c": "x"}, {"k": "1.5"}, "2026-01-02", "2026-01-01T22:00:00Z",
         "0b8d5ad0-0000-4000-8000-000000000001", "qg==", None],
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["Orders", "1st", "a-b", "a b", "../x", "", "incoming", "é"])
def test_table_names_need_no_quotes(shop: Shop, name: str) -> None:
    with pytest.raises(Invalid) as caught:
        shop.call("tables.create", project=PROJECT, name=name, schema="id INTEGER")
    assert caught.value.own_code == "TABLE_NAME_INVALID"


def test_a_table_that_is_there_is_not_made_again_and_one_that_is_not_is_named(orders: Shop) -> None:
    with pytest.raises(Conflict, match="already"):
        orders.do("create", "orders", schema="id INTEGER")
    with pytest.raises(NotFound, match="there are orders"):
        orders.do("show", "order")


def test_a_protected_environment_asks_for_an_approver_before_any_work(orders: Shop) -> None:
    from bough.kernel import catalog

    with orders.bough.database.write() as tx:
        catalog.protect(tx, PROJECT, "main", True)
    developer = Principal(id="pri_d", name="dev", role=Role.DEVELOPER)
    with pytest.raises(Forbidden, match="protected"):
        orders.bough.operations.call("tables.delete", {"project": PROJECT, "name": "orders", "where": "1=1"}, developer)


def test_a_repeated_key_appends_once(orders: Shop) -> None:
    request = {"project": PROJECT, "name": "orders",
               "blob": orders.file(values([(9000, 1, 1.0, "a")], "id", "kind", "price", "note"))}  # fmt: skip
    admin = Principal(id="pri_admin", name="admin", role=Role.ADMIN)
    first, again = (orders.bough.operations.call("tables.append", request, admin, key="k1") for _ in range(2))
    assert first == again and first.rows == 1001


def test_a_flipped_bit_is_found_and_named_before_rows_are_given(orders: Shop) -> None:
    blob = decode(orders.value("orders")).files[0].blob
    path = orders.bough.blobs.local_path(blob)
    assert path is not None
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    for ask in (lambda: orders.rows(TOTAL), lambda: orders.do("delete", "orders", where="true")):
        with pytest.raises(Problem) as caught:
            ask()
        assert caught.value.own_code in ("BLOB_DAMAGED", "BLOB_NOT_FOUND")
        assert blob in str(caught.value)


def test_blobs_without_files_of_their_own_are_copied_once(tmp_path: Any) -> None:
    from bough.data.tables.store import TableFiles

    blobs = MemoryBlobs()
    files = TableFiles(blobs, tmp_path / "copies")
    digest = blobs.put(b"rows")
    assert files.path(digest).read_bytes() == files.path(digest).read_bytes() == b"rows"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data is not beside this checkout: set BOUGH_SHARED_DATA")
def test_real_tables_give_what_duckdb_gives(shop: Shop) -> None:
    import duckdb

    for name in ("beijing_air_pollutants", "bike_sharing_hourly"):
        path = SHARED / f"{name}.parquet"
        shop.do("create", name, blob=shop.upload(path))
        asked = "SELECT count(*), min(COLUMNS(*))::VARCHAR FROM {}"
        assert shop.rows(asked.format(name)) == [list(duckdb.sql(asked.format(f"'{path}'")).fetchall()[0])]
    gone = shop.do("delete", "beijing_air_pollutants", where="station = 'Aotizhongxin' AND \"PM2.5\" > 100")
    assert 0 < gone.changed < 35064 and gone.rows == 420768 - gone.changed
