"""Who an item is, and effects that happen once."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

import bough
from bough.runtime.items import Contract
from bough.runtime.queued import item_of

META = "application/json;bough-item=itm_1/2/order%2F7%3Bndjson/k;ndjson"


def test_a_function_that_asks_is_told_who_its_item_is_and_its_body_is_as_ever() -> None:
    def predict(text: str, item: bough.Item) -> list[Any]:
        return [text, item.id, item.attempt, item.dedup, item.key]

    contract = Contract(predict)
    assert contract.call(contract.decode(b'"hello"', META)) == ["hello", "itm_1", 2, "order/7;ndjson", "k"]
    assert contract.call(contract.decode(b'"hello"')) == ["hello", "", 1, "", ""], "a request is no item"
    assert contract.call(contract.from_fields({"text": "x"}))[0] == "x"
    assert contract.input_schema == {"type": "string"}


def test_a_batch_gets_one_for_each() -> None:
    @bough.batch
    def predict(rows: list[int], flags: list[bool], items: list[bough.Item]) -> list[str]:
        return [f"{row}{flag}{item.id}" for row, flag, item in zip(rows, flags, items, strict=True)]

    contract = Contract(predict)
    decoded = [contract.decode(b'{"rows": %d, "flags": true}' % number, META) for number in range(2)]
    assert contract.call_batch(decoded) == ["0Trueitm_1", "1Trueitm_1"]


def test_what_does_not_ask_is_not_told(tmp_path: Path) -> None:
    def predict(body: bytes) -> int:
        return len(body)

    contract = Contract(predict)
    assert contract.call(contract.decode(b"\x00\x01", "image/png;bough-item=itm_1/1//;ndjson")) == 2
    assert item_of("image/png;bough-item=itm_1/1//;ndjson")[1] == "image/png;ndjson"
    assert item_of("text/plain")[1] == "text/plain"


def test_an_effect_is_noted_with_it_and_happens_once(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    sqlite3.connect(path).execute("CREATE TABLE charge (amount)").connection.commit()

    def charge(item: bough.Item, amount: int, *, dies: bool = False) -> bool:
        with sqlite3.connect(path) as db:
            first = item.once(db)
            if first:
                db.execute("INSERT INTO charge VALUES (?)", (amount,))
            if dies:
                raise OSError("killed before the commit")
            return first

    item = bough.Item("itm_1", 1, "order-7")
    with pytest.raises(OSError):
        charge(item, 1, dies=True)
    assert charge(item, 2)
    assert not charge(bough.Item("itm_1", 2, "order-7"), 3)
    assert not charge(bough.Item("itm_9", 1, "order-7"), 4), "another item with the same dedup id is the same"
    assert charge(bough.Item("itm_2"), 5) and not charge(bough.Item("itm_2", 2), 6)
    assert charge(bough.Item(), 7) and charge(bough.Item(), 8), "a request that is no item is never held back"
    assert [row[0] for row in sqlite3.connect(path).execute("SELECT amount FROM charge")] == [2, 5, 7, 8]
    with pytest.raises(ValueError, match="name of a table"):
        item.once(sqlite3.connect(path), table="x; DROP TABLE charge")
