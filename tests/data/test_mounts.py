"""A dataset as a folder."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from bough.adapters.blobs.directory import DirectoryBlobs
from bough.adapters.database.sqlite import SqliteDatabase
from bough.adapters.tables.duckdb import DuckTables
from bough.data.models import File
from bough.data.mounts import mount
from bough.data.rules import value_of
from bough.data.tables.folders import TableFolders
from bough.data.tables.store import TableFiles
from bough.data.views import Views
from bough.kernel import catalog
from bough.kernel.catalog import FILE, Write
from bough.kernel.errors import Conflict, Invalid, NotFound
from bough.kernel.trees import can_clone


@pytest.fixture
def blobs(tmp_path: Path) -> DirectoryBlobs:
    return DirectoryBlobs(tmp_path / "blobs")


def files(blobs: DirectoryBlobs, **texts: str) -> list[File]:
    return [
        File(
            path=f"d/{name.replace('_', '/')}", digest=blobs.put(text.encode()), size=len(text),
            executable=name == "run",
        )
        for name, text in texts.items()
    ]  # fmt: skip


def test_a_read_only_mount_costs_no_bytes_and_cannot_be_changed(blobs: DirectoryBlobs, tmp_path: Path) -> None:
    made = mount(files(blobs, a="one", x_b="two"), "d", blobs, tmp_path / "m", writable=False)
    assert (made.how, made.linked, made.copied, made.files, made.bytes) == ("link", 2, 0, 2, 6)
    assert (tmp_path / "m/x/b").read_text() == "two" and (tmp_path / "m/a").stat().st_nlink == 2
    assert {oct(path.stat().st_mode & 0o222) for path in (tmp_path / "m").rglob("*")} == {"0o0"}


def test_a_program_in_a_mount_can_be_run(blobs: DirectoryBlobs, tmp_path: Path) -> None:
    made = mount(files(blobs, run="#!/bin/sh"), "d", blobs, tmp_path / "m", writable=False)
    assert (made.how, made.copied) == ("copy", 1) and os.access(tmp_path / "m/run", os.X_OK)


def test_a_writable_mount_leaves_the_blobs_alone(blobs: DirectoryBlobs, tmp_path: Path) -> None:
    found = files(blobs, a="one")
    made = mount(found, "d", blobs, tmp_path / "m", writable=True)
    assert made.how == ("clone" if can_clone(tmp_path) else "copy")
    (tmp_path / "m/a").write_text("changed")
    assert blobs.read(found[0].digest) == b"one"


def test_a_mount_does_not_replace_anything_and_never_leads_outside(blobs: DirectoryBlobs, tmp_path: Path) -> None:
    with pytest.raises(Conflict):
        mount(files(blobs, a="one"), "d", blobs, tmp_path, writable=False)
    bad = [File(path="d/../../x", digest=blobs.put(b"x"), size=1)]
    with pytest.raises(Invalid):
        mount(bad, "d", blobs, tmp_path / "m", writable=False)
    assert not (tmp_path / "m").exists() and not list(tmp_path.glob(".m*"))


def test_a_unit_sees_its_datasets_as_its_environment_does(
    blobs: DirectoryBlobs, database: SqliteDatabase, tmp_path: Path
) -> None:
    views, found = Views(tmp_path / "views", blobs, no_tables(blobs, tmp_path)), files(blobs, a="one", b="two")
    with database.write() as tx:
        layer = catalog.open_head(tx, "shop", "main", None)
        catalog.commit(tx, layer, [Write(FILE, each.path, value_of(each)) for each in found], at=1.0, by="t", why="")
    first = waited(views, database)
    assert names(first / "d") == ["a", "b"] and waited(views, database) == first
    with database.write() as tx:
        catalog.commit(tx, layer, [Write(FILE, "d/b", None)], at=2.0, by="t", why="")
    second = waited(views, database)
    assert names(second / "d") == ["a"] and (first / "d/b").read_text() == "two"
    with database.read() as tx, pytest.raises(NotFound):
        views.ensure(tx, ("shop", "main"), "dep_1", ["nothing"])
    views.remove("dep_1")
    assert not first.exists() and not second.exists()


def no_tables(blobs: DirectoryBlobs, folder: Path) -> TableFolders:
    return TableFolders(TableFiles(blobs, folder / "copies"), DuckTables(folder / "sessions"))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def waited(views: Views, database: SqliteDatabase) -> Path:
    for _ in range(500):
        with database.read() as tx:
            if found := views.ensure(tx, ("shop", "main"), "dep_1", ["d"]):
                return found
        time.sleep(0.01)
    raise AssertionError("the view was never made")
