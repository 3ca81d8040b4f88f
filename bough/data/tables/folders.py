"""A table as a folder of Parquet files, for programs that read it with whatever they like.

A data file that holds just the table's columns and no row that is gone is linked, and costs nothing; any other is
written anew. What a folder holds never changes: another version of the table is another folder.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from bough.adapters.tables import Tables, quoted
from bough.data.tables.models import Version
from bough.data.tables.store import TableFiles

NAME = "rows"  # of the relation in the session; nobody else's SQL runs there


class TableFolders:
    def __init__(self, files: TableFiles, tables: Tables) -> None:
        self._files, self._tables = files, tables

    def lay_out(self, version: Version, folder: Path) -> None:
        """Makes `folder` hold the rows of `version`, file by file in its order. Raises `Problem` (BLOB_DAMAGED)."""
        folder.mkdir(parents=True)
        if not any(each.live for each in version.files):
            self._write(version, [], folder / "00000.parquet")  # a reader still finds the columns
        for place, file in enumerate(version.files):
            target = folder / f"{place:05}.parquet"
            if file.live == 0:
                continue
            if file.deleted or not _is_plain(version, place):
                self._write(version, [place], target)
            else:
                _link(self._files.path(file.blob), target)

    def _write(self, version: Version, places: list[int], target: Path) -> None:
        relation = self._files.relation(version, places)
        with self._tables.session({NAME: relation}) as session:
            columns = ", ".join(quoted(each.name) for each in version.fields)
            made = session.write(f"SELECT {columns} FROM {quoted(NAME)}")
            shutil.move(made, target)
        target.chmod(0o444)


def _is_plain(version: Version, place: int) -> bool:
    """Whether a file has the table's columns, of the same names and types, and no others."""
    file = version.files[place]
    held = version.layouts[file.layout].columns
    return file.first_row is not None and held == {each.id: (each.name, each.type) for each in version.fields}


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
        target.chmod(0o444)
