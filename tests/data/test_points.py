"""What people may write for a point."""

from __future__ import annotations

import pytest

from bough.adapters.database.sqlite import SqliteDatabase
from bough.data.points import RETENTION_S, check_tag, parse_time, resolve
from bough.kernel import catalog
from bough.kernel.catalog import FILE, Point, Write
from bough.kernel.errors import Invalid, NotFound

DAY = 86_400.0
NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", NOW - 90), ("2h ago", NOW - 7200), ("1.5d", NOW - 129_600), ("2023-11-14T22:13:20+00:00", NOW)],
)
def test_a_time_is_an_age_or_a_date(text: str, seconds: float) -> None:
    assert parse_time(text, NOW) == seconds


@pytest.mark.parametrize("text", ["v1", "", "yesterday", "2h30", "99999999999d99"])
def test_anything_else_is_no_time(text: str) -> None:
    assert parse_time(text, NOW) is None


@pytest.mark.parametrize("name", ["", "2h", "2024-01-01", "a b", "../x", "-v", "x" * 65])
def test_a_tag_cannot_be_taken_for_something_else(name: str) -> None:
    with pytest.raises(Invalid):
        check_tag(name)
    assert check_tag("v1.0_final-2") == "v1.0_final-2"


def test_a_point_by_tag_time_change_or_other_environment(database: SqliteDatabase) -> None:
    with database.write() as tx:
        main = catalog.open_head(tx, "shop", "main", None)
        for days_ago in (60, 40, 2, 1):
            value = {"days": days_ago}
            catalog.commit(tx, main, [Write(FILE, "d/a", value)], at=NOW - days_ago * DAY, by="t", why="")
        other = catalog.open_head(tx, "shop", "try", Point(main))
        catalog.set_tag(tx, "shop", "v1", "main", NOW, "t")

        def days(at: str) -> int:
            found = catalog.get(tx, resolve(tx, "shop", "main", at, NOW), FILE, "d/a")
            assert found
            return int(found.value["days"])

        assert [days(at) for at in ("", "v1", "#3", "36h", "try", "5d")] == [1, 1, 2, 2, 1, 40]
        assert resolve(tx, "shop", "main", "try", NOW).layer == other
        for gone in ("#1", f"{RETENTION_S / DAY + 15}d", "v2", "100d"):
            with pytest.raises(NotFound):
                resolve(tx, "shop", "main", gone, NOW)
