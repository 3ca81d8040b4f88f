"""The first phase of a save: a copy in memory, made while the program waits.

The memory is kept from one save to the next, in huge pages where the system has them: memory that is touched for the
first time costs several times what copying into it does. Arrays lie in it as in their safetensors files, cut into
pieces that become chunks. A cut goes between arrays where it can, so that a layer that never changes stays a chunk that
is never written again.
"""

from __future__ import annotations

import contextlib
import mmap
import threading
from collections.abc import Mapping
from typing import NamedTuple, Optional

from bough.runtime.checkpoints import arrays, copying
from bough.runtime.checkpoints.arrays import Leaf
from bough.runtime.checkpoints.pinning import Pinned, settle

PIECE_BYTES = 16 << 20  # no piece is larger
_SMALLEST_BYTES = 256 << 10  # arrays are put together until a piece has so much, or a 64th of all
_PAGE = 4096
_POPULATE_WRITE = 23  # madvise, since Linux 5.14


class Placed(NamedTuple):
    """Where an entry lies: its header and arrays by offset, and the pieces into which all of that is cut."""

    header: bytes
    header_at: int
    leaves: list[tuple[Leaf, int]]
    pieces: list[tuple[int, int]]


class Staging:
    def __init__(self) -> None:
        self._memory: Optional[mmap.mmap] = None
        self._pinned: Optional[Pinned] = None
        self._warming: Optional[threading.Thread] = None

    @property
    def size(self) -> int:
        return len(self._memory) if self._memory is not None else 0

    def prepare(self, leaves: Mapping[str, list[Leaf]]) -> None:
        """Makes the memory ready in the background for a state like this one."""
        needed = lay_out(leaves)[1]
        if needed > self.size and (self._warming is None or not self._warming.is_alive()):
            self._make(needed)
            self._warming = threading.Thread(
                target=self._warm, args=(self._memory, bool(_devices(leaves))), daemon=True
            )
            self._warming.start()

    def copy(self, leaves: Mapping[str, list[Leaf]]) -> dict[str, list[memoryview]]:
        """The pieces of each entry. They are valid until the next call."""
        placed, needed = lay_out(leaves)
        if self._memory is None or needed > self.size:
            self._make(needed)
        assert self._memory is not None  # noqa: S101 - just made
        devices = _devices(leaves)
        is_warming = self._warming is not None and self._warming.is_alive()
        if devices and self._pinned is None and not is_warming:
            self._pinned = Pinned(self._memory)
        memory, into = memoryview(self._memory), copying.address_of(self._memory)
        found, moves = {}, []
        for name, each in placed.items():
            memory[each.header_at : each.header_at + len(each.header)] = each.header
            for leaf, offset in each.leaves:
                if leaf.address:
                    moves.append((into + offset, leaf.address, leaf.size))
                else:
                    leaf.copy_into(memory[offset : offset + leaf.size])
            found[name] = [memory[start : start + size] for start, size in each.pieces]
        copying.move(moves)
        settle(devices)
        return found

    def _make(self, size: int) -> None:
        if self._warming is not None:
            self._warming.join()
        if self._pinned is not None:
            self._pinned.release()
        self._memory, self._pinned = _reserve(size), None

    def _warm(self, memory: mmap.mmap, on_device: bool) -> None:
        _touch(memory)
        if on_device:
            self._pinned = Pinned(memory)


def _devices(leaves: Mapping[str, list[Leaf]]) -> set[int]:
    """The GPUs on which any of it is."""
    return {leaf.device for each in leaves.values() for leaf in each} - {-1}


def lay_out(leaves: Mapping[str, list[Leaf]]) -> tuple[dict[str, Placed], int]:
    """Pure: where everything goes, and how much memory that takes."""
    total = sum(leaf.size for each in leaves.values() for leaf in each)
    enough = min(PIECE_BYTES, max(_SMALLEST_BYTES, total // 64))
    placed, at = {}, 0
    for name, each in leaves.items():
        placed[name], at = _lay_out_entry(each, _page(at), enough)
    return placed, _page(at)


def _lay_out_entry(leaves: list[Leaf], at: int, enough: int) -> tuple[Placed, int]:
    header = arrays.header(leaves)
    start, places, pieces = at, [], []
    header_at, at = at, at + len(header)
    for leaf in leaves:
        if at > start and (leaf.size >= PIECE_BYTES or at - start >= enough):
            pieces.append((start, at - start))
            start = at = _page(at)
        places.append((leaf, at))
        at += leaf.size
        while at - start > PIECE_BYTES:  # only of an array that began its piece, or ends one of small ones
            pieces.append((start, PIECE_BYTES))
            start += PIECE_BYTES
    if at > start:
        pieces.append((start, at - start))
    return Placed(header, header_at, places, pieces), at


def _page(at: int) -> int:
    return -(-at // _PAGE) * _PAGE


def _reserve(size: int) -> mmap.mmap:
    memory = mmap.mmap(-1, max(size, _PAGE))
    with contextlib.suppress(AttributeError, OSError, ValueError):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


def _touch(memory: mmap.mmap) -> None:
    """Page by page where the system cannot do it by itself; gives way to the program after each."""
    step = 2 << 20
    for start in range(0, len(memory), step):
        size = min(step, len(memory) - start)
        try:
            memory.madvise(_POPULATE_WRITE, start, size)
        except (OSError, ValueError):
            return  # then the first save pays for it
