"""Tables are compacted when they have been left alone, and whoever changes one meanwhile wins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bough.data.tables import loop
from bough.data.tables.models import decode
from bough.data.tables.rules import MANY_SMALL_FILES
from tests.data.tables.conftest import Shop, left_by, over_copy


@pytest.fixture(scope="module")
def of_crumbs(of_orders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many small files, as appends of a few rows leave them."""
    shop = over_copy(of_orders, tmp_path_factory.mktemp("crumbs"))
    for number in range(MANY_SMALL_FILES + 4):
        row = f"SELECT {10_000 + number} AS id, 1 AS kind, 1.0::DOUBLE AS price, 'x' AS note"
        shop.do("append", "orders", blob=shop.file(row))
    return left_by(shop)


@pytest.fixture
def crumbs(of_crumbs: Path, tmp_path: Path) -> Iterator[Shop]:
    made = over_copy(of_crumbs, tmp_path)
    yield made
    made.bough.stop()


def test_a_table_of_crumbs_is_compacted_after_a_while_and_loses_nothing(crumbs: Shop) -> None:
    before, rows = crumbs.do("show", "orders"), crumbs.rows("SELECT * FROM orders ORDER BY id LIMIT 9999")
    assert before.compact
    crumbs.bough.loop.run_until_idle()
    assert crumbs.do("show", "orders").files == before.files  # it may still be being filled
    for _ in range(10):
        crumbs.clock.advance(loop.QUIET_S + 1)
        crumbs.bough.loop.run_until_idle()
    after = crumbs.do("show", "orders")
    assert after.files < before.files and not after.compact
    assert crumbs.rows("SELECT * FROM orders ORDER BY id LIMIT 9999") == rows
    assert crumbs.do("history", "orders")[0].by == "system"


def test_what_a_branch_inherits_is_left_alone(crumbs: Shop) -> None:
    crumbs.branch("dev")
    inherited = crumbs.value("orders", "dev")
    with crumbs.bough.database.write() as tx:
        crumbs.bough.events.emit(tx, loop.CHANGED, "shop/dev/orders", rows=0)
    crumbs.clock.advance(loop.QUIET_S + 1)
    crumbs.bough.loop.run_until_idle()
    assert crumbs.value("orders", "dev") == inherited
    assert decode(crumbs.value("orders")) != decode(inherited)


def test_a_table_that_is_gone_is_forgotten(crumbs: Shop) -> None:
    crumbs.do("drop", "orders")
    crumbs.clock.advance(loop.QUIET_S + 1)
    assert crumbs.bough.loop.run_until_idle() >= 1
