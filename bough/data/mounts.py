"""A dataset as a folder, without copying it: hard links to the blobs, read-only; or writable, with blocks shared where
the file system can share them, else copied."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import msgspec
import sqlalchemy as sa

from bough.data import store
from bough.data.making import Making
from bough.data.models import File
from bough.data.rules import check_file_path, check_folders
from bough.data.tables.folders import TableFolders
from bough.data.tables.models import Version, decode, encode
from bough.kernel import catalog, trees
from bough.kernel.catalog import LAST, Point
from bough.kernel.errors import Conflict, NotFound
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


class Views:
    """What units see of datasets and tables: `<root>/<unit's owner>/<digest>/<name>/…`, read-only links. A view never
    changes; another state of the data is another view."""

    def __init__(self, root: Path, blobs: Source, tables: TableFolders) -> None:
        self._root, self._blobs, self._tables = root, blobs, tables
        self._making = Making("view")

    def ensure(
        self, tx: sa.Connection, place: tuple[str, str], owner: str, names: Sequence[str], until: int = LAST
    ) -> Path | None:
        """The folder of these datasets and tables (Parquet files) as an environment sees them after the change
        `until`; None while it is being made, in a thread of its own: ask again. Raises `NotFound` (DATASET_NOT_FOUND),
        and what went wrong in making it."""
        at = Point(catalog.layer_of(tx, *place), until)
        files: list[File] = []
        tables: dict[str, Version] = {}
        for name in sorted(names):
            if found := store.files(tx, at, name):
                files += found
            elif (entry := catalog.get(tx, at, catalog.TABLE, name)) is not None:
                tables[name] = decode(entry.value)
            else:
                raise NotFound(
                    f"{'/'.join(place)} has neither a dataset nor a table {name!r}",
                    code="DATASET_NOT_FOUND", hint=f"bough data put FOLDER {name} -e {place[1]}",
                )  # fmt: skip
        state = msgspec.json.encode([files, {name: encode(each) for name, each in tables.items()}])
        target = self._root / owner / sha256(state).hexdigest()[:32]
        if target.is_dir():
            return target
        self._making.start(target, lambda: self._make(target, files, tables))
        return None

    def remove(self, owner: str) -> None:
        """All views of an owner that runs no more."""
        trees.remove_tree(self._root / owner)

    def keep(self, view: Path) -> None:
        """Removes the other views of the same owner; nothing of it may run in one."""
        for each in [each for each in view.parent.iterdir() if each != view and not each.name.startswith(".")]:
            gone = each.with_name(f".{each.name}.gone")
            trees.remove_tree(gone)
            each.rename(gone)  # at one go: a view that is there is whole
            trees.remove_tree(gone)
            each.with_name(f".{each.name}.lock").unlink(missing_ok=True)

    def _make(self, target: Path, files: list[File], tables: dict[str, Version]) -> None:
        def fill(building: Path) -> None:
            trees.lay_out(leaves_of(files, ""), self._blobs, building, checked=False)
            for name, version in tables.items():
                self._tables.lay_out(version, building / name)
            trees.close_folders(building)

        trees.make(target, fill)


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
