"""Files on a user's disk: which of a folder become files of a dataset.

Everything below the folder does, hidden files too. A symbolic link to a file inside the folder becomes that file; one
that leads outside, to a folder or to nothing is refused, and so is what is neither a file nor a folder: a dataset holds
files only, so nothing that is laid out from it can lead anywhere. Names are written in Unicode's composed form.
"""

from __future__ import annotations

import itertools
import os
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bough.data.rules import check_file_path, check_folders
from bough.kernel.errors import Invalid, NotFound
from bough.kernel.paths import unsafe


class LocalFile(msgspec.Struct, frozen=True, kw_only=True):
    """`path` is what it is called in the dataset, `place` where it lies."""

    path: str
    place: str
    size: int
    executable: bool


def scan(root: Path, prefix: str = "") -> list[LocalFile]:
    """A file (as `prefix`, or its own name) or everything below a folder (below `prefix`), by path. Raises `NotFound`
    (PATH_NOT_FOUND), `Invalid` (PATH_UNSAFE, LINK_OUTSIDE, SPECIAL_FILE)."""
    if not root.exists():
        raise NotFound(f"there is no {root}", code="PATH_NOT_FOUND", hint="ls", path=str(root))
    if not root.is_dir():
        name = prefix if prefix and not prefix.endswith("/") else prefix + root.name
        found = [file_at(name, os.fspath(root), root.stat())]
    else:
        start = f"{prefix.rstrip('/')}/" if prefix else ""
        found = list(_below(os.fspath(root), start, os.path.realpath(root)))
    return checked(found)


def checked(found: list[LocalFile]) -> list[LocalFile]:
    """These files by path, if a dataset can hold all of them together. Raises `Invalid` (PATH_UNSAFE)."""
    found = sorted(found, key=lambda file: file.path)
    for each, following in itertools.pairwise(found):
        if each.path == following.path:
            raise unsafe(each.path, "is the composed form of two names", f"rename {following.place}")
    check_folders({each.path for each in found})
    return found


def _below(folder: str, prefix: str, root: str) -> Iterator[LocalFile]:
    with os.scandir(folder) as listing:
        for item in listing:
            path = prefix + composed(item.name)
            if item.is_symlink():
                yield _link(item, path, root)
            elif item.is_dir(follow_symlinks=False):
                yield from _below(item.path, path + "/", root)
            else:
                yield file_at(path, item.path, item.stat(follow_symlinks=False))


def _link(item: os.DirEntry[str], path: str, root: str) -> LocalFile:
    target = os.path.realpath(item.path)
    if not target.startswith(root + "/"):
        raise refused_link(path, os.readlink(item.path), "outside the folder")  # noqa: PTH115 - strings throughout
    if not os.path.exists(target):  # noqa: PTH110 - as above
        raise refused_link(path, target, "which is not there")
    if os.path.isdir(target):  # noqa: PTH112 - as above
        raise refused_link(path, target, "a folder")
    return file_at(path, item.path, item.stat())


def file_at(path: str, place: str, status: os.stat_result) -> LocalFile:
    if not stat.S_ISREG(status.st_mode):
        raise Invalid(
            f"{place} is neither a file nor a folder (a socket, pipe or device)",
            code="SPECIAL_FILE", hint="remove it, or put another folder", path=path,
        )  # fmt: skip
    check_file_path(path)
    return LocalFile(path=path, place=place, size=status.st_size, executable=bool(status.st_mode & stat.S_IXUSR))


def composed(name: str) -> str:
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def refused_link(path: str, target: str, why: str) -> Invalid:
    return Invalid(
        f"the link {path} points to {target}, {why}",
        code="LINK_OUTSIDE", hint="copy what it points to into the folder, or remove the link", path=path,
    )  # fmt: skip
