"""What units see of datasets and tables, without copying them."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import msgspec
import sqlalchemy as sa

from bough.data import store
from bough.data.making import Making
from bough.data.models import Content, File
from bough.data.mounts import leaves_of
from bough.data.tables.folders import TableFolders
from bough.data.tables.models import Version, decode, encode
from bough.kernel import catalog, trees
from bough.kernel.catalog import LAST, Point
from bough.kernel.errors import NotFound
from bough.kernel.trees import Source


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
        files, tables = self._seen(tx, place, names, until)
        state = msgspec.json.encode([files, {name: encode(each) for name, each in tables.items()}])
        target = self._root / owner / sha256(state).hexdigest()[:32]
        if target.is_dir():
            return target
        self._making.start(target, lambda: self._make(target, files, tables))
        return None

    def contents(
        self, tx: sa.Connection, place: tuple[str, str], names: Sequence[str], until: int = LAST
    ) -> list[Content]:
        """What such a folder holds, by name. Raises as `ensure` does."""
        files, tables = self._seen(tx, place, names, until)
        sizes: dict[str, list[int]] = {}
        for each in files:
            sizes.setdefault(each.path.partition("/")[0], []).append(each.size)
        found = [Content(name=name, kind=catalog.FILE, files=len(of), bytes=sum(of)) for name, of in sizes.items()]
        found += [
            Content(name=name, kind=catalog.TABLE, files=len(each.files), bytes=each.bytes)
            for name, each in tables.items()
        ]
        return sorted(found, key=lambda content: content.name)

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

    def _seen(
        self, tx: sa.Connection, place: tuple[str, str], names: Sequence[str], until: int
    ) -> tuple[list[File], dict[str, Version]]:
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
        return files, tables

    def _make(self, target: Path, files: list[File], tables: dict[str, Version]) -> None:
        def fill(building: Path) -> None:
            trees.lay_out(leaves_of(files, ""), self._blobs, building, checked=False)
            for name, version in tables.items():
                self._tables.lay_out(version, building / name)
            trees.close_folders(building)

        trees.make(target, fill)
