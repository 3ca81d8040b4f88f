"""The format, in one place; `extension.c` says the same in C.

    X                   what programs open. Holds no data: SQLite's locks are taken on it, `X-wal`, `X-journal` and
                        `X-shm` are named after it. Begins with MAGIC, so that SQLite alone refuses it
    X-head              4096 bytes, mapped by all who have X open: MAGIC, generation, size of the database in bytes, and
                        two limits, of which that of the generation's parity counts (u64, little-endian)
    X-layers.GENERATION text: LAYERS_MAGIC, then a line `KIND LIMIT PATH` for each layer, the top first; a relative path
                        begins at the folder of X
    layer, layer.bits   a sparse file with grains of 4096 bytes at the places that they have in the database, and one
                        bit for each that it has (KIND `part`); a `whole` layer has no bits: every grain is there

A grain is read from the first layer that has it, else it is zeros. A layer's LIMIT says up to which byte the layers
below it show: a database that was cut shorter and grew again must not show what it had lost. Only the top is written,
grain first and then its bit; only its limit changes, which therefore stands in the head.

To branch is to freeze the top: both sides get a new, empty top over the same frozen layers. For that the writers' locks
are held, a new list of layers is written, and the generation moves on, which everybody sees with the next read or
write. Generation 0 means that another database stands here now: who has it open must open it again.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path
from typing import NamedTuple

MAGIC = b"bough pages 1\n\0\0"
LAYERS_MAGIC = "bough layers 1"
GRAIN = 4096
HEAD_SIZE = 4096
BITS_SIZE = 16 << 20  # as it is mapped; takes no room until a bit is set
PART, WHOLE = "part", "whole"
NOTE = b"This is a SQLite database in pages. It opens with: bough db shell, bough.database(), Bough's extension.\n"

_HEAD = struct.Struct("<16s4Q")


class LayerLine(NamedTuple):
    kind: str
    limit: int
    path: str


class HeadState(NamedTuple):
    generation: int
    size: int
    limit: int


def head_path(path: Path) -> Path:
    return path.with_name(f"{path.name}-head")


def layers_path(path: Path, generation: int) -> Path:
    return path.with_name(f"{path.name}-layers.{generation}")


def is_pages(path: Path) -> bool:
    """Whether a file is such a database. Asks what lies beside it: to close a file drops the locks that SQLite holds on
    it anywhere in this process."""
    return head_path(path).exists()


def read_head(path: Path) -> HeadState:
    return unpack(head_path(path).read_bytes())


def unpack(content: bytes | mmap.mmap) -> HeadState:
    magic, generation, size, even, odd = _HEAD.unpack(content[: _HEAD.size])
    if magic != MAGIC:
        raise ValueError("not the head of a database in pages")
    return HeadState(generation, size, odd if generation & 1 else even)


def pack(state: HeadState) -> bytes:
    limits = (0, state.limit) if state.generation & 1 else (state.limit, 0)
    return _HEAD.pack(MAGIC, state.generation, state.size, *limits).ljust(HEAD_SIZE, b"\0")


def read_layers(path: Path, generation: int) -> list[LayerLine]:
    """The layers of a head, the top first; raises `ValueError` for a list that is none."""
    first, *lines = layers_path(path, generation).read_text("utf-8").splitlines()
    if first != LAYERS_MAGIC or not lines:
        raise ValueError(f"{path} has no list of layers")
    parsed = (line.split(" ", 2) for line in lines)
    return [LayerLine(kind, int(limit), name) for kind, limit, name in parsed]


def layers_text(layers: list[LayerLine]) -> str:
    return "\n".join([LAYERS_MAGIC, *(f"{each.kind} {each.limit} {each.path}" for each in layers), ""])


def resolved(path: Path, layer: LayerLine) -> str:
    return os.path.join(path.parent, layer.path)  # noqa: PTH118 - on the way of every open


# Fields of a mapped head. Each is stored whole: eight aligned bytes.
GENERATION_AT, SIZE_AT, LIMITS_AT = 16, 24, 32


def field(head: mmap.mmap, at: int) -> int:
    return int.from_bytes(head[at : at + 8], "little")


def store(head: mmap.mmap, at: int, value: int) -> None:
    head[at : at + 8] = value.to_bytes(8, "little")
