"""The Merkle tree of RFC 6962 (RFC 9162, section 2), as pure functions over leaf hashes.

A tree is kept as its *frontier*: the roots of the largest complete subtrees from left to right, one for each bit that
is set in its size. Appending a leaf and computing the root cost a handful of hashes; proofs are made from all leaves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from bough.ledger.models import LedgerEntry

EMPTY = hashlib.sha256(b"").digest()  # the root of no leaves
_FIELDS = tuple(field for field in LedgerEntry.__struct_fields__ if field != "hash")
_encode = msgspec.json.Encoder(order=None).encode


def content(entry: LedgerEntry) -> bytes:
    """The leaf: one line of JSON, every field but the hash, in the order of `LedgerEntry`."""
    return _encode({field: getattr(entry, field) for field in _FIELDS})


def leaf_hash(leaf: bytes) -> bytes:
    return hashlib.sha256(b"\0" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def grown(frontier: Sequence[bytes], size: int, leaf: bytes) -> list[bytes]:
    """The frontier of a tree of `size` leaves after one more."""
    made, kept = leaf, list(frontier)
    while size & 1:
        made = node_hash(kept.pop(), made)
        size >>= 1
    return [*kept, made]


def root(frontier: Sequence[bytes]) -> bytes:
    if not frontier:
        return EMPTY
    made = frontier[-1]
    for left in reversed(frontier[:-1]):
        made = node_hash(left, made)
    return made


def ranges(size: int) -> list[tuple[int, int]]:
    """The leaves under each root of a frontier: first and last, numbered from 1."""
    found, first = [], 1
    for bit in reversed(range(size.bit_length())):
        if size >> bit & 1:
            found.append((first, first + (1 << bit) - 1))
            first += 1 << bit
    return found


def frontier_of(leaves: Sequence[bytes]) -> list[bytes]:
    """All at once: a level at a time, not a leaf."""
    sha256, kept = hashlib.sha256, []
    for first, last in ranges(len(leaves)):
        level = leaves[first - 1 : last]
        while len(level) > 1:
            pairs = zip(level[::2], level[1::2], strict=True)
            level = [sha256(b"\1" + left + right).digest() for left, right in pairs]
        kept.append(level[0])
    return kept


def inclusion_path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The siblings on the way from leaf `index` (from 0) to the root."""
    path: list[bytes] = []
    level = list(leaves)
    while len(level) > 1:
        if (sibling := index ^ 1) < len(level):
            path.append(level[sibling])
        level, index = _above(level), index >> 1
    return path


def consistency_path(leaves: Sequence[bytes], first: int) -> list[bytes]:
    """The nodes from which both the root over the first `first` leaves and the root over all can be made."""
    if not 0 < first < len(leaves):
        return []
    return _subproof(first, leaves, whole=True)


def root_from_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root that an inclusion path leads to (RFC 9162, 2.1.3.2); None for a path that cannot be one."""
    if index >= size:
        return None
    at, last, made = index, size - 1, leaf
    for node in path:
        if last == 0:
            return None
        if at & 1 or at == last:
            made = node_hash(node, made)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            made = node_hash(made, node)
        at, last = at >> 1, last >> 1
    return made if last == 0 else None


def is_consistent(first: int, first_root: bytes, second: int, second_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether the tree of `second` leaves begins with that of `first` (RFC 9162, 2.1.4.2)."""
    if first == second:
        return not path and first_root == second_root
    if first == 0:
        return not path and first_root == EMPTY
    if first > second or not path:
        return False
    nodes = list(path) if first & (first - 1) else [first_root, *path]
    at, last = first - 1, second - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old = new = nodes[0]
    for node in nodes[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            old, new = node_hash(node, old), node_hash(node, new)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            new = node_hash(new, node)
        at, last = at >> 1, last >> 1
    return last == 0 and old == first_root and new == second_root


def _above(level: list[bytes]) -> list[bytes]:
    """The next level; a last node without a sibling moves up as it is."""
    made = [node_hash(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
    return made + level[-1:] if len(level) % 2 else made


def _subproof(first: int, leaves: Sequence[bytes], *, whole: bool) -> list[bytes]:
    if first == len(leaves):
        return [] if whole else [root(frontier_of(leaves))]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    left, right = leaves[:split], leaves[split:]
    if first <= split:
        return [*_subproof(first, left, whole=whole), root(frontier_of(right))]
    return [*_subproof(first - split, right, whole=False), root(frontier_of(left))]
