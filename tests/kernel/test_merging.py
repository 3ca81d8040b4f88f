"""Merges take what one side changed, agree on what both made equal, and never decide a conflict by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from bough.adapters.database.sqlite import SqliteDatabase
from bough.kernel import catalog, merging
from bough.kernel.catalog import FILE, TABLE, Point, Write
from bough.kernel.errors import Invalid
from bough.kernel.merging import Choices, Conflict, Difference
from bough.kernel.tables import metadata
from tests.depth import times

HISTORIES = times("BOUGH_HISTORIES", quick=60, deep=150)


@pytest.fixture
def tx(database: SqliteDatabase) -> Iterator[sa.Connection]:
    with database.write() as connection:
        yield connection


def put(tx: sa.Connection, layer: int, **files: Any) -> None:
    catalog.commit(tx, layer, [Write(FILE, *each) for each in files.items()], at=1.0, by="ada", why="a test")


def two(tx: sa.Connection, **files: Any) -> tuple[int, int]:
    main = catalog.open_head(tx, "shop", "main", None)
    put(tx, main, **files)
    return main, catalog.open_head(tx, "shop", "dev", Point(main))


def merge(tx: sa.Connection, ours: int, theirs: int, choices: Choices | None = None, **mergers: Any) -> merging.Merged:
    return merging.three_way(
        tx, Point(ours), Point(theirs), kinds=(FILE, TABLE), mergers=mergers, choices=choices or Choices()
    )


def test_differences_are_what_either_side_changed_since_the_branch(tx: sa.Connection) -> None:
    main, dev = two(tx, a=1, b=1, c=1)
    put(tx, dev, a=2, b=None, d=1)
    put(tx, main, c=3)
    found = merging.differences(tx, Point(main), Point(dev))
    assert [(each.key, each.before, each.after, each.action) for each in found] == [
        ("a", 1, 2, "change"), ("b", 1, None, "remove"), ("c", 3, 1, "change"), ("d", None, 1, "add"),
    ]  # fmt: skip


def test_a_value_written_back_is_no_difference(tx: sa.Connection) -> None:
    main, dev = two(tx, a=1)
    put(tx, dev, a=2)
    put(tx, dev, a=1)
    assert merging.differences(tx, Point(main), Point(dev)) == []


def test_what_one_side_alone_changed_is_taken(tx: sa.Connection) -> None:
    main, dev = two(tx, a=1, b=1)
    put(tx, dev, a=2, new=1)
    put(tx, main, b=5)
    found = merge(tx, main, dev)
    assert found.conflicts == []
    assert found.writes == [Write(FILE, "a", 2), Write(FILE, "new", 1)]


def test_what_both_made_equal_is_agreed(tx: sa.Connection) -> None:
    main, dev = two(tx, a=1, b=1)
    for layer in (main, dev):
        put(tx, layer, a=2, b=None)
    assert merge(tx, main, dev) == merging.Merged(writes=[], conflicts=[])


@pytest.mark.parametrize(("ours", "theirs"), [(2, 3), (None, 3), (2, None)])
def test_what_both_changed_differently_is_a_conflict_that_shows_both(tx: sa.Connection, ours: Any, theirs: Any) -> None:
    main, dev = two(tx, a=1)
    put(tx, main, a=ours)
    put(tx, dev, a=theirs, fine=1)
    found = merge(tx, main, dev)
    assert found.conflicts == [Conflict(kind=FILE, key="a", base=1, ours=ours, theirs=theirs)]
    assert found.conflicts[0].id == "file:a"
    assert found.writes == [Write(FILE, "fine", 1)]


def test_a_person_decides_for_all_or_for_one(tx: sa.Connection) -> None:
    main, dev = two(tx, a=1, b=1)
    put(tx, main, a=2, b=2)
    put(tx, dev, a=3, b=3)
    assert merge(tx, main, dev, Choices(all="ours")).writes == []
    assert merge(tx, main, dev, Choices(all="theirs")).writes == [Write(FILE, "a", 3), Write(FILE, "b", 3)]
    one = merge(tx, main, dev, Choices(by_id={"file:b": "theirs"}))
    assert one.writes == [Write(FILE, "b", 3)]
    assert [each.id for each in one.conflicts] == ["file:a"]


def test_a_side_that_does_not_exist_is_refused() -> None:
    with pytest.raises(Invalid):
        Choices(by_id={"file:a": "mine"}).check()


def test_entries_with_an_inside_ask_their_merger_first(tx: sa.Connection) -> None:
    class Sum:
        def merge(self, key: str, base: Any, ours: Any, theirs: Any, choices: Choices) -> Any:
            return ours + theirs - base, []

    main, dev = two(tx, a=10)
    put(tx, main, a=11)
    put(tx, dev, a=15)
    assert merge(tx, main, dev, file=Sum()).writes == [Write(FILE, "a", 16)]


def test_a_merge_is_a_fast_forward_when_the_parent_has_not_moved(tx: sa.Connection) -> None:
    main, dev = two(tx, a=1)
    put(tx, dev, a=2)
    assert not merging.has_moved(tx, Point(main), Point(dev), (FILE,))
    put(tx, main, b=1)
    assert merging.has_moved(tx, Point(main), Point(dev), (FILE,))


def test_cousins_meet_at_their_common_ancestor(tx: sa.Connection) -> None:
    main, dev = two(tx, a=1)
    other = catalog.open_head(tx, "shop", "other", Point(main))
    deep = catalog.open_head(tx, "shop", "deep", Point(dev))
    put(tx, deep, a=2)
    put(tx, main, b=9)
    base = merging.base_of(tx, Point(other), Point(deep))
    assert base.layer == main
    assert merge(tx, other, deep).writes == [Write(FILE, "a", 2)]


def test_strangers_have_nothing_in_common(tx: sa.Connection) -> None:
    one = catalog.open_head(tx, "shop", "one", None)
    other = catalog.open_head(tx, "shop", "other", None)
    put(tx, one, a=1)
    put(tx, other, a=1, b=2)
    assert merging.differences(tx, Point(one), Point(other)) == [Difference(kind=FILE, key="b", before=None, after=2)]


# --- any history: the merge against the textbook's, on dictionaries

CHANGES = st.dictionaries(st.sampled_from("abcd"), st.one_of(st.none(), st.integers(0, 2)), max_size=4)


@pytest.fixture(scope="module")
def histories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteDatabase]:
    made = SqliteDatabase(tmp_path_factory.mktemp("histories") / "bough.db", durable=False)
    with made.write() as tx:
        metadata.create_all(tx)
    yield made
    made.close()


@given(base=CHANGES, ours=CHANGES, theirs=CHANGES, levels=st.integers(0, 3))
@settings(max_examples=HISTORIES)
def test_any_merge_is_what_three_dictionaries_say(
    histories: SqliteDatabase, base: Any, ours: Any, theirs: Any, levels: int
) -> None:
    with histories.write() as tx:
        main, dev = two(tx, **base)
        for _ in range(levels):
            dev = catalog.new_layer(tx, Point(dev))
        put(tx, main, **ours)
        put(tx, dev, **theirs)
        found = merge(tx, main, dev)
        old = {key: value for key, value in base.items() if value is not None}
        mine, other = old | ours, old | theirs
        for key in "abcd":
            was, left, right = old.get(key), mine.get(key), other.get(key)
            conflict = key in [each.key for each in found.conflicts]
            written = {each.key: each.value for each in found.writes}
            assert conflict == (left != right and left != was and right != was)
            assert written.get(key, left) == (right if left == was else left) or conflict
        catalog.commit(tx, main, found.writes, at=1.0, by="ada", why="merge")
        again = merge(tx, main, dev)
        assert again.writes == []  # merging twice changes nothing more
        assert again.conflicts == found.conflicts
