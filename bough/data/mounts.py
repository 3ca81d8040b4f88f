"""A dataset as a folder, without copying it: hard links to the blobs, read-only; or writable, with blocks shared where
the file system can share them, else copied."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bough.data.models import File
from bough.data.rules import check_file_path, check_folders
from bough.kernel import trees
from bough.kernel.errors import Conflict
from bough.kernel.files import as_exhausted
from bough.kernel.trees import Leaf, Made, Source


class Mounted(msgspec.Struct, frozen=True, kw_only=True):
    """`how` is link, clone or copy: the costliest that was needed."""

    folder: str
    how: str
    files: int
    bytes: int
    linked: int
    cloned: int
    copied: int
    copied_bytes: int
    seconds: float


def mount(files: Sequence[File], key: str, blobs: Source, target: Path, *, writable: bool) -> Mounted:
    """Makes `target`, which must not exist, hold the files below `key`; whole or absent. A read-only tree is not read
    while it is made: `bough data verify` checks blobs. Raises `Conflict` (MOUNT_EXISTS), `Exhausted`."""
    if os.path.lexists(target):
        raise Conflict(
            f"{target} is there already", code="MOUNT_EXISTS", hint=f"remove it, or mount elsewhere: {target}-2"
        )
    began = time.perf_counter()
    building = target.parent / f".{target.name}.{os.getpid()}.building"
    with as_exhausted(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            made = _fill(leaves_of(files, key), blobs, building, writable)
            building.rename(target)
        except BaseException:
            trees.remove_tree(building)
            raise
    how = "copy" if made.copied else "clone" if made.cloned else "link"
    size = sum(each.size for each in files)
    seconds = round(time.perf_counter() - began, 3)
    return Mounted(
        folder=str(target), how=how, files=len(files), bytes=size, linked=made.linked, cloned=made.cloned,
        copied=made.copied, copied_bytes=made.copied_bytes, seconds=seconds,
    )  # fmt: skip


def leaves_of(files: Sequence[File], key: str) -> list[Leaf]:
    """Paths are checked again: they become names on this disk."""
    start = len(key) + 1 if key else 0
    leaves = [
        Leaf(
            path=each.path[start:] or each.path.rpartition("/")[2], digest=each.digest, size=each.size,
            executable=each.executable,
        )
        for each in files
    ]  # fmt: skip
    for leaf in leaves:
        check_file_path(leaf.path)
    check_folders({leaf.path for leaf in leaves})
    return leaves


def _fill(leaves: list[Leaf], blobs: Source, root: Path, writable: bool) -> Made:
    if writable:
        return trees.lay_out_writable(leaves, blobs, root)
    made = trees.lay_out(leaves, blobs, root, checked=False)
    trees.close_folders(root)
    return made
