"""Trees: a dataset as a folder for one program, which may write in it; no blob is ever changed through one.

Three ways, tried in this order and never assumed (`bough doctor` shows them):

    clone     files of its own that share their blocks with the blobs, where the file system can do that
    overlay   links below, changes above: a file is copied when it is first changed (`kernel/overlay.py`)
    copy      everything is copied first: what is left, and whoever asks is told beforehand

For reading an overlay comes first: without a place for changes it refuses every write, root's too. Bare links are not
among the ways, since nothing but a mode stands before them, and their owner can change it. A tree knows what has become
of it: `changes` says what to write back.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from bough.data.local import LocalFile, checked, composed, file_at, refused_link, scan
from bough.data.models import File
from bough.data.mounts import leaves_of
from bough.kernel import overlay
from bough.kernel.errors import Invalid
from bough.kernel.files import MTIME_S, as_exhausted
from bough.kernel.trees import Leaf, Source, can_clone, close_folders, lay_out, lay_out_writable, remove_tree

CLONE, OVERLAY, COPY = "clone", "overlay", "copy"
FOR_WRITING, FOR_READING = (CLONE, OVERLAY, COPY), (OVERLAY, CLONE, COPY)
_STATE = "tree.json"
_LINKS_AT_MOST = 40  # in a row, as the kernel has it
Stamp = tuple[int, int, int, int, int]


class Way(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    available: bool
    why_not: str = ""


class Tree(msgspec.Struct, frozen=True, kw_only=True):
    """`stamps`: what the files of a clone or copy looked like at first. `copied_bytes` were copied to make it."""

    folder: str
    how: str
    writable: bool
    files: int
    bytes: int
    copied_bytes: int
    stamps: dict[str, Stamp] = {}

    @property
    def path(self) -> str:
        """Where a program that was started with `launcher` finds the files."""
        return f"{self.folder}/{overlay.TREE}"

    @property
    def launcher(self) -> list[str]:
        """What goes before the program's own words; may be nothing. For one program: another gets another tree."""
        return overlay.launcher(Path(self.folder), writable=self.writable) if self.how == OVERLAY else []

    @property
    def changed_folder(self) -> str:
        """Where changed files lie once the program has ended."""
        return f"{self.folder}/{overlay.UPPER}" if self.how == OVERLAY else self.path


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What a program made of a tree. `files` are new or may have changed; their content decides."""

    files: list[LocalFile]
    removed: list[str]


class Trees:
    """All trees of a home: `<root>/<name>/`. One that is made while its name is held goes when nobody holds it any
    more, at the latest with `sweep`; any other stays until whoever made it removes it."""

    def __init__(self, root: Path, blobs: Source) -> None:
        self._root, self._blobs = root, blobs

    def make(self, name: str, files: Sequence[File], key: str, *, writable: bool, how: str) -> Tree:
        """The tree of the files below `key`, made in the way `how` (see `choose`); the one that is there already if
        there is one. Whole or absent. Raises `Invalid` (PATH_UNSAFE), `Exhausted`."""
        if (found := self.find(name)) is not None:
            return found
        folder, building = self._root / name, self._root / f".{name}.building"
        with as_exhausted(self._root):
            self._root.mkdir(parents=True, exist_ok=True)
            try:
                remove_tree(building)
                building.mkdir(mode=0o700)
                tree = self._fill(building, leaves_of(files, key), writable, how)
                tree = msgspec.structs.replace(tree, folder=str(folder))
                (building / _STATE).write_bytes(msgspec.json.encode(tree))
                building.rename(folder)
            except BaseException:
                remove_tree(building)
                raise
        return tree

    def find(self, name: str) -> Tree | None:
        try:
            return msgspec.json.decode((self._root / name / _STATE).read_bytes(), type=Tree)
        except FileNotFoundError:
            return None

    def remove(self, name: str) -> None:
        """Does nothing when there is none."""
        remove_tree(self._root / name)
        remove_tree(self._root / f".{name}.building")

    @contextlib.contextmanager
    def held(self) -> Iterator[tuple[str, int]]:
        """A fresh name, and a descriptor to hand to programs: as long as anybody has it open, the tree stays. It goes
        at the end of the block unless it was kept."""
        name = f"run-{os.getpid()}-{secrets.token_hex(4)}"
        with as_exhausted(self._root):
            self._root.mkdir(parents=True, exist_ok=True)
        lock = self._root / f"{name}.lock"
        descriptor = _locked(lock)
        try:
            yield name, descriptor
        finally:
            if lock.exists():
                self.remove(name)
                lock.unlink()
            os.close(descriptor)

    def keep(self, name: str) -> None:
        """From now on the tree stays until somebody removes its folder."""
        (self._root / f"{name}.lock").unlink(missing_ok=True)

    def sweep(self) -> int:
        """Removes the trees of programs that are gone, whatever ended them; says how many."""
        swept = 0
        for lock in sorted(self._root.glob("*.lock")):
            with contextlib.suppress(FileNotFoundError, BlockingIOError), lock.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.remove(lock.stem)
                lock.unlink()
                swept += 1
        return swept

    def _fill(self, folder: Path, leaves: list[Leaf], writable: bool, how: str) -> Tree:
        top, stamps = folder / overlay.TREE, dict[str, Stamp]()
        if how == OVERLAY:
            for name in (overlay.UPPER, overlay.WORK, overlay.TREE):
                (folder / name).mkdir()
            made = lay_out(leaves, self._blobs, folder / overlay.LOWER, checked=False)
        else:
            made = lay_out_writable(leaves, self._blobs, top)
            for each in leaves:  # a clock ticks in milliseconds: from a constant time on, every write shows
                os.utime(top / each.path, (MTIME_S, MTIME_S))
                if not writable:
                    (top / each.path).chmod(0o555 if each.executable else 0o444)
            if writable:
                stamps = {each.path: _stamp((top / each.path).stat()) for each in leaves}
            else:
                close_folders(top)
        return Tree(
            folder=str(folder), how=COPY if how == CLONE and made.copied else how, writable=writable,
            files=len(leaves), bytes=sum(each.size for each in leaves), copied_bytes=made.copied_bytes, stamps=stamps,
        )  # fmt: skip


def ways(folder: Path) -> list[Way]:
    """What can be done in `folder`, each tried out."""
    cloned, no_overlay = os.access(folder, os.W_OK) and can_clone(folder), overlay.why_not(folder)
    return [
        Way(name=CLONE, available=cloned, why_not="" if cloned else f"the file system of {folder} cannot share blocks"),
        Way(name=OVERLAY, available=not no_overlay, why_not=no_overlay),
        Way(name=COPY, available=True),
    ]


def choose(found: Sequence[Way], *, writable: bool, how: str = "") -> str:
    """The best way of those found, or `how` itself. Raises `Invalid` (WAY_MISSING)."""
    by_name = {each.name: each for each in found}
    if not how:
        return next(name for name in (FOR_WRITING if writable else FOR_READING) if by_name[name].available)
    if not by_name[how].available:
        what = f"there is no {how} here; {by_name[how].why_not}"
        raise Invalid(what, code="WAY_MISSING", hint="bough doctor, or leave out --how")
    return how


def changes(tree: Tree) -> Changes:
    """What has become of a writable tree, once its program has ended. Raises `Invalid` (LINK_OUTSIDE, SPECIAL_FILE,
    PATH_UNSAFE)."""
    top = Path(tree.changed_folder)
    _make_readable(top)
    if tree.how == OVERLAY:
        return _Upper(Path(tree.folder)).changes()
    there = scan(top)
    changed = [each for each in there if _stamp(os.stat(each.place)) != tree.stamps.get(each.path)]  # noqa: PTH116 - strings
    return Changes(files=changed, removed=sorted(tree.stamps.keys() - {each.path for each in there}))


class _Upper:
    """Reads what an overlay has kept of the changes."""

    def __init__(self, folder: Path) -> None:
        self._upper, self._tree = os.fspath(folder / overlay.UPPER), f"{folder}/{overlay.TREE}/"
        self._lower = os.fspath(folder / overlay.LOWER)
        self._base = sorted(overlay.files_below(folder / overlay.LOWER))
        self._hidden: set[str] = set()  # files below that are seen no more
        self._places: dict[str, str] = {}  # plain files above
        self._links: dict[str, str] = {}

    def changes(self) -> Changes:
        self._read(self._upper, "")
        files = self._places | {path: self._target(path) for path in self._links}
        found = checked([file_at(composed(path), place, os.stat(place)) for path, place in files.items()])  # noqa: PTH116
        removed = self._hidden - {each.path for each in found}
        return Changes(files=found, removed=sorted(removed))

    def _read(self, folder: str, prefix: str) -> None:
        with os.scandir(folder) as listing:
            for item in listing:
                path = prefix + item.name
                if item.is_dir(follow_symlinks=False):
                    self._hide(path, below=overlay.is_opaque(item.path))
                    self._read(item.path, f"{path}/")
                    continue
                self._hide(path, below=True)
                if item.is_symlink():
                    self._links[path] = os.readlink(item.path)  # noqa: PTH115 - strings throughout
                elif not overlay.is_gone(item):
                    self._places[path] = item.path

    def _hide(self, path: str, *, below: bool) -> None:
        """A file of this name is seen no more; nor, with `below`, is one in a folder of this name."""
        at = bisect_left(self._base, path)
        if at < len(self._base) and self._base[at] == path:
            self._hidden.add(path)
        at = bisect_left(self._base, f"{path}/")
        while below and at < len(self._base) and self._base[at].startswith(f"{path}/"):
            self._hidden.add(self._base[at])
            at += 1

    def _target(self, link: str) -> str:
        """The file that a link leads to, above or below; through other links, and never through one to a folder."""
        path = link
        for _ in range(_LINKS_AT_MOST):
            said = self._links[path]
            if said.startswith(self._tree):
                path = os.path.normpath(said[len(self._tree) :])
            else:
                path = os.path.normpath(os.path.join(os.path.dirname(path), said))  # noqa: PTH118, PTH120 - as above
            if path.startswith(("/", "../")) or path == "..":
                raise refused_link(link, said, "outside the folder")
            if path in self._places:
                return self._places[path]
            if path not in self._links:
                break
        at = bisect_left(self._base, path)
        if path in self._hidden or at >= len(self._base) or self._base[at] != path:
            raise refused_link(link, self._links[link], "which is not there, or a folder")
        return f"{self._lower}/{path}"


def _stamp(status: os.stat_result) -> Stamp:
    """Differs when a file may: nobody can set a change time."""
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_mode


def _make_readable(folder: Path) -> None:
    """Opens to their owner what a program has closed to itself: its files are ours."""
    folder.chmod(0o755)
    for place, folders, names in os.walk(folder):
        for name, needed in [*((each, 0o700) for each in folders), *((each, 0o400) for each in names)]:
            path = f"{place}/{name}"
            mode = os.lstat(path).st_mode
            if (stat.S_ISDIR(mode) or stat.S_ISREG(mode)) and mode & needed != needed:
                os.chmod(path, stat.S_IMODE(mode) | needed)  # noqa: PTH101 - as above


def _locked(path: Path) -> int:
    """The descriptor of a lock file that is held, and still has this name: a sweep may have come between."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        os.close(descriptor)
