"""The tree is that of RFC 6962, and its proofs convince exactly of what is so."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bough.ledger import rules

# The inputs and roots that Certificate Transparency's own tests use (merkletree/tree_test in its reference code).
INPUTS = [bytes.fromhex(each) for each in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
)]  # fmt: skip
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
PATHS = {  # (leaf from 1, size): the nodes of the inclusion path
    (1, 1): [],
    (1, 8): ["96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
             "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
             "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"],
    (6, 8): ["bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
             "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
             "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"],
    (3, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (2, 5): ["6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
             "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
             "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"],
}  # fmt: skip
GROWTHS = {  # (first, second): the nodes of the consistency path
    (1, 1): [],
    (1, 8): ["96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
             "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
             "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"],
    (6, 8): ["0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
             "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
             "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"],
    (2, 5): ["5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
             "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"],
}  # fmt: skip
LEAVES = [rules.leaf_hash(each) for each in INPUTS]


def by_definition(inputs: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, as it is written there."""
    if not inputs:
        return hashlib.sha256().digest()
    if len(inputs) == 1:
        return hashlib.sha256(b"\0" + inputs[0]).digest()
    split = 1
    while split * 2 < len(inputs):
        split *= 2
    return hashlib.sha256(b"\1" + by_definition(inputs[:split]) + by_definition(inputs[split:])).digest()


def test_the_empty_tree_has_the_root_of_the_rfc() -> None:
    assert rules.root([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    assert rules.root(rules.frontier_of(LEAVES[:size])).hex() == ROOTS[size - 1]


@pytest.mark.parametrize(("place", "path"), PATHS.items())
def test_inclusion_paths_are_those_of_certificate_transparency(place: tuple[int, int], path: list[str]) -> None:
    leaf, size = place
    assert [each.hex() for each in rules.inclusion_path(LEAVES[:size], leaf - 1)] == path


@pytest.mark.parametrize(("sizes", "path"), GROWTHS.items())
def test_consistency_paths_are_those_of_certificate_transparency(sizes: tuple[int, int], path: list[str]) -> None:
    first, second = sizes
    assert [each.hex() for each in rules.consistency_path(LEAVES[:second], first)] == path


@given(st.integers(1, 70), st.data())
def test_every_proof_convinces_and_no_other_does(size: int, data: st.DataObject) -> None:
    inputs = [f"entry {number}".encode() for number in range(size)]
    leaves = [rules.leaf_hash(each) for each in inputs]
    root = rules.root(rules.frontier_of(leaves))
    assert root == by_definition(inputs)
    index = data.draw(st.integers(0, size - 1))
    path = rules.inclusion_path(leaves, index)
    assert rules.root_from_inclusion(leaves[index], index, size, path) == root
    assert rules.root_from_inclusion(rules.leaf_hash(b"another"), index, size, path) != root
    if size > 1:
        elsewhere = data.draw(st.integers(0, size - 1).filter(lambda each: each != index))
        assert rules.root_from_inclusion(leaves[index], elsewhere, size, path) != root
    first = data.draw(st.integers(1, size))
    first_root, growth = rules.root(rules.frontier_of(leaves[:first])), rules.consistency_path(leaves, first)
    assert rules.is_consistent(first, first_root, size, root, growth)
    assert not rules.is_consistent(first, rules.leaf_hash(b"another"), size, root, growth)
    if growth:
        broken = [*growth[:-1], rules.leaf_hash(growth[-1])]
        assert not rules.is_consistent(first, first_root, size, root, broken)


@given(st.integers(0, 5000))
def test_the_ranges_of_a_frontier_cover_every_leaf_once(size: int) -> None:
    ranges = rules.ranges(size)
    assert len(ranges) == size.bit_count()
    assert [each for first, last in ranges for each in (first, last)][::2] == [
        1 + sum(last - first + 1 for first, last in ranges[:at]) for at in range(len(ranges))
    ]
    assert sum(last - first + 1 for first, last in ranges) == size
