"""Values as text."""

from __future__ import annotations

import pytest

from bough.entrypoints.cli import drawing, pictures
from bough.scaling.replaying import CurvePoint


def test_columns_are_aligned_and_empty_ones_left_out() -> None:
    rows = [{"name": "a", "note": "", "url": "u"}, {"name": "longer", "note": "", "url": "v"}]
    assert drawing.draw(rows) == "NAME    URL\na       u\nlonger  v"


def test_a_record_is_pairs_and_its_lists_are_tables_that_do_not_repeat_it() -> None:
    value = {"project": "shop", "release": 2, "services": [{"project": "shop", "service": "a", "ready": True}]}
    assert drawing.draw(value) == "project  shop\nrelease  2\n\nservices\nSERVICE  READY\na        yes"


def test_a_table_leaves_out_what_breaks_its_lines() -> None:
    rows = [
        {"name": "a", "card": "short", "key": "-----\nABC", "facts": {"metrics": {"auc": 0.9}}, "tags": {"x": "y"}},
        {"name": "b", "card": "two\nlines", "key": "-----\nDEF", "facts": {}, "tags": {}},
    ]
    assert drawing.draw(rows) == "NAME  TAGS\na     x=y\nb"


def test_a_record_shows_texts_of_several_lines_and_records_with_an_inside_under_each_other() -> None:
    value = {"name": "a", "card": "two\nlines", "facts": {"run": "r", "metrics": {"auc": 0.9}}}
    assert drawing.draw(value) == "name   a\ncard   two\n       lines\nfacts  run r\n       metrics auc=0.9"


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("x", True, "yes"),
        ("x", 1.5, "1.5"),
        ("x", 2.0, "2"),
        ("x", ["a", "b"], "a,b"),
        ("x", {"cpus": 1, "gpus": 0}, "cpus=1 gpus=0"),
        ("x", "ab" * 32, "abababababab"),
        ("x", "ab" * 31, "ab" * 31),
        ("finished_at", 0.0, "-"),
        ("loss", 0.000123, "0.000123"),
        ("seconds", 12345.6789, "12345.679"),
        ("x", [{"name": "a", "shape": [-1, 4]}, {"name": "b"}], "name=a shape=-1,4; name=b"),
        ("memory_bytes", 4_500_000, "4.5 MB"),
    ],
)
def test_a_cell(name: str, value: object, text: str) -> None:
    assert drawing.cell(name, value) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (123_456, "123 kB"), (5_000_000_000_000, "5000 GB")],
)
def test_a_size(count: int, text: str) -> None:
    assert drawing.size(count) == text


def test_nothing_to_show_says_so() -> None:
    assert drawing.draw([]) == "none"


def test_json_is_one_line() -> None:
    assert drawing.as_json({"a": "x\ny"}) == '{"a":"x\\ny"}'


def test_a_curve_is_no_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        CurvePoint(at=float(at), requests=at, active=at, starting=0, pool=at // 2, late_cost=10.0 + at)
        for at in range(400)
    ]
    for columns, most in (("60", 60), ("50", 50), ("200", 130)):
        monkeypatch.setenv("COLUMNS", columns)
        widest = max(map(len, pictures.curve(points).splitlines()))
        assert 0.7 * most < widest <= most


def test_a_picture_says_requests_by_the_second_however_long_a_point_is() -> None:
    points = [CurvePoint(at=600.0 * at, requests=at * 300, active=1, starting=0, pool=0) for at in range(5)]
    assert "requests, 2 a second at most" in pictures.svg("churn", points)
    assert "requests, 0 a second at most" in pictures.svg("churn", points[:1])
