"""References in settings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bough.kernel.errors import Invalid
from bough.kernel.references import SecretReference, ServiceReference, parse, secrets_in, services_in, without


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", []),
        ("plain", ["plain"]),
        ("${secrets.db-password}", [SecretReference("db-password")]),
        ("a${secrets.A_B}b${services.api.url}/x", ["a", SecretReference("A_B"), "b", ServiceReference("api"), "/x"]),
        ("${HOME} $x $$ {} ${A:-b.c}", ["${HOME} $x $$ {} ${A:-b.c}"]),
        ("$${secrets.x} $${HOME}", ["${secrets.x} ${HOME}"]),
    ],
)
def test_texts_and_references_come_in_turn(text: str, parts: list[object]) -> None:
    assert parse(text) == parts


@pytest.mark.parametrize(
    "inside", ["secret.x", "secrets.", "secrets.1", "services.x", "services.X.url", "a.b", " secrets.x"]
)
def test_what_looks_like_a_reference_and_is_none_is_refused(inside: str) -> None:
    with pytest.raises(Invalid, match="refers to nothing"):
        parse(f"x${{{inside}}}")


@given(st.text())
def test_text_without_braces_stays_as_it_is(text: str) -> None:
    plain = text.replace("{", "(")
    assert "".join(map(str, parse(plain))) == plain


def test_variables_are_told_apart() -> None:
    env = {"A": "1", "B": "${secrets.s}", "C": "${services.x.url}${secrets.s}", "D": "$${x}"}
    assert (secrets_in(env), services_in(env), without(env)) == ({"s": "B"}, {"x": "C"}, {"A": "1", "D": "${x}"})
