"""Two branches of one table, merged: checked against a dictionary of rows."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bough.adapters.blobs.directory import DirectoryBlobs
from bough.adapters.tables import Column
from bough.adapters.tables.duckdb import DuckTables
from bough.data.tables import rules
from bough.data.tables.incoming import Incoming
from bough.data.tables.merging import TableMerger
from bough.data.tables.models import Version, decode, encode
from bough.data.tables.store import TableFiles
from bough.data.tables.writing import Workshop
from bough.kernel.merging import Choices
from tests.depth import times

Rows = dict[int, int]  # id -> v
EXAMPLES = times("BOUGH_HISTORIES", quick=6, deep=30)
NONE = Choices()


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0
        self.files = TableFiles(DirectoryBlobs(folder / "blobs"), folder / "copies")
        self.tables = DuckTables(folder / "sessions")
        self.shop, self.merger = Workshop(self.files, self.tables), TableMerger(self.files, self.tables)

    def table(self, rows: Rows, *, key: bool) -> Version:
        version = rules.new([Column("id", "BIGINT"), Column("v", "BIGINT")], ["id"] if key else [])
        return self.append(version, rows)

    def append(self, version: Version, rows: Rows) -> Version:
        return self.shop.append(version, self.shop.take(version, self.file(rows))).version if rows else version

    def file(self, rows: Rows) -> Incoming:
        self.count += 1
        path = self.folder / f"{self.count}.parquet"
        written = ", ".join(f"({key}::BIGINT, {value}::BIGINT)" for key, value in rows.items())
        duckdb.execute(f"COPY (SELECT * FROM (VALUES {written}) AS t(id, v)) TO '{path}' (FORMAT parquet)")
        return Incoming(blob=self.files.keep(path))

    def rows(self, version: Version) -> list[tuple[Any, ...]]:
        with self.tables.session({"t": self.files.relation(version)}) as session:
            return [tuple(row) for row in session.rows("SELECT * FROM t ORDER BY ALL").rows]

    def merge(self, base: Version, ours: Version, theirs: Version, choices: Choices = NONE) -> tuple[Any, list[Any]]:
        value, conflicts = self.merger.merge("t", encode(base), encode(ours), encode(theirs), choices)
        return (None if value is None else decode(value)), conflicts

    def play(self, version: Version, rows: Rows, moves: list[Any]) -> tuple[Version, Rows]:
        """The same changes, done to the table and to the dictionary."""
        rows = dict(rows)
        for verb, ids, value in moves:
            if verb == "put":
                fresh = {id: value for id in ids} if version.key else {100 * value + id: value for id in ids}
                if version.key:
                    version = self.shop.upsert(version, self.file(fresh)).version
                else:
                    fresh = {id: v for id, v in fresh.items() if id not in rows}
                    version = self.append(version, fresh)
                rows |= fresh
                continue
            if verb == "compact":
                version = self.shop.compact(version, all=True).version
                continue
            listed = f"id IN ({', '.join(map(str, ids))})"
            if verb == "delete":
                version = self.shop.delete(version, listed).version
                rows = {id: v for id, v in rows.items() if id not in ids}
            else:
                version = self.shop.update(version, listed, {"v": str(value)}).version
                rows = {id: value if id in ids else v for id, v in rows.items()}
        return version, rows


@pytest.fixture
def bench() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory() as folder:
        yield Bench(Path(folder))


IDS = st.lists(st.integers(1, 6), min_size=1, max_size=3, unique=True)
MOVES = st.lists(st.tuples(st.sampled_from(["put", "delete", "update", "compact"]), IDS, st.integers(1, 3)), max_size=3)


BEFORE: Rows = {1: 0, 2: 0, 3: 0, 4: 0}


@pytest.fixture(scope="module", params=[True, False], ids=["key", "no-key"])
def base(request: pytest.FixtureRequest) -> Iterator[tuple[Bench, Version]]:
    """Where all merges begin: no version ever changes, so one is enough."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        yield bench, bench.table(BEFORE, key=request.param)


