"""Finding the newest checkpoint that is whole, and reading it.

Every byte is checked against its digest before anything reaches the program. A checkpoint that fails is put aside,
which is said, and the one before is tried."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Callable, Optional

import msgspec

from bough.runtime.buffers import aligned
from bough.runtime.checkpoints import arrays, chunks, manifest
from bough.runtime.checkpoints.checking import moment
from bough.runtime.checkpoints.failures import CheckpointError
from bough.runtime.checkpoints.manifest import ChunkRef, Item, Manifest, Shard

_ALIGNMENT = 16  # that arrays need in memory to be as fast as fresh ones


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """One shard in memory: plain values by entry, and the bytes of each entry's arrays by their name."""

    plain: dict[str, Any]
    arrays: dict[str, dict[str, Any]]


Confirm = Callable[[ChunkRef], None]


def newest(
    folder: Path, load: Callable[[Manifest], Any], tell: Callable[[str], None]
) -> Optional[tuple[Manifest, Any]]:
    """The newest checkpoint and what `load` made of it; None when there is none. `load` raises CHECKPOINT_DAMAGED for
    one that cannot be used."""
    for step in (known := manifest.steps(folder)):
        moment("restore")
        try:
            found = manifest.read(manifest.place(folder, step))
            return found, load(found)
        except FileNotFoundError:
            continue
        except CheckpointError as error:
            if error.code != "CHECKPOINT_DAMAGED":
                raise
            put_aside(folder, step)
            then = "it begins anew, for there is none before" if step == known[-1] else "the one before is used"
            tell(f"the checkpoint of step {step} is damaged ({error.message}); {then}")
    return None


def put_aside(folder: Path, step: int) -> None:
    """It is not tried again, and people can look at it; its chunks are written anew when they are needed."""
    aside = folder / manifest.DAMAGED
    with contextlib.suppress(OSError):
        aside.mkdir(exist_ok=True)
        manifest.place(folder, step).replace(aside / f"{step:012d}.json")


def load_shard(folder: Path, shard: Shard, confirm: Optional[Confirm] = None) -> Loaded:
    """Raises CHECKPOINT_DAMAGED unless all of it is what was saved."""
    plain = bytearray(shard.plain.size)
    chunks.read(folder, shard.rank, shard.plain, memoryview(plain))
    if confirm:
        confirm(shard.plain)
    found = {}
    for item in shard.items:
        found[item.name] = _arrays_of(_load_item(folder, shard.rank, item, confirm))
        moment("entry restored")
    entries = msgspec.msgpack.decode(plain, type=dict[str, bytes])  # each by itself, so that two can be compared
    return Loaded(plain={name: msgspec.msgpack.decode(each) for name, each in entries.items()}, arrays=found)


def read_item(folder: Path, shard: Shard, name: str) -> memoryview:
    """The safetensors file of one entry, checked."""
    item = next((each for each in shard.items if each.name == name), None)
    if item is None:
        known = ", ".join(each.name for each in shard.items) or "none"
        raise CheckpointError("CHECKPOINT_STATE_INVALID", f"no arrays were saved under {name!r}", f"there are: {known}")
    return _load_item(folder, shard.rank, item, None)


def _load_item(folder: Path, rank: int, item: Item, confirm: Optional[Confirm]) -> memoryview:
    content, at = aligned(item.size), 0
    for ref in item.chunks:
        chunks.read(folder, rank, ref, content[at : at + ref.size])
        at += ref.size
        if confirm:
            confirm(ref)
    return content


def _arrays_of(content: memoryview) -> dict[str, Any]:
    found = {}
    for name, (start, end) in arrays.offsets(content).items():
        part = content[start:end]
        found[name] = part if start % _ALIGNMENT == 0 else memoryview(bytearray(part))
    return found
