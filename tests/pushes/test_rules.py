"""Which folder is the project, and which branches are put back."""

from __future__ import annotations

import pytest

from bough.adapters.repositories import Item
from bough.kernel.errors import Problem
from bough.pushes import rules
from bough.pushes.models import FAILED, LIVE, Push


def item(path: str, kind: str = "file") -> Item:
    return Item(path=path, kind=kind, id="1" * 40, size=10)


def test_the_project_may_lie_anywhere_in_the_tree() -> None:
    assert rules.project_folder("shop", {"bough.toml": b'name = "shop"'}) == ""
    assert rules.project_folder("shop", {"a/b/bough.toml": b'name = "shop"'}) == "a/b"
    several = {"bough.toml": b'name = "one"', "two/bough.toml": b'name = "two"', "bad/bough.toml": b"= no toml"}
    assert rules.project_folder("two", several) == "two"


def test_the_only_project_file_is_taken_broken_as_it_is() -> None:
    assert rules.project_folder("shop", {"x/bough.toml": b"name = "}) == "x"


@pytest.mark.parametrize(
    ("texts", "code"),
    [
        ({}, "PROJECT_FILE_MISSING"),
        ({"bough.toml": b'name = "other"'}, "PROJECT_MISMATCH"),
        ({"a/bough.toml": b'name = "shop"', "b/bough.toml": b'name = "shop"'}, "PROJECT_AMBIGUOUS"),
        ({"a/bough.toml": b"name = 3", "b/bough.toml": b"\xff"}, "PROJECT_MISMATCH"),
    ],
)
def test_what_is_no_single_project_is_refused(texts: dict[str, bytes], code: str) -> None:
    with pytest.raises(Problem) as found:
        rules.project_folder("shop", texts)
    assert found.value.own_code == code


def test_project_files_are_files_of_that_name_the_outermost_first() -> None:
    tree = [item("a/b/bough.toml"), item("bough.toml"), item("a/bough.toml.txt"), item("c/bough.toml", "link")]
    assert [each.path for each in rules.project_files(tree)] == ["bough.toml", "a/b/bough.toml"]


def test_a_branch_that_is_not_live_can_be_pushed_again() -> None:
    refs = {f"refs/heads/{name}": "new" for name in ("live", "failed", "first", "discarded", "busy")}
    live = {rules.LIVE_REFS + name: at for name, at in (("live", "new"), ("failed", "old"), ("discarded", "new"))}
    kept = {"live", "failed", "first", "busy"}
    back = rules.put_back(refs | {"refs/tags/v1": "new"}, live, {"refs/heads/busy"}, kept)
    assert list(back) == [
        ("refs/heads/failed", "new", "old"),
        ("refs/heads/first", "new", ""),
        ("refs/heads/discarded", "new", ""),
    ]


def test_the_median_is_of_what_became_live() -> None:
    def push(seconds: float, state: str = LIVE) -> Push:
        return Push(project="p", environment="e", branch="b", state=state, seconds=seconds, by="ada")

    found = rules.summary([push(1.0), push(99.0, FAILED), push(5.0), push(2.0)])
    assert (found.live, found.median_s, found.slowest_s) == (3, 2.0, 5.0)
    assert rules.summary([push(9.0, FAILED)]).median_s == 0.0
