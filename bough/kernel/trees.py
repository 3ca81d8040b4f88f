"""Folders made of blobs: hard links where that goes, read-only, whole or absent.

A link costs no bytes and microseconds, and shows the blob itself: whoever is allowed to change the blob's file could
change it through the link, so the files are read-only, and a reader who must be sure asks for `checked`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO, Protocol

import msgspec

from bough.kernel.files import MTIME_S, as_exhausted, locked, share_blocks

CHUNK_BYTES = 1 << 20


class Source(Protocol):
    """What a tree needs of blobs."""

    def open(self, digest: str) -> BinaryIO: ...

    def local_path(self, digest: str) -> Path | None: ...

    def link(self, digest: str, place: str) -> bool: ...


class Leaf(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a tree; `path` is relative, with `/`, and has been checked."""

    path: str
    digest: str
    size: int = 0
    executable: bool = False


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """How the files of a tree came to be. What could not be linked or cloned was copied."""

    linked: int = 0
    cloned: int = 0
    copied: int = 0
    copied_bytes: int = 0


def make(target: Path, fill: Callable[[Path], Made | None]) -> bool:
    """`fill` makes a folder that becomes `target` when it is whole; False when `target` was there already. Idempotent,
    safe for many at once and against kill -9; what `fill` raises is raised, and `target` is then absent."""
    if target.is_dir():
        return False
    with as_exhausted(target.parent), locked(target.parent / f".{target.name}.lock"):
        if target.is_dir():
            return False
        building = target.parent / f".{target.name}.building"
        remove_tree(building)
        try:
            fill(building)
            building.rename(target)
        except BaseException:
            remove_tree(building)
            raise
    return True


def lay_out(leaves: Iterable[Leaf], source: Source, root: Path, *, checked: bool) -> Made:
    """Makes `root` with these files, all read-only with one constant time. `checked` reads every blob before it is
    linked; without, a link shows whatever the disk made of it."""
    leaves = list(leaves)
    _make_folders(leaves, root)
    linked = copied = copied_bytes = 0
    for leaf in leaves:
        if _link(leaf, source, f"{root}/{leaf.path}", checked):
            linked += 1
            continue
        _copy(leaf, source, root / leaf.path)
        copied, copied_bytes = copied + 1, copied_bytes + leaf.size
        (root / leaf.path).chmod(0o555 if leaf.executable else 0o444)
        os.utime(root / leaf.path, (MTIME_S, MTIME_S))
    return Made(linked=linked, copied=copied, copied_bytes=copied_bytes)


def lay_out_writable(leaves: Iterable[Leaf], source: Source, root: Path) -> Made:
    """Makes `root` with files of its own: cloned where the file system shares blocks, else copied (and checked)."""
    leaves = list(leaves)
    _make_folders(leaves, root)
    cloned = copied = copied_bytes = 0
    clones = True  # until the file system says no
    for leaf in leaves:
        place = root / leaf.path
        clones = clones and _clone(source.local_path(leaf.digest), place)
        if clones:
            cloned += 1
        else:
            _copy(leaf, source, place)
            copied, copied_bytes = copied + 1, copied_bytes + leaf.size
        place.chmod(0o755 if leaf.executable else 0o644)
    return Made(cloned=cloned, copied=copied, copied_bytes=copied_bytes)


def close_folders(root: Path, but: str = "") -> None:
    """Makes every folder read-only except those called `but`."""
    for place, _, _ in os.walk(root, topdown=False):
        if not but or os.path.basename(place) != but:  # noqa: PTH119 - a string from os.walk
            os.chmod(place, 0o555)  # noqa: PTH101, S103 - as above; nobody may write


def remove_tree(folder: Path) -> None:
    """Removes a folder whatever the modes of those in it; does nothing when absent."""
    if not folder.exists():
        return
    folder.chmod(0o755)
    for place, folders, _ in os.walk(folder):  # top-down: a folder is opened before it is listed
        for name in folders:
            if not os.path.islink(f"{place}/{name}"):  # noqa: PTH114 - strings from os.walk; nothing outside is touched
                os.chmod(f"{place}/{name}", 0o755)  # noqa: PTH101, S103 - as above; it goes the next moment
    shutil.rmtree(folder)


def can_clone(folder: Path) -> bool:
    """Whether files in `folder` can share blocks with each other: asked by trying it. Where nothing can be written,
    none can."""
    one, other = folder / f".clone-{os.getpid()}-a", folder / f".clone-{os.getpid()}-b"
    try:
        one.write_bytes(b"x" * 4096)
        return _clone(one, other)
    except OSError:  # a full disk
        return False
    finally:
        one.unlink(missing_ok=True)
        other.unlink(missing_ok=True)


def _make_folders(leaves: list[Leaf], root: Path) -> None:
    root.mkdir(parents=True)
    for folder in sorted({leaf.path.rpartition("/")[0] for leaf in leaves} - {""}):
        os.makedirs(f"{root}/{folder}", exist_ok=True)  # noqa: PTH103 - a Path per folder doubles the time


def _link(leaf: Leaf, source: Source, place: str, checked: bool) -> bool:
    if leaf.executable:
        return False  # a link has the mode of the blob
    if checked:
        with source.open(leaf.digest) as stream:
            while stream.read(CHUNK_BYTES):
                pass
    return source.link(leaf.digest, place)


def _copy(leaf: Leaf, source: Source, place: Path) -> None:
    with source.open(leaf.digest) as stream, place.open("xb") as file:
        shutil.copyfileobj(stream, file, CHUNK_BYTES)


def _clone(path: Path | None, place: Path) -> bool:
    if path is None:
        return False
    with path.open("rb") as stream, place.open("xb") as file:
        if share_blocks(stream, file):
            return True
    place.unlink()
    return False
