"""What `bough optimize` says of its results."""

from __future__ import annotations

import pytest

from bough.entrypoints.cli import optimizing
from bough.entrypoints.cli.session import Session


@pytest.mark.parametrize(
    ("kind", "said", "line"),
    [
        ("distill", "9% of the size", "registered small/2: 9% of the size"),
        ("quantize", "static: 28% of the size", "registered small/2, from static: 28% of the size"),
    ],
)
def test_what_was_registered_is_said_with_what_it_saves(kind: str, said: str, line: str) -> None:
    answer = {
        "id": "opt_1", "kind": kind, "model": "digits/1", "judging": {"data": "test.npz"}, "state": "done",
        "contenders": [], "version": 2, "becomes": "small", "aliases": ["candidate"], "said": said,
    }  # fmt: skip
    assert optimizing.optimization(Session(), answer).splitlines()[1:] == [line, "  bough promote small@candidate"]
