"""Copies in memory: the same bytes at the other end, however they are divided."""

from __future__ import annotations

import mmap
import random

import pytest

from bough.runtime.checkpoints import copying


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_parts_are_even_and_together_everything_once(count: int) -> None:
    chance = random.Random(count)
    sizes = [chance.choice([0, 1, 5, 1000, 100_000]) for _ in range(40)]
    moves, at = [], 0
    for size in sizes:
        moves.append((at, at + 10_000_000, size))
        at += size
    parts = copying.divided(moves, count)
    ranges = [each for part in parts for each in part]
    assert all(source - to == 10_000_000 for to, source, _ in ranges)
    ends = 0
    for to, _, size in ranges:
        assert to == ends
        ends += size
    assert ends == sum(sizes)
    shares = [sum(size for _, _, size in part) for part in parts]
    assert max(shares) <= -(-ends // count)


def test_several_threads_copy_what_one_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "_EACH_BYTES", 1000)
    source, target = mmap.mmap(-1, 1 << 20), mmap.mmap(-1, 1 << 20)
    source[:] = random.Random(1).randbytes(1 << 20)
    begins, at = [], 0
    for size in (1, 4096, 300_000, 77, 1 << 19):
        begins.append((at, size))
        at += size + 3
    into, out_of = copying.address_of(target), copying.address_of(source)
    copying.move([(into + at, out_of + at, size) for at, size in begins])
    expected = bytearray(1 << 20)
    for at, size in begins:
        expected[at : at + size] = source[at : at + size]
    assert bytes(target) == bytes(expected)
    copying.move([])
