"""What people may write for a state: one rule for branches, files and tables."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from bough.adapters.database.sqlite import SqliteDatabase
from bough.kernel import catalog
from bough.kernel.catalog import FILE, Point, Write
from bough.kernel.errors import Invalid, NotFound, Problem
from bough.kernel.moments import moment
from bough.kernel.points import check_tag, resolve

DAY = 86_400.0
NOW = 1_700_000_000.0


@pytest.fixture
def tx(database: SqliteDatabase) -> Iterator[sa.Connection]:
    with database.write() as connection:
        yield connection


def put(tx: sa.Connection, layer: int, days_ago: float, value: int = 0) -> int:
    write = Write(FILE, "d/a", {"days": value or days_ago})
    return catalog.commit(tx, layer, [write], at=NOW - days_ago * DAY, by="t", why="")


def days(tx: sa.Connection, text: str, environment: str = "main") -> float | None:
    found = catalog.get(tx, resolve(tx, "shop", environment, text, NOW), FILE, "d/a")
    return found.value["days"] if found else None


def code(tx: sa.Connection, text: str, environment: str = "main") -> str:
    with pytest.raises(Problem) as refused:
        resolve(tx, "shop", environment, text, NOW)
    return refused.value.own_code


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", NOW - 90),
        ("2h ago", NOW - 7200),
        ("1.5d", NOW - 129_600),
        ("1d12h", NOW - 129_600),
        ("2023-11-14T22:13:20+00:00", NOW),
        ("2023-11-14T22:13:20Z", NOW),
    ],
)
def test_a_time_is_an_age_or_a_date(text: str, seconds: float) -> None:
    assert moment(text, NOW) == seconds


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
def test_a_time_without_a_zone_is_local(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert moment(time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(NOW)), NOW) == NOW
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("text", ["v1", "", "yesterday", "2h30", "99999999999d99"])
def test_anything_else_is_no_time(text: str) -> None:
    assert moment(text, NOW) is None


@pytest.mark.parametrize("name", ["", "2h", "2024-01-01", "a b", "../x", "-v", "a@b", "x" * 65])
def test_a_tag_cannot_be_taken_for_something_else(name: str) -> None:
    with pytest.raises(Invalid):
        check_tag(name)
    assert check_tag("v1.0_final-2") == "v1.0_final-2"


def test_a_state_by_tag_time_change_environment_or_environment_and_time(tx: sa.Connection) -> None:
    main = catalog.open_head(tx, "shop", "main", None)
    for days_ago in (60, 40, 2, 1):
        put(tx, main, days_ago)
    dev = catalog.open_head(tx, "shop", "dev", Point(main))
    catalog.set_tag(tx, "shop", "v1", "main", NOW, "t")
    put(tx, dev, 0.5)
    texts = ["", "main", "v1", "#3", "36h", "36h ago", "5d", "dev", "dev@1h", "dev@20h", "dev@#3", "main@36h"]
    assert [days(tx, text) for text in texts] == [1, 1, 1, 2, 2, 2, 40, 0.5, 0.5, 1, 2, 2]
    assert [days(tx, text, "dev") for text in ("", "20h", "#5", "main")] == [0.5, 1, 0.5, 1]
    assert [code(tx, text) for text in ("v2", "nobody@2h", "main@v1", "100d", "#1", "50d", "dev@50d")] == [
        "POINT_NOT_FOUND", "ENVIRONMENT_NOT_FOUND", "TIME_INVALID", "POINT_NOT_FOUND", "POINT_GONE", "POINT_GONE",
        "POINT_GONE",
    ]  # fmt: skip


def test_a_name_wins_over_a_time_that_is_written_alike(tx: sa.Connection) -> None:
    put(tx, catalog.open_head(tx, "shop", "main", None), 1)
    other = catalog.open_head(tx, "shop", "2d", None)
    put(tx, other, 1, 7)
    assert days(tx, "2d") == 7


def test_what_a_branch_did_not_see_of_a_discarded_parent_is_refused(tx: sa.Connection) -> None:
    main = catalog.open_head(tx, "shop", "main", None)
    for days_ago in (4, 3):
        put(tx, main, days_ago)
    catalog.open_head(tx, "shop", "dev", Point(main))
    assert days(tx, "84h", "dev") == 4
    catalog.close_head(tx, "shop", "main")
    assert days(tx, "", "dev") == 3
    assert code(tx, "84h", "dev") == "POINT_GONE"


def test_states_from_before_a_reset_can_be_named_as_long_as_other_history(tx: sa.Connection) -> None:
    main = catalog.open_head(tx, "shop", "main", None)
    put(tx, main, 50)
    catalog.set_tag(tx, "shop", "old", "main", NOW - 50 * DAY, "t")
    put(tx, main, 3)
    catalog.move_head(tx, "shop", "main", catalog.point(tx, "shop", "old"), NOW - 2 * DAY)
    put(tx, catalog.layer_of(tx, "shop", "main"), 1)
    assert [days(tx, text) for text in ("", "36h", "60h", "#2")] == [1, 50, 3, 3]
    with pytest.raises(NotFound):
        resolve(tx, "shop", "main", "#2", NOW + 40 * DAY)
