"""Changes of one table at the same time: none is lost, none is done twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from bough.data.tables.writing import Workshop
from bough.kernel.errors import Conflict
from bough.kernel.operations import ATTEMPTS
from tests.data.tables.conftest import Shop


def test_appends_at_once_all_arrive(shop: Shop) -> None:
    shop.do("create", "log", schema="who BIGINT")
    blobs = [shop.file(f"SELECT {at} AS who FROM range(10)") for at in range(8)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda blob: shop.do("append", "log", blob=blob), blobs))
    assert shop.rows("SELECT who, count(*) FROM log GROUP BY who ORDER BY who") == [[at, 10] for at in range(8)]
    assert shop.rows("SELECT count(DISTINCT __row) FROM rows.log") == [[80]]


class Intruding(Workshop):
    """Somebody else changes the table while a delete is prepared."""

    shop: Shop
    times = 0

    def delete(self, version: Any, where: str) -> Any:
        found = super().delete(version, where)
        if Intruding.times > 0:
            Intruding.times -= 1
            Intruding.shop.do("update", "orders", set={"note": f"'{Intruding.times}'"}, where="id = 999")
        return found


@pytest.mark.parametrize("times", [2, ATTEMPTS])
def test_a_delete_is_worked_out_anew_when_the_table_moved(
    orders: Shop, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bough.data.tables import operations

    Intruding.shop, Intruding.times = orders, times
    monkeypatch.setattr(operations, "Workshop", Intruding)
    if times == ATTEMPTS:
        with pytest.raises(Conflict) as caught:
            orders.do("delete", "orders", where="id < 10")
        assert caught.value.own_code == "TABLE_MOVED"
        assert orders.rows("SELECT count(*) FROM orders") == [[1000]]
    else:
        assert orders.do("delete", "orders", where="id < 10").rows == 990
        assert orders.rows("SELECT note FROM orders WHERE id = 999") == [["0"]]
