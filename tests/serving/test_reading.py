"""Output is read without a line missing, doubled or cut in two, whoever comes back with a cursor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bough.adapters.engine import EXITED, RUNNING, Attempt, Engine, LogChunk
from bough.kernel.errors import Invalid, NotFound
from bough.runtime.spec import Exited
from bough.serving.reading import Reader, parse


class Shelf:
    """The part of an engine that has output; `dropped` bytes have gone in rotation."""

    def __init__(self, **written: bytes) -> None:
        self.written = {key.replace("__", "/"): data for key, data in written.items()}
        self.dropped = 0

    def logs(self, unit: str, attempt: int, offset: int, *, follow: bool) -> Iterator[LogChunk]:
        if (key := f"{unit}/{attempt}") not in self.written:
            raise NotFound(key)
        at = max(offset, self.dropped)
        return iter([LogChunk(offset=at, data=self.written[key][at:])])


def attempt(unit: str, number: int = 1, *, exited: bool = False) -> tuple[Attempt, str]:
    gone = Exited(code=1, reason="exited", at=1.0) if exited else None
    made = Attempt(unit=unit, attempt=number, state=EXITED if exited else RUNNING, kind="replica", exit=gone)
    return made, "churn"


def read(shelf: Shelf, *attempts: tuple[Attempt, str], cursor: str = "", lines: int = 100, **more: Any) -> list[Any]:
    reader = Reader(cast(Engine, shelf), cursor, lines)
    return list(reader.read(list(attempts), follow=more.get("follow", False)))


def test_the_last_lines_are_those_of_the_unit_over_its_restarts() -> None:
    shelf = Shelf(u__1=b"a\nb\nlast words", u__2=b"c\n")
    found = read(shelf, attempt("u", 2), lines=2)
    assert [(line.attempt, line.offset, line.text) for line in found] == [(1, 4, "last words"), (2, 0, "c")]


def test_half_a_line_waits_for_its_end_or_for_the_attempts() -> None:
    shelf = Shelf(u__1=b"one\nha")
    reader = Reader(cast(Engine, shelf), "", 100)

    def texts(*, exited: bool = False) -> list[str]:
        return [line.text for line in reader.read([attempt("u", exited=exited)], follow=True)]

    assert texts() == ["one"]
    shelf.written["u/1"] += b"lf\nthe end"
    assert texts() == ["half"]
    assert texts(exited=True) == ["the end"]
    assert texts(exited=True) == []


def test_none_of_the_last_lines_is_only_what_comes() -> None:
    shelf = Shelf(u__1=b"old\n")
    reader = Reader(cast(Engine, shelf), "", 0)
    assert list(reader.read([attempt("u")], follow=True)) == []
    shelf.written["u/1"] += b"new\n"
    assert [line.text for line in reader.read([attempt("u")], follow=True)] == ["new"]


def test_a_cursor_is_for_all_attempts_and_new_ones_are_read_from_their_start() -> None:
    shelf = Shelf(a__1=b"1\n2\n", b__1=b"3\n")
    seen = read(shelf, attempt("a"), attempt("b"))
    shelf.written |= {"a/1": b"1\n2\n4\n", "c/1": b"5\n"}
    rest = read(shelf, attempt("a"), attempt("b"), attempt("c"), cursor=seen[-1].cursor)
    assert [line.text for line in rest] == ["4", "5"]


def test_what_rotation_dropped_is_passed_over() -> None:
    shelf = Shelf(u__1=b"one\ntwo\nthree\n")
    first = read(shelf, attempt("u"))[0]
    shelf.dropped = 8
    assert [(line.offset, line.text) for line in read(shelf, attempt("u"), cursor=first.cursor)] == [(8, "three")]


def test_an_attempt_that_is_forgotten_meanwhile_is_no_error() -> None:
    assert read(Shelf(), attempt("u")) == []


@pytest.mark.parametrize("cursor", ["x", "u/1:", "u/1:-1", ":3", "u/1:1e3", "u/1:" + "9" * 30])
def test_a_cursor_that_no_line_carried_is_refused(cursor: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse(cursor)
    assert caught.value.own_code == "CURSOR_INVALID"


@given(st.lists(st.lists(st.sampled_from([b"", b"x", b"yy"]), max_size=6), min_size=1, max_size=3), st.data())
def test_from_any_lines_cursor_on_comes_exactly_the_rest(outputs: list[list[bytes]], data: st.DataObject) -> None:
    shelf = Shelf(**{f"u{at}__1": b"".join(line + b"\n" for line in lines) for at, lines in enumerate(outputs)})
    attempts = [attempt(f"u{at}") for at in range(len(outputs))]
    every = [(line.unit, line.offset) for line in read(shelf, *attempts)]
    if every:
        at = data.draw(st.integers(0, len(every) - 1))
        cursor = read(shelf, *attempts)[at].cursor
        assert [(line.unit, line.offset) for line in read(shelf, *attempts, cursor=cursor)] == every[at + 1 :]
