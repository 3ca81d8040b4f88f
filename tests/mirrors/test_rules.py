"""What pairs of answers say together."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bough.entrypoints.cli import comparing, drawing
from bough.entrypoints.cli.mirrors_page import page
from bough.entrypoints.cli.session import Session
from bough.gateway.taps.pairs import AnswerDifference, Answered, Line, Pair, Passed
from bough.kernel.errors import Invalid
from bough.mirrors import metering, rules

SIDES = ("main", "dearer")


def pair(number: int, *, apart: float = 0.0, status: int = 200, seconds: float = 0.001) -> Pair:
    differences = [AnswerDifference(".scores[3].price", 100.0, 100.0 + apart)] if apart else []
    if status != 200:
        differences = [AnswerDifference("status", 200, status)]
    return Pair(
        at=float(number), id=f"{number:x}", service="price", source=Answered(200, 0.001),
        target=Answered(status, seconds), same=not differences, differences=differences,
    )  # fmt: skip


def test_every_pair_counts_once_and_what_was_left_out_is_said() -> None:
    lines: list[Line] = [*(pair(n) for n in range(7)), pair(7, apart=5.0), pair(8, apart=15.0), pair(9, status=500)]
    lives = [("a", 60, 5, 1), ("a", 100, 8, 2), ("b", 20, 2, 1)]
    lines += [Passed(life=life, service="price", seen=seen, copied=copied, left_out=out)
              for life, seen, copied, out in lives]  # fmt: skip
    (found,) = rules.comparisons(lines, SIDES, {"source price": 0.6, "target price": 0.05})
    assert (found.compared, found.same, found.seen, found.left_out) == (10, 7, 120, 3), "the last line of a life counts"
    assert (found.source.errors, found.target.errors) == (0, 1)
    assert found.statuses == {"200 -> 500": 1}
    fields = {each.path: (each.different, each.mean, each.largest) for each in found.fields}
    assert fields == {".scores[].price": (2, 10.0, 15.0), "status": (1, 0.0, 0.0)}
    assert found.source.cpu_s_per_1000 == 5.0 and found.target.cpu_s_per_1000 == 5.0
    assert [each.id for each in found.examples] == ["7", "8", "9"]


def test_percentiles_are_those_of_answers_that_came() -> None:
    lines = [pair(n, seconds=n / 1000) for n in range(1, 101)]
    lines.append(
        Pair(at=0.0, id="x", service="price", source=Answered(200, 0.001), target=Answered(0, 0.0), same=False)
    )
    (found,) = rules.comparisons(lines, SIDES, {})
    assert (found.target.p50_ms, found.target.p95_ms, found.target.p99_ms) == (50.0, 95.0, 99.0)
    assert (found.target.answers, found.target.errors, found.target.cpu_s_per_1000) == (100, 1, -1.0)


def test_seconds_that_nobody_knows_are_left_out() -> None:
    assert metering.between({"source a": 5.0, "target a": 9.0}, {"source a": 7.0, "target a": 1.0}) == {"source a": 2.0}


@pytest.mark.parametrize(("text", "percent"), [("5%", 5.0), ("0.5 %", 0.5), ("100", 100.0)])
def test_shares_are_written_as_people_write_them(text: str, percent: float) -> None:
    assert rules.percent(text) == percent


@pytest.mark.parametrize("text", ["0%", "101%", "-1", "nan", "five", ""])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="no share"):
        rules.percent(text)


def test_a_page_shows_nothing_of_answers_as_markup() -> None:
    evil = "<script>alert(1)</script>"
    line = Pair(
        at=0.0, id="1", service="price", source=Answered(200, 0.001), target=Answered(200, 0.002), same=False,
        differences=[AnswerDifference(f".{evil}", evil, 1)],
    )  # fmt: skip
    found = rules.comparisons([line], SIDES, {})
    report: dict[str, Any] = {
        "id": "mir_1", "kind": "mirror", "project": "shop", "source": "main", "target": "dearer", "state": "running",
        "started_at": 1.0, "ended_at": 2.0, "details": {},
        "services": msgspec.to_builtins(found),
    }  # fmt: skip
    text = page(report)
    assert "<script>" not in text and "&lt;script&gt;" in text
    assert "until it is stopped" in text
    assert f"until {drawing.moment(9e8)}" in page(report | {"details": {"until": 9e8}})
    assert f"to {drawing.moment(2.0)}" in page(report | {"state": "stopped"})


def test_a_mirror_that_was_stopped_says_how_long_it_ran_and_where_to_look() -> None:
    of = {"id": "mir_1", "project": "shop", "environment": "main", "target": "dearer", "started_at": 1.0,
          "stopped_at": 61.0}  # fmt: skip
    said = comparing.stopped(Session(), of)
    assert said.startswith("mir_1: shop/main to dearer has ended, from ") and "bough mirrors report mir_1" in said
