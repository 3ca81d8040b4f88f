"""Rows that are erased are in no byte of the home any more; all other rows of every version stay as they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from bough.kernel.errors import NotFound
from tests.data.tables.conftest import PROJECT, Shop

CANARY = "zz-canary-7f3a"
PEOPLE = f"SELECT range AS id, CASE range WHEN 500 THEN '{CANARY}' ELSE 'p' || range END AS note FROM range(1000)"


def traces(folder: Path, text: str) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def test_rows_go_from_branches_tags_and_history_and_from_every_byte(shop: Shop) -> None:
    shop.do("create", "people", key=["id"], blob=shop.file(PEOPLE))
    shop.branch("try")
    shop.call("tags.create", project=PROJECT, name="v1")
    shop.do("delete", "people", where="id IN (3, 700)")
    shop.do("delete", "people", where=f"note = '{CANARY}'", environment="try")
    shop.do("rename_column", "people", column="note", to="remark")
    shop.do("update", "people", set={"remark": "remark || '!'"}, where="id = 500")
    shop.do("compact", "people", all=True)
    ids = shop.rows("SELECT id, __row FROM rows.people WHERE id <> 500 ORDER BY id")
    assert traces(shop.folder / "home", CANARY)
    proof = shop.do("erase", "people", where=f"remark LIKE '{CANARY}%'")
    assert proof.deleted_blobs and proof.entries and any("try" in each.seen_in for each in proof.entries)
    assert shop.rows("SELECT id, __row FROM rows.people ORDER BY id") == ids
    assert shop.rows("SELECT count(*), count(DISTINCT id) FROM people", at="v1") == [[999, 999]]
    assert shop.rows("SELECT count(*) FROM people", environment="try") == [[999]]
    assert shop.rows("SELECT count(*) FROM people WHERE id IN (3, 500, 700)") == [[0]]
    assert shop.rows("SELECT note FROM people WHERE id = 999", at="v1") == [["p999"]]
    assert shop.call("data.erasures", project=PROJECT)[0].entries == proof.entries
    assert shop.do("erase", "people", where=f"remark LIKE '{CANARY}%'").entries == []
    shop.bough.database.close()  # the database's log goes with it
    assert traces(shop.folder / "home", CANARY) == []


def test_rows_of_a_file_that_stands_twice_keep_their_ids(shop: Shop) -> None:
    blob = shop.file("SELECT range AS id FROM range(10)")
    shop.do("create", "log", blob=blob)
    shop.do("append", "log", blob=blob)
    shop.do("erase", "log", where="id = 4")
    assert shop.rows("SELECT list(__row ORDER BY __row) FROM rows.log") == [
        [[each for each in range(20) if each not in (4, 14)]]
    ]


def test_a_table_that_never_was_is_said(shop: Shop) -> None:
    with pytest.raises(NotFound):
        shop.do("erase", "nobody", where="true")
