"""Columns that change, and what a comparison of two states says."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from bough.data.tables import rules
from bough.data.tables.models import decode
from bough.kernel.errors import Conflict, Invalid
from tests.data.tables.conftest import PROJECT, Shop


def test_columns_are_added_renamed_widened_and_dropped_without_touching_a_file(orders: Shop) -> None:
    before = decode(orders.value("orders"))
    orders.do("add_column", "orders", column="colour", type="text")
    orders.do("rename_column", "orders", column="note", to="remark")
    orders.do("update", "orders", set={"colour": "'red'"}, where="id = 1")
    orders.do("drop_column", "orders", column="kind")
    assert [(each.id, each.name, each.type) for each in orders.do("schema", "orders")] == [
        (1, "id", "BIGINT"), (3, "price", "DOUBLE"), (4, "remark", "VARCHAR"), (5, "colour", "VARCHAR"),
    ]  # fmt: skip
    assert orders.rows("SELECT * FROM orders WHERE id < 2 ORDER BY id") == [[0, 0.0, "o0", None], [1, 1.5, "o1", "red"]]
    assert decode(orders.value("orders")).files[0].blob == before.files[0].blob
    again = orders.do("add_column", "orders", column="kind", type="INTEGER")
    assert again.columns[-1].id == 6
    assert orders.rows("SELECT count(kind) FROM orders") == [[0]]


def test_a_wider_type_is_read_from_the_old_files(shop: Shop) -> None:
    shop.do("create", "t", blob=shop.file("SELECT 1::INTEGER AS i, 1.5::FLOAT AS f, 1.25::DECIMAL(4,2) AS d"))
    for column, kind in (("i", "BIGINT"), ("f", "DOUBLE"), ("d", "DECIMAL(12,4)")):
        shop.do("widen_column", "t", column=column, type=kind)
    shop.do(
        "append", "t", blob=shop.file("SELECT 5000000000 AS i, 2.5::DOUBLE AS f, 12345678.1234::DECIMAL(12,4) AS d")
    )
    assert shop.rows("SELECT * FROM t ORDER BY i") == [[1, 1.5, "1.2500"], [5000000000, 2.5, "12345678.1234"]]
    with pytest.raises(Invalid, match="not every value"):
        shop.do("widen_column", "t", column="i", type="INTEGER")


@pytest.mark.parametrize(
    ("old", "new", "wider"),
    [
        ("TINYINT", "BIGINT", True), ("INTEGER", "DOUBLE", True), ("BIGINT", "DOUBLE", False),
        ("BIGINT", "INTEGER", False),
        ("UINTEGER", "BIGINT", True), ("UBIGINT", "BIGINT", False), ("DECIMAL(4,2)", "DECIMAL(6,3)", True),
        ("DECIMAL(4,2)", "DECIMAL(5,4)", False), ("VARCHAR", "INTEGER", False), ("DATE", "TIMESTAMP", True),
    ],
)  # fmt: skip
def test_wider_means_that_every_value_fits(old: str, new: str, wider: bool) -> None:
    assert rules.is_wider(old, new) is wider


def test_a_key_column_cannot_be_dropped_and_a_name_is_given_once(orders: Shop) -> None:
    with pytest.raises(Invalid, match="part of the key"):
        orders.do("drop_column", "orders", column="id")
    with pytest.raises(Conflict):
        orders.do("rename_column", "orders", column="kind", to="Price")


def test_a_diff_counts_rows_by_key_and_says_how_values_moved(orders: Shop) -> None:
    orders.branch("try")
    orders.do("delete", "orders", where="id < 100", environment="try")
    orders.do("update", "orders", set={"price": "price + 2000"}, where="id >= 500", environment="try")
    orders.do("append", "orders", blob=orders.file("SELECT 5000 AS id, 3 AS kind, 1.0 AS price, 'x' AS note"),
              environment="try")  # fmt: skip
    orders.do("add_column", "orders", column="extra", type="INTEGER", environment="try")
    [found] = orders.call("tables.diff", project=PROJECT, before="main", after="try")
    assert (found.added, found.removed, found.changed) == (1, 100, 500)
    assert found.schema == ["+ extra INTEGER"]
    price = next(each for each in found.columns if each.name == "price")
    assert price.before.mean == 749.25 and price.after.greatest == 3498.5 and price.shift > 0.25
    assert sum(each.after for each in price.bins) == pytest.approx(1)
    kind = next(each for each in found.columns if each.name == "kind")
    assert kind.shift < 0.1
    assert found.examples["added"] == ["5000"]
    [drawn] = orders.call("tables.diff", project=PROJECT, before="main", after="try", picture=True)
    titles = [each.text for each in ElementTree.fromstring(drawn.picture).iter("{http://www.w3.org/2000/svg}text")]
    assert {"orders", "price"} <= {*titles}


def test_equal_states_have_no_difference_and_a_new_table_is_all_added(orders: Shop) -> None:
    orders.branch("try")
    assert orders.call("tables.diff", project=PROJECT, before="main", after="try") == []
    orders.do("create", "more", schema="id INTEGER", environment="try")
    [found] = orders.call("tables.diff", project=PROJECT, before="main", after="try")
    assert (found.name, found.added, found.schema) == ("more", 0, ["+ id INTEGER"])
