"""The filter language: what it reads, and that nothing else makes it fail."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bough.kernel.errors import Invalid
from bough.tracking.filters import Condition, Order, parse, parse_order


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("metrics.acc > 0.9", Condition("metrics", "acc", ">", 0.9)),
        ("metrics.acc<=-1.5e-3", Condition("metrics", "acc", "<=", -0.0015)),
        ("params.depth = '3'", Condition("params", "depth", "=", "3")),
        ('params."my depth" != "a"', Condition("params", "my depth", "!=", "a")),
        ("tags.`mlflow.source.name` LIKE 'a%'", Condition("tags", "mlflow.source.name", "LIKE", "a%")),
        ("tags.mlflow.user = 'x'", Condition("tags", "mlflow.user", "=", "x")),
        ("status in ('a', 'b')", Condition("", "status", "IN", ("a", "b"))),
        ("run_id NOT IN ('a')", Condition("", "run_id", "NOT IN", ("a",))),
        ("params.x is not null", Condition("params", "x", "NOT NULL", None)),
        ("tags.x IS NULL", Condition("tags", "x", "NULL", None)),
        ("tags.x = 'it''s AND so'", Condition("tags", "x", "=", "it's AND so")),
        ("attributes.`run name` = 'ü☃'", Condition("attributes", "run name", "=", "ü☃")),
    ],
)
def test_a_condition_is_read(text: str, expected: Condition) -> None:
    assert parse(text) == [expected]


def test_conditions_are_joined_by_and() -> None:
    found = parse("metrics.a > 1 and params.b = 'x'  AND  tags.c LIKE '%'")
    assert [each.key for each in found] == ["a", "b", "c"]
    assert parse("") == parse("  ") == []


@pytest.mark.parametrize(
    "text",
    ["metrics.a", "metrics.a >", "> 1", "a = 'b' OR c = 'd'", "a = 'b' c = 'd'", "a IN 'b'", "a IN ()", "a = b",
     "a = 'b", "a IS", "a == = 'b'", "((", "a = 'x' AND", "a.b.c = ;", "x" * 30_000],
)  # fmt: skip
def test_what_is_no_filter_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse(text)
    assert caught.value.own_code == "FILTER_INVALID"


@given(st.text(alphabet="abc.'\"`<>=!()%, \n0123456789-eAND ISNULLI☃", max_size=60))
def test_no_text_makes_the_parser_fail(text: str) -> None:
    with contextlib.suppress(Invalid):
        assert all(isinstance(each, Condition) for each in parse(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("metrics.loss", Order("metrics", "loss", True)),
        ("metrics.`my loss` desc", Order("metrics", "my loss", False)),
        ("start_time DESC", Order("", "start_time", False)),
    ],
)
def test_an_order_is_read(text: str, expected: Order) -> None:
    assert parse_order(text) == expected


@pytest.mark.parametrize("text", ["", "a b", "metrics.loss SIDEWAYS", "'x'", "1"])
def test_what_is_no_order_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse_order(text)
