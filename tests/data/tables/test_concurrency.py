"""Changes of one table at the same time: none is lost, none is done twice."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bough.adapters.tables.duckdb import DuckSession, DuckTables
from bough.kernel.errors import Conflict
from bough.kernel.operations import ATTEMPTS
from tests.data.tables.conftest import Shop, with_orders


def test_appends_at_once_all_arrive(shop: Shop) -> None:
    shop.do("create", "log", schema="who BIGINT")
    blobs = [shop.file(f"SELECT {at} AS who FROM range(10)") for at in range(8)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda blob: shop.do("append", "log", blob=blob), blobs))
    assert shop.rows("SELECT who, count(*) FROM log GROUP BY who ORDER BY who") == [[at, 10] for at in range(8)]
    assert shop.rows("SELECT count(DISTINCT __row) FROM rows.log") == [[80]]


class Between(DuckTables):
    """Real tables; after each session of the test's own thread another client has a turn, before anything that was
    worked out there can be committed."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._own = threading.get_ident()
        self.turns: list[Callable[[], object]] = []

    @contextlib.contextmanager
    def session(self, *words: Any, **given: Any) -> Iterator[DuckSession]:
        with super().session(*words, **given) as session:
            yield session
        if self.turns and threading.get_ident() == self._own:
            with ThreadPoolExecutor(1) as other:
                other.submit(self.turns.pop()).result()


@pytest.mark.parametrize("times", [2, ATTEMPTS])
def test_a_delete_is_worked_out_anew_when_the_table_moved(tmp_path: Path, times: int) -> None:
    tables = Between(tmp_path / "between")
    shop = with_orders(Shop(tmp_path, tables=tables))

    def update(turn: int) -> None:
        shop.do("update", "orders", set={"note": f"'{turn}'"}, where="id = 999")

    tables.turns = [partial(update, turn) for turn in range(times)]
    if times == ATTEMPTS:
        with pytest.raises(Conflict) as caught:
            shop.do("delete", "orders", where="id < 10")
        assert caught.value.own_code == "TABLE_MOVED" and tables.turns == []
        assert shop.rows("SELECT count(*) FROM orders") == [[1000]]
    else:
        assert shop.do("delete", "orders", where="id < 10").rows == 990
        assert shop.rows("SELECT note FROM orders WHERE id = 999") == [["0"]]
    shop.bough.stop()
