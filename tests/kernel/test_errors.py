"""The tree of errors, drawn and real."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import msgspec
import pytest

from bough.kernel import errors
from bough.kernel.errors import Busy, Detail, Problem, from_detail

ROOT = Path(__file__).parent.parent.parent


def every(kind: type[Problem] = Problem) -> list[type[Problem]]:
    """Every class of the tree that `errors` itself defines."""
    below = [each for sub in kind.__subclasses__() if sub.__module__ == errors.__name__ for each in every(sub)]
    return [kind, *below]


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    drawn: list[tuple[str, str, int, int]] = []
    trail: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^    ([│├└─ ]*)([A-Z]\w+)\s+(\d{3})\s+exit (\d)", line)
        if found:
            depth = len(found[1]) // 4
            trail[depth:] = [found[2]]
            drawn.append((trail[depth - 1] if depth else "Exception", found[2], int(found[3]), int(found[4])))
    real = [(kind.__bases__[0].__name__, kind.__name__, kind.http_status, kind.exit_code) for kind in every()]
    assert sorted(drawn) == sorted(real)


def test_codes_of_the_classes_are_unique() -> None:
    codes = [kind.code for kind in every()]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("kind", every(), ids=lambda kind: kind.__name__)
def test_an_error_that_travelled_is_raised_as_what_it_was(kind: type[Problem]) -> None:
    sent = kind("what happened", code="OWN_CODE", hint="what to do", name="x", number=3)
    detail = msgspec.json.decode(msgspec.json.encode(sent.detail()), type=Detail)
    got = from_detail(kind.http_status, detail)
    assert isinstance(got, kind) or isinstance(sent, type(got)), "a kind that shares its status arrives as its parent"
    assert (got.http_status, got.exit_code) == (sent.http_status, sent.exit_code)
    assert got.detail() == sent.detail()


def test_busy_says_when_to_come_back_on_both_sides() -> None:
    got = from_detail(429, Busy("full", retry_after_s=7.5).detail())
    assert isinstance(got, Busy)
    assert got.retry_after_s == 7.5


def test_an_unknown_status_is_still_a_problem() -> None:
    assert type(from_detail(418, Detail(code="TEAPOT", message="short and stout"))) is Problem


def test_every_code_in_the_source_means_one_kind_of_error() -> None:
    """A code is stable and never reused: the same code with two classes would exit in two ways."""
    kinds = {kind.__name__ for kind in every()}
    found: dict[str, set[str]] = {}
    for path in (ROOT / "bough").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in kinds:
                for keyword in node.keywords:
                    if keyword.arg == "code" and isinstance(keyword.value, ast.Constant):
                        code = str(keyword.value.value)
                        assert re.fullmatch(r"[A-Z][A-Z0-9_]*", code), f"{path}: {code}"
                        found.setdefault(code, set()).add(node.func.id)
    assert len(found) > 10
    assert {code: names for code, names in found.items() if len(names) > 1} == {}
