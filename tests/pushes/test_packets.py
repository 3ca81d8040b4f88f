"""The beginning of a push, in whatever pieces it comes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bough.kernel.errors import Problem
from bough.pushes.models import Update
from bough.pushes.packets import FLUSH, Head, packet, told

OLD, NEW, NONE = "1" * 40, "2" * 40, "0" * 40
BEGIN = (
    packet(f"{OLD} {NEW} refs/heads/a/b\0 report-status side-band-64k agent=git/2".encode())
    + packet(f"{NONE} {NEW} refs/heads/zweig-ü\n".encode())
    + packet(f"{OLD} {NONE} refs/tags/v1".encode())
    + FLUSH
)


@given(st.lists(st.integers(1, len(BEGIN)), max_size=10))
def test_it_is_understood_however_it_is_cut(cuts: list[int]) -> None:
    head, places = Head(), sorted({0, *cuts, len(BEGIN)})
    for start, end in pairwise(places):
        head.feed(BEGIN[start:end])
    head.feed(b"PACK and so on")
    assert head.complete and head.listens
    assert head.updates == [
        Update(ref="refs/heads/a/b", old=OLD, new=NEW),
        Update(ref="refs/heads/zweig-ü", old="", new=NEW),
        Update(ref="refs/tags/v1", old=OLD, new=""),
    ]


def test_a_question_whether_one_may_push_moves_nothing() -> None:
    head = Head()
    head.feed(FLUSH)
    assert head.complete and head.updates == [] and not head.listens


@given(st.binary(min_size=4, max_size=100))
def test_what_is_no_push_is_refused_or_waited_for(data: bytes) -> None:
    head = Head()
    try:
        head.feed(data)
    except Problem as problem:
        assert problem.own_code == "PUSH_INVALID"


def test_a_list_of_refs_without_end_is_refused() -> None:
    head = Head()
    with pytest.raises(Problem, match="more refs") as found:
        for at in range(200_000):
            head.feed(packet(f"{OLD} {NEW} refs/heads/branch-{at}".encode()))
    assert found.value.own_code == "PUSH_TOO_LARGE"


def test_a_line_for_the_pusher_is_one_line_and_one_packet() -> None:
    line = told("two\nlines\r" + "x" * 100_000)
    assert int(line[:4], 16) == len(line) <= 65_520
    assert line[4:5] == b"\x02" and line.endswith(b"\n") and line.count(b"\n") == 1
