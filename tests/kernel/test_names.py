"""Names can stand in a host name; ids sort by age and do not meet."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bough.kernel.errors import Invalid
from bough.kernel.names import check_name, new_id, suggest_name

LABEL = string.ascii_lowercase + string.digits


@given(st.from_regex(r"[a-z0-9](-?[a-z0-9]){0,19}", fullmatch=True).filter(lambda name: name.isascii()))
def test_labels_of_small_letters_digits_and_inner_hyphens_are_names(name: str) -> None:
    assert check_name(name, "service") == name


@given(st.text(max_size=60))
@example("a\n")
@example("a" * 41)
@example("-a")
@example("a-")
@example("a--b")
@example("")
@example("A")
@example("é")
@example("a.b")
@example("a/../b")
@example("１")  # noqa: RUF001 - a digit of another script, on purpose
def test_whatever_is_taken_for_a_name_can_stand_in_a_host_name(text: str) -> None:
    try:
        name = check_name(text, "service")
    except Invalid as error:
        assert error.own_code == "NAME_INVALID"
        assert error.fields == {"name": text}
        assert check_name(error.hint.removeprefix("try ").strip("'"), "service"), "the suggestion must be a name"
    else:
        assert 1 <= len(name) <= 40
        assert set(name) <= set(LABEL + "-")
        assert name[0] != "-" != name[-1]
        assert "--" not in name


@given(st.text(max_size=80))
def test_a_suggestion_is_a_name_and_a_name_suggests_itself(text: str) -> None:
    suggested = suggest_name(text)
    assert check_name(suggested, "project") == suggested
    assert suggest_name(suggested) == suggested


@pytest.mark.parametrize(
    ("text", "suggested"), [("My Shop!", "my-shop"), ("a__b", "a-b"), ("Ünder", "nder"), ("", "app")]
)
def test_suggestions_stay_close_to_what_was_meant(text: str, suggested: str) -> None:
    assert suggest_name(text) == suggested


def test_ids_are_unique_name_their_kind_and_sort_by_age() -> None:
    ids = [new_id("rel") for _ in range(5000)]
    assert len(set(ids)) == 5000
    assert all(re.fullmatch(r"rel_[0-9a-hjkmnp-tv-z]{20}", each) for each in ids)
    stamps = [each[4:13] for each in ids]  # the 45 highest bits of the milliseconds
    assert stamps == sorted(stamps)