@settings(max_examples=EXAMPLES)
@given(ours=MOVES, theirs=MOVES, side=st.sampled_from(["ours", "theirs"]))
def test_a_merge_does_what_a_dictionary_would(
    base: tuple[Bench, Version], ours: list[Any], theirs: list[Any], side: str
) -> None:
    bench, before = base
    if not before.key:  # what one side puts, the other does not: new rows of both stay, whatever they hold
        theirs = [(verb, ids, value + 10 if verb == "put" else value) for verb, ids, value in theirs]
    (mine, my_rows), (other, their_rows) = bench.play(before, BEFORE, ours), bench.play(before, BEFORE, theirs)
    expected: Rows = {}
    clashes = set()
    for id in BEFORE.keys() | my_rows.keys() | their_rows.keys():
        b, o, t = (each.get(id) for each in (BEFORE, my_rows, their_rows))
        if o != t and o != b and t != b:
            clashes.add(str(id))
        value = o if t == b or o == t or (o != b and side == "ours") else t
        if value is not None:
            expected[id] = value
    merged, conflicts = bench.merge(before, mine, other)
    rows = {each.row for each in conflicts}
    if before.key:
        assert rows == clashes
    else:
        assert len(rows) == len(clashes)  # named by row id, which is the id less one here
        assert rows == {str(int(id) - 1) for id in clashes}
    if clashes:
        assert merged is None
        merged, conflicts = bench.merge(before, mine, other, Choices(all=side))
    assert conflicts == []
    found = bench.rows(merged)
    assert found == sorted(expected.items())
    if merged.key:
        assert len({row[0] for row in found}) == merged.rows


def test_a_conflict_says_what_each_side_did_and_is_decided_row_by_row(bench: Bench) -> None:
    base = bench.table({1: 0, 2: 0, 3: 0}, key=True)
    ours = bench.shop.update(base, "id < 3", {"v": "7"}).version
    theirs = bench.shop.delete(bench.shop.update(base, "id = 2", {"v": "9"}).version, "id = 1").version
    merged, conflicts = bench.merge(base, ours, theirs)
    assert merged is None
    assert [(each.id, each.base, each.ours, each.theirs) for each in conflicts] == [
        ("table:t#1", {"id": 1, "v": 0}, {"id": 1, "v": 7}, None),
        ("table:t#2", {"id": 2, "v": 0}, {"id": 2, "v": 7}, {"id": 2, "v": 9}),
    ]
    merged, left = bench.merge(base, ours, theirs, Choices(by_id={"table:t#1": "theirs"}))
    assert merged is None and [each.row for each in left] == ["2"]
    merged, left = bench.merge(base, ours, theirs, Choices(by_id={"table:t#1": "theirs", "table:t#2": "ours"}))
    assert bench.rows(merged) == [(2, 7), (3, 0)]


def test_columns_of_both_sides_come_together_by_id(bench: Bench) -> None:
    base = bench.table({1: 0, 2: 0}, key=True)
    ours = rules.rename_column(rules.add_column(base, "a", "INTEGER"), "v", "value")
    ours = bench.shop.update(ours, "id = 1", {"a": "5"}).version
    theirs = rules.add_column(rules.add_column(base, "b", "VARCHAR"), "a", "INTEGER")
    theirs = bench.shop.update(theirs, "id = 2", {"b": "'x'", "a": "6", "v": "3"}).version
    merged, conflicts = bench.merge(base, ours, theirs)
    assert conflicts == []
    assert [each.name for each in merged.fields] == ["id", "value", "a", "b"]
    assert bench.rows(merged) == [(1, 0, 5, None), (2, 3, 6, "x")]
    assert bench.rows(rules.drop_column(merged, "a")) == [(1, 0, None), (2, 3, "x")]


def test_one_name_with_two_types_is_a_conflict(bench: Bench) -> None:
    base = bench.table({1: 0}, key=True)
    ours, theirs = rules.add_column(base, "a", "INTEGER"), rules.add_column(base, "a", "VARCHAR")
    merged, conflicts = bench.merge(base, ours, theirs)
    assert merged is None and [each.id for each in conflicts] == ["table:t#schema:a"]
    merged, conflicts = bench.merge(base, ours, theirs, Choices(all="theirs"))
    assert conflicts == [] and [each.type for each in merged.fields] == ["BIGINT", "BIGINT", "VARCHAR"]


def test_a_column_dropped_here_and_widened_there_is_a_conflict(bench: Bench) -> None:
    base = rules.add_column(bench.table({1: 0}, key=True), "a", "INTEGER")
    ours, theirs = rules.drop_column(base, "a"), rules.widen_column(base, "a", "BIGINT")
    assert [each.row for each in bench.merge(base, ours, theirs)[1]] == ["schema:a"]
    assert bench.merge(base, ours, rules.add_column(base, "c", "DATE"))[0].field("a") is None


def test_tables_made_on_both_sides_are_merged_by_key(bench: Bench) -> None:
    ours, theirs = bench.table({1: 1, 2: 2}, key=True), bench.table({2: 2, 3: 3}, key=True)
    value, conflicts = bench.merger.merge("t", None, encode(ours), encode(theirs), NONE)
    assert conflicts == [] and bench.rows(decode(value)) == [(1, 1), (2, 2), (3, 3)]
