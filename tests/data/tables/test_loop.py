"""Tables are compacted when they have been left alone, and whoever changes one meanwhile wins."""

from __future__ import annotations

from bough.data.tables import loop
from bough.data.tables.models import decode
from bough.data.tables.rules import MANY_SMALL_FILES
from tests.data.tables.conftest import Shop


def crumbs(shop: Shop, count: int = MANY_SMALL_FILES + 4, environment: str = "main") -> None:
    """Many small files, as appends of a few rows leave them."""
    for number in range(count):
        row = f"SELECT {10_000 + number} AS id, 1 AS kind, 1.0::DOUBLE AS price, 'x' AS note"
        shop.do("append", "orders", blob=shop.file(row), environment=environment)


def test_a_table_of_crumbs_is_compacted_after_a_while_and_loses_nothing(orders: Shop) -> None:
    crumbs(orders)
    before, rows = orders.do("show", "orders"), orders.rows("SELECT * FROM orders ORDER BY id LIMIT 9999")
    assert before.compact
    orders.bough.loop.run_until_idle()
    assert orders.do("show", "orders").files == before.files  # it may still be being filled
    for _ in range(10):
        orders.clock.advance(loop.QUIET_S + 1)
        orders.bough.loop.run_until_idle()
    after = orders.do("show", "orders")
    assert after.files < before.files and not after.compact
    assert orders.rows("SELECT * FROM orders ORDER BY id LIMIT 9999") == rows
    assert orders.do("history", "orders")[0].by == "system"


def test_what_a_branch_inherits_is_left_alone(orders: Shop) -> None:
    crumbs(orders)
    orders.branch("dev")
    inherited = orders.value("orders", "dev")
    with orders.bough.database.write() as tx:
        orders.bough.events.emit(tx, loop.CHANGED, "shop/dev/orders", rows=0)
    orders.clock.advance(loop.QUIET_S + 1)
    orders.bough.loop.run_until_idle()
    assert orders.value("orders", "dev") == inherited
    assert decode(orders.value("orders")) != decode(inherited)


def test_a_table_that_is_gone_is_forgotten(orders: Shop) -> None:
    crumbs(orders)
    orders.do("drop", "orders")
    orders.clock.advance(loop.QUIET_S + 1)
    assert orders.bough.loop.run_until_idle() >= 1
