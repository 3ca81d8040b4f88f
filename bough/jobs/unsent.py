"""What a folder of checkpoints has and a bucket has not, and what of that goes first.

The newest goes first, and one that has begun to go is finished before a newer one: else saves that come faster than
they go would leave none. A run that was told to end has no time for that: then a newer one takes over, if it can arrive
by the end. What has arrived of the other is not sent again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from bough.runtime.checkpoints import disk, manifest
from bough.runtime.checkpoints.failures import CheckpointError


class Unsent(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint that is whole on the disk only. `chunks`: those that the bucket lacks, by their keys."""

    key: str  # of its manifest
    content: bytes  # and what that says
    chunks: dict[str, Path]
    lacks_bytes: int


def first(unsent: Sequence[Unsent], left_s: float | None, bytes_per_s: float) -> Unsent:
    """Whose turn it is: the newest. When only so much time is left: the newest that can arrive by then, as fast as
    others went (0: not known), or, where none can, the one that lacks least."""
    if left_s is None or not bytes_per_s:
        return unsent[0]
    in_time = [each for each in unsent if each.lacks_bytes <= left_s * bytes_per_s]
    return in_time[0] if in_time else min(unsent, key=lambda each: each.lacks_bytes)


def unsent(folder: Path, prefix: str, there: set[str], sent: Mapping[str, bytes]) -> list[Unsent]:
    """The newest first; without those that are damaged, or on their way out. `there`: keys of the bucket's objects;
    `sent`: its manifests."""
    manifests = steps(folder, prefix)
    contents = {key: content(path) for key, path in manifests.items()}
    fresh = [key for key, said in contents.items() if said and sent.get(key) != said]
    have = chunks(folder, prefix) if fresh else {}
    found = list[Unsent]()
    for key in sorted(fresh, reverse=True):
        whole = sizes(contents[key], prefix)
        lacks = {each: size for each, size in whole.items() if each not in there}
        if whole and lacks.keys() <= have.keys():
            paths = {each: have[each] for each in lacks}
            found.append(Unsent(key=key, content=contents[key], chunks=paths, lacks_bytes=sum(lacks.values())))
    return found


def steps(folder: Path, prefix: str) -> dict[str, Path]:
    """Its manifests, by the keys of their objects."""
    return _found(folder, prefix, f"{manifest.STEPS}/*")


def chunks(folder: Path, prefix: str) -> dict[str, Path]:
    """The same, also of what no manifest names yet."""
    return _found(folder, prefix, f"{manifest.CHUNKS}/*/*")


def needed(manifests: Iterable[bytes], prefix: str) -> set[str]:
    """Keys of their chunks."""
    return {key for each in manifests for key in sizes(each, prefix)}


def sizes(manifest_said: bytes, prefix: str) -> dict[str, int]:
    """Of the chunks of a manifest, by their keys; empty when it is damaged, or has given way."""
    with contextlib.suppress(CheckpointError):
        shards = manifest.parse(manifest_said).shards
        place = f"{prefix}{manifest.CHUNKS}"
        return {f"{place}/{each.rank}/{ref.digest}": ref.size for each in shards for ref in each.chunks}
    return {}


def content(path: Path) -> bytes:
    """Empty when it has given way."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _found(folder: Path, prefix: str, pattern: str) -> dict[str, Path]:
    found = sorted(path for path in folder.glob(pattern) if not path.name.startswith(disk.TEMPORARY))
    return {prefix + path.relative_to(folder).as_posix(): path for path in found}
