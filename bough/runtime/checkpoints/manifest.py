"""What a checkpoint consists of: `steps/STEP.json`, the only thing that makes it one.

The file is a line of JSON and a line with its SHA-256. It is written last, whole, after every chunk that it names is on
the disk; so a checkpoint can be loaded exactly if its manifest is there, and a manifest that is not what was written is
known to be damaged. Several processes leave their shard in `pending/` first; the first of them puts all of them into
the manifest.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import Any, Optional

import msgspec

from bough.runtime.checkpoints.disk import write_whole
from bough.runtime.checkpoints.failures import CheckpointError, damaged

FORMAT = 1
STEPS, PENDING, CHUNKS, DAMAGED = "steps", "pending", "chunks", "damaged"


class ChunkRef(msgspec.Struct, frozen=True, array_like=True):
    digest: str
    size: int


class Item(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The arrays of one entry of the state. Its chunks, one after the other, are a safetensors file."""

    name: str
    chunks: list[ChunkRef]
    size: int
    content: str  # digest of the digests of its arrays: equal exactly when the values are


class Shard(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one process saved. `plain` holds all that is no array, as MessagePack (see `trees`)."""

    rank: int
    plain: ChunkRef
    items: list[Item]
    session: str = ""  # of the processes that save together

    @property
    def chunks(self) -> list[ChunkRef]:
        return [self.plain, *(chunk for item in self.items for chunk in item.chunks)]


class Manifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    step: int
    at: float
    shards: list[Shard]
    format: int = FORMAT
    version: str = ""  # what the program calls itself; empty: `code` says it
    code: dict[str, str] = {}  # the program's files: path and digest
    libraries: dict[str, str] = {}  # versions, for people
    reason: str = ""  # interval, notice, asked, end
    attempt: int = 0

    @property
    def world(self) -> int:
        return len(self.shards)

    @property
    def size(self) -> int:
        return sum(chunk.size for shard in self.shards for chunk in shard.chunks)


def place(folder: Path, step: int) -> Path:
    return folder / STEPS / f"{step:012d}.json"


def write(path: Path, value: Any) -> None:
    line = msgspec.json.encode(value)
    write_whole(path, line + b"\n" + hashlib.sha256(line).hexdigest().encode() + b"\n")


def read(path: Path) -> Manifest:
    """Raises `FileNotFoundError`, and CHECKPOINT_DAMAGED for what nobody has written so."""
    return parse(path.read_bytes(), str(path))


def parse(content: bytes, called: str = "a manifest") -> Manifest:
    """What such a file says. Raises as `read` does."""
    line = _checked(content, called)
    found = msgspec.json.decode(line, type=dict[str, Any]).get("format")
    if found != FORMAT and found is not None:
        raise CheckpointError(
            "CHECKPOINT_FORMAT_UNKNOWN", f"{called} has format {found}, and this Bough knows {FORMAT}",
            "run the program with the Bough that saved it",
        )  # fmt: skip
    return msgspec.json.decode(line, type=Manifest)


def read_shard(path: Path) -> Optional[Shard]:
    """None when it is not there yet."""
    with contextlib.suppress(OSError, CheckpointError, msgspec.DecodeError):
        return msgspec.json.decode(_checked(path.read_bytes(), str(path)), type=Shard)
    return None


def steps(folder: Path) -> list[int]:
    """Of all checkpoints, the newest first; damaged ones have not been found out yet."""
    with contextlib.suppress(OSError):
        found = [path.stem for path in (folder / STEPS).iterdir() if path.suffix == ".json"]
        return sorted((int(name) for name in found if name.isdigit()), reverse=True)
    return []


def _checked(content: bytes, called: str) -> bytes:
    line, _, rest = content.partition(b"\n")
    if rest != hashlib.sha256(line).hexdigest().encode() + b"\n":
        raise damaged(f"{called} is not what was written")
    return line
