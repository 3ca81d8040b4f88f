"""Pure decisions about files: which names are taken, what a listing shows."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from bough.data.models import File, FileDifference, Listed
from bough.kernel.errors import Invalid
from bough.kernel.names import check_name
from bough.kernel.paths import check_path, folders_of, unsafe

if TYPE_CHECKING:  # the command line checks names by these rules, and need not load a database for that
    from bough.kernel.merging import Difference

DATASET, FOLDER, FILE = "dataset", "folder", "file"
_HEXADECIMAL = frozenset("0123456789abcdef")


def split(target: str) -> tuple[str, str]:
    """`images/train/a.png` -> the dataset and the path in it (empty: all of it). Raises `Invalid` (NAME_INVALID,
    PATH_UNSAFE)."""
    dataset, _, path = target.strip("/").partition("/")
    check_name(dataset, "dataset")
    if path:
        check_file_path(path)
    return dataset, path


def check_file_path(path: str) -> None:
    """Also refuses what is not composed: two spellings of one name would be two files here and one on some disks."""
    check_path(path)
    if not path.isascii() and unicodedata.normalize("NFC", path) != path:
        raise unsafe(path, "is not in Unicode's composed form (NFC)", "bough data put writes such names in that form")


def check_files(files: Iterable[File]) -> None:
    """Raises `Invalid` (PATH_UNSAFE, FILE_INVALID) unless each of these may be written, and all of them together."""
    seen: set[str] = set()
    for each in files:
        check_file_path(each.path)
        if each.path in seen:
            raise unsafe(each.path, "is listed twice")
        if each.size < 0 or len(each.digest) != 64 or not _HEXADECIMAL.issuperset(each.digest):
            raise Invalid(f"{each.path!r} has no valid size and digest", code="FILE_INVALID", path=each.path)
        seen.add(each.path)
    check_folders(seen)


def check_folders(paths: set[str]) -> None:
    """Raises `Invalid` (PATH_UNSAFE) when one of these files is a folder of another."""
    for path in paths:
        for folder in folders_of(path):
            if folder in paths:
                raise unsafe(path, f"{folder!r} is a file", "remove that file first: bough data rm")


def clashes(before: Collection[str], removed: Collection[str], added: Collection[str]) -> list[tuple[str, str]]:
    """Files that would lie below a file, each with that file, once `added` have come to `before` and `removed` gone."""
    after, fresh = set(before) - set(removed) | set(added), set(added)
    found = []
    for path in after:
        for folder in folders_of(path):
            if folder in after and (path in fresh or folder in fresh):
                found.append((path, folder))
    return sorted(found)


def value_of(file: File) -> dict[str, Any]:
    """What the catalog keeps."""
    kept: dict[str, Any] = {"digest": file.digest, "size": file.size}
    return kept | {"executable": True} if file.executable else kept


def file_of(path: str, value: dict[str, Any]) -> File:
    return File(path=path, digest=value["digest"], size=value["size"], executable=value.get("executable", False))


def listing(files: Iterable[File], prefix: str, *, flat: bool) -> list[Listed]:
    """What stands directly below `prefix` ("" or with `/` at its end), folders with what they hold; every file of its
    own with `flat`. `files` are those below `prefix`, with whole keys as paths."""
    found: dict[str, Listed] = {}
    for file in files:
        name, slash, _ = file.path[len(prefix) :].partition("/")
        if flat or not slash:
            found[file.path] = Listed(
                path=file.path, kind=FILE, files=1, bytes=file.size, digest=file.digest, executable=file.executable
            )
            continue
        path, old = prefix + name, found.get(prefix + name)
        kind = FOLDER if prefix else DATASET
        files_there, bytes_there = (old.files, old.bytes) if old else (0, 0)
        found[path] = Listed(path=path, kind=kind, files=files_there + 1, bytes=bytes_there + file.size)
    return [found[path] for path in sorted(found)]


def difference(found: Difference) -> FileDifference:
    before, after = found.before or {}, found.after or {}
    return FileDifference(
        path=found.key,
        action=found.action,
        before=before.get("digest", ""),
        after=after.get("digest", ""),
        before_bytes=before.get("size", 0),
        after_bytes=after.get("size", 0),
    )
