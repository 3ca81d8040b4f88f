"""What a mock refuses is what the schema of its service refuses."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import jsonschema_rs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bough.gateway.conforms import mismatch


class Part(msgspec.Struct, forbid_unknown_fields=True):
    n: Annotated[int, msgspec.Meta(ge=1, lt=9)]
    name: Annotated[str, msgspec.Meta(max_length=3)] = ""
    below: list[Part] = []


class Whole(msgspec.Struct):
    kind: Literal["a", "b"]
    parts: Annotated[list[Part], msgspec.Meta(min_length=1)]
    pair: tuple[int, float] | None = None
    more: dict[str, bool] = {}


SCHEMA: dict[str, Any] = msgspec.json.schema(Whole)
PLAIN = st.none() | st.booleans() | st.integers(-2, 10) | st.floats(-2, 10, width=16) | st.sampled_from(["a", "abcd"])
PART = st.fixed_dictionaries({"n": PLAIN}, optional={"name": PLAIN, "other": PLAIN, "below": st.just([{"n": 3}])})
WHOLE = st.fixed_dictionaries(
    {"kind": st.sampled_from(["a", "b", "c", 1])},
    optional={
        "parts": st.lists(PART, max_size=2) | PLAIN, "pair": st.lists(PLAIN, max_size=3),
        "more": st.dictionaries(st.sampled_from(["x", "y"]), PLAIN),
    },
)  # fmt: skip


@given(WHOLE | PLAIN)
def test_it_agrees_with_a_full_validator(value: Any) -> None:
    assert (mismatch(SCHEMA, value) == "") == jsonschema_rs.is_valid(SCHEMA, json.loads(json.dumps(value)))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"kind": "a", "parts": [{"n": "x"}]}, "expected integer, got string - at $.parts[0].n"),
        ({"kind": "a", "parts": []}, "expected >= 1 - at the length of $.parts"),
        ({"kind": "a"}, "'parts' is missing - at $"),
        ({"kind": "a", "parts": [{"n": 9}]}, "expected < 9 - at $.parts[0].n"),
        ({"kind": "c", "parts": [{"n": 1}]}, "expected one of 'a', 'b' - at $.kind"),
        ({"kind": "a", "parts": [{"n": 1, "z": 1}]}, "unknown field 'z' - at $.parts[0]"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(value: Any, said: str) -> None:
    assert mismatch(SCHEMA, value) == said
