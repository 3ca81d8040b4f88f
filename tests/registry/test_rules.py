"""Names, keys and merges of models, for all that can be written."""

from __future__ import annotations

import contextlib
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from bough.data.models import File
from bough.kernel.errors import Invalid
from bough.kernel.merging import Choices
from bough.kernel.model_references import ModelReference, check_alias, check_name, parse
from bough.registry import rules
from bough.registry.merging import ModelMerger

names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12) | st.from_regex(
    r"\A[a-z%/.0-9é]{1,10}\Z"
)
values = st.fixed_dictionaries(
    {
        "description": st.sampled_from(["", "a", "b"]),
        "tags": st.dictionaries(st.sampled_from("xyz"), st.sampled_from("12"), max_size=3),
        "updated_at": st.floats(0, 10),
    }
)


def valid(name: str) -> str:
    with contextlib.suppress(Invalid):
        return check_name(name)
    assume(False)
    raise AssertionError


@given(names, st.integers(1, 10**9), st.sampled_from(["champion", "a.b-c_d", "été"]))
def test_a_reference_means_what_it_was_written_for(name: str, number: int, alias: str) -> None:
    name = valid(name)
    for meant in (ModelReference(name=name, number=number), ModelReference(name=name, alias=check_alias(alias))):
        assert parse(str(meant)) == meant == parse(f"models:/{meant}")


@given(names, names, st.integers(1, 99))
def test_no_two_models_share_a_key(one: str, other: str, number: int) -> None:
    one, other = valid(one), valid(other)
    assert rules.name_of(rules.key_of(one)) == one == rules.name_of(rules.version_key(one, number))
    assert rules.alias_in(rules.alias_key(one, "champion")) == (one, "champion")
    if one != other:
        assert rules.key_of(one) != rules.key_of(other)
        for key in (rules.key_of(other), rules.version_key(other, number), rules.alias_key(other, "a")):
            assert not key.startswith(rules.aliases_of(one)) and not key.startswith(f"{rules.key_of(one)}/")


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 9)), st.randoms())
def test_a_list_of_files_is_the_same_in_any_order(sizes: dict[str, int], chance: Any) -> None:
    files = [File(path=path, digest=f"{size:064x}", size=size) for path, size in sizes.items()]
    mixed = list(files)
    chance.shuffle(mixed)
    assert rules.manifest_of(files) == rules.manifest_of(mixed)
    assert sorted(rules.files_in(rules.manifest_of(files)), key=lambda each: each.path) == rules.files_in(
        rules.manifest_of(mixed)
    )


@given(values, values, values)
def test_a_merge_loses_no_change_and_decides_no_dispute(base: Any, ours: Any, theirs: Any) -> None:
    merger = ModelMerger()
    merged, conflicts = merger.merge("churn/versions/1", base, ours, theirs, Choices())
    mirrored, mirrored_conflicts = merger.merge("churn/versions/1", base, theirs, ours, Choices())
    assert {each.id for each in conflicts} == {each.id for each in mirrored_conflicts}
    assert merged == mirrored
    disputed = {
        tag
        for tag in "xyz"
        if len({str(each["tags"].get(tag)) for each in (base, ours, theirs)}) == 3
        or (ours["tags"].get(tag) != theirs["tags"].get(tag) and base["tags"].get(tag) not in
            (ours["tags"].get(tag), theirs["tags"].get(tag)))
    }  # fmt: skip
    assert {each.row for each in conflicts if each.row.startswith("tags.")} == {f"tags.{tag}" for tag in disputed}
    if merged is not None:
        for tag in "xyz":
            was, mine, other = (each["tags"].get(tag) for each in (base, ours, theirs))
            assert merged["tags"].get(tag) == (other if mine == was else mine)
    for side, wanted in (("ours", ours), ("theirs", theirs)):
        value, left = merger.merge("churn/versions/1", base, ours, theirs, Choices(all=side))
        assert left == []
        for tag in disputed:
            assert value["tags"].get(tag) == wanted["tags"].get(tag)
