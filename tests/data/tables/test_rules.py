"""Names, types, compaction and pruning: pure decisions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bough.adapters.tables import Bound, Column
from bough.data.tables import rules
from bough.data.tables.models import DataFile, DeleteList, Layout, Statistics, Version, decode, encode
from bough.data.tables.pruning import candidates
from bough.kernel.errors import Invalid


def table(*ranges: tuple[str | None, str | None], kind: str = "BIGINT", bytes: int = 1000) -> Version:
    """A table of one column, with a file for each pair of least and greatest."""
    version = rules.new([Column("id", kind)])
    layout = Layout(columns={1: ("id", kind)})
    for at, (least, greatest) in enumerate(ranges):
        file = DataFile(blob=f"{at:064x}", rows=10, bytes=bytes, layout=0, first_row=0,
                        statistics={1: Statistics(least, greatest, 0)})  # fmt: skip
        version = rules.with_file(version, file, layout)
    return version


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 20)), min_size=1, max_size=6),
       st.sampled_from(["=", "<", "<=", ">", ">="]), st.integers(-60, 80))  # fmt: skip
def test_a_file_is_left_out_only_if_no_value_in_its_range_fits(
    ranges: list[tuple[int, int]], operator: str, wanted: int
) -> None:
    spans = [(low, low + width) for low, width in ranges]
    version = table(*((str(low), str(high)) for low, high in spans))
    compare = {"=": int.__eq__, "<": int.__lt__, "<=": int.__le__, ">": int.__gt__, ">=": int.__ge__}[operator]
    fitting = [at for at, (low, high) in enumerate(spans) if any(compare(v, wanted) for v in range(low, high + 1))]
    assert candidates(version, [Bound("ID", operator, str(wanted), "number")]) == fitting


@pytest.mark.parametrize(
    ("kind", "span", "bound", "kept"),
    [
        ("DATE", ("2026-01-01", "2026-01-31"), ("=", "2026-02-01", "text"), False),
        ("DATE", ("2026-01-01", "2026-01-31"), ("=", "2026-1-5", "text"), True),  # not the usual spelling: in doubt
        ("TIMESTAMP", ("2026-01-01 00:00:00", "2026-01-02 00:00:00"), ("<=", "2026-01-01", "text"), True),
        ("TIMESTAMP", ("2026-01-01 00:00:00", "2026-01-02 00:00:00"), ("<", "2026-01-01", "text"), False),
        ("VARCHAR", ("b", "d"), (">", "d", "text"), False),
        ("VARCHAR", ("b", None), (">", "d", "text"), True),  # its greatest was too long to keep
        ("DOUBLE", ("1.5", "nan"), (">", "7", "number"), True),
        ("BIGINT", ("1", "5"), ("=", "9", "text"), True),
    ],
)
def test_in_doubt_a_file_is_read(
    kind: str, span: tuple[str, str | None], bound: tuple[str, str, str], kept: bool
) -> None:
    assert candidates(table(span, kind=kind), [Bound("id", *bound)]) == ([0] if kept else [])


def test_small_and_worn_files_are_compacted_and_large_whole_ones_are_not() -> None:
    large = table(*[("1", "2")] * 3, bytes=64 << 20)
    assert rules.to_compact(large) == [] and not rules.wants_compaction(large)
    worn = DeleteList(blob="d" * 64, rows=5, bytes=10)
    one = rules.with_files(large, {1: DataFile(**{**_fields(large.files[1]), "deleted": worn})})
    assert rules.to_compact(one) == [[1]] and rules.wants_compaction(one)
    small = table(*[("1", "2")] * 20)
    assert rules.to_compact(small) == [list(range(20))] and rules.wants_compaction(small)


def _fields(file: DataFile) -> dict[str, object]:
    return {name: getattr(file, name) for name in file.__struct_fields__}


def test_a_version_survives_the_catalog() -> None:
    version = table(("1", "5"), ("6", None))
    assert decode(encode(version)) == version


@pytest.mark.parametrize(
    ("kind", "supported"),
    [
        ("STRUCT(a INTEGER, \"b c\" VARCHAR[])", True), ("MAP(VARCHAR, DECIMAL(5,2))", True), ("INTEGER[3]", True),
        ("STRUCT(a HUGEINT)", False), ("UNION(a INTEGER)", False), ("ENUM('a')", False), ("INTERVAL", False),
    ],
)  # fmt: skip
def test_nested_types_are_kept_if_their_parts_are(kind: str, supported: bool) -> None:
    assert rules.is_supported(kind) is supported


@pytest.mark.parametrize("name", ["__row", "filename", "", "a\nb", "x" * 129])
def test_column_names_that_would_confuse_are_refused(name: str) -> None:
    with pytest.raises(Invalid):
        rules.check_columns([Column(name, "INTEGER")])
