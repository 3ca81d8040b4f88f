"""Branches of Postgres over a frozen data folder: an overlay that only the new server sees, and the log since.

    <root>/base_<id>/data       a data folder that nobody writes, as pg_basebackup took it while its server ran on
    <root>/<id>/base            of a database that is branched: the name of its base
    <root>/<id>/lower           of a branch: a link to a base; upper, work and tree as `kernel/overlay.py` has them

A cut copies nothing but the write-ahead log since the base, while the server is held still: the new server recovers
from both, as PostgreSQL does from a backup. A file of the base is copied when the branch first writes into it (first
opens it, where `postgres_sharing.py` does not work), and only then: a large table that nobody changes costs nothing.

Where the log since the base is not whole any more, or has grown large, a cut copies what is the database's own (an
overlay's upper folder, else all of it) and `refresh` makes a new base beside it, in a thread of its own. What a base
needs of the log is kept by a replication slot, up to LOG_BYTES.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import threading
from collections.abc import Iterable
from pathlib import Path

from bough.adapters.sql.postgres_server import Programs, Server
from bough.kernel import overlay
from bough.kernel.errors import Problem
from bough.kernel.files import as_exhausted, write_whole
from bough.kernel.names import new_id
from bough.kernel.trees import remove_tree

BASE, PREFIX = "base", "base_"
OWN_BYTES = 64 << 20  # to copy at a cut: beyond, a base is made
_OPAQUE = "user.overlay.opaque"
_PAGE_ADDRESS, _SEGMENT_SIZE = slice(8, 16), slice(32, 36)  # of a segment's first page: where in the log it begins
_FRESH = {"pg_replslot"}  # folders that begin empty in a copy: slots of the source would keep a log for ever
LEFT = {"postmaster.pid", "postmaster.opts", "standby.signal"}


class Bases:
    """The frozen folders of a root."""

    def __init__(self, root: Path, programs: Programs) -> None:
        self.own_bytes = OWN_BYTES
        self._root, self._programs = root, programs
        self._making, self._lock = dict[str, threading.Thread](), threading.Lock()

    def log_since(self, server: Server) -> list[Path] | None:
        """The segments of the log that a branch needs beside the server's base; None where there is no base, or they
        are not all there."""
        base = self._of(server)
        if base is None:
            return None
        try:
            first = (base / "start").read_text("ascii")
        except FileNotFoundError:
            return None
        found = [each for each in segments(server.data) if each.name[:8] == first[:8] and each.name >= first]
        if not found or found[0].name != first:
            return None
        size = found[0].stat().st_size
        return found if number(found[-1].name, size) - number(first, size) == len(found) - 1 else None

    def shared_by(self, server: Server) -> int:
        """The bytes of the frozen folder that a branch stands on: what it copies when it opens all of its files."""
        base = (server.place / overlay.LOWER).resolve() if server.is_overlay else None
        if self.log_since(server) is not None and (own := self._of(server)) is not None:
            base = own / "data"
        return size_of(base) if base is not None else 0

    def put_over(self, server: Server, log: list[Path], target: Server) -> int:
        """Makes `target` a branch of the server's base with this log; the bytes that were copied. The server is held
        still."""
        base = self._of(server)
        assert base is not None  # noqa: S101 - whoever has a log has a base
        base.touch()  # a sweep that has not seen the branch yet takes it for young
        self._begin(target, f"../{base.name}/data")
        folder = target.data / "pg_wal"
        folder.mkdir(mode=0o700)
        for each in log:
            copy_file(each, folder / each.name)
        return sum(each.stat().st_size for each in log)

    def put_beside(self, server: Server, target: Server) -> int:
        """Makes `target` a branch of the base that an overlay's own server stands on, with a copy of its changes."""
        self._begin(target, os.readlink(server.place / overlay.LOWER))  # noqa: PTH115 - a text, to be kept as it is
        return _copy_upper(server.data, target.data)

    def refresh(self, server: Server) -> None:
        """Makes a new base unless one is being made. Returns at once."""
        with self._lock:
            at_work = self._making.get(server.place.name)
            if at_work is None or not at_work.is_alive():
                thread = threading.Thread(target=self._make, args=(server,), name="base", daemon=True)
                self._making[server.place.name] = thread
                thread.start()

    def wait(self, server: Server) -> None:
        """Until the base that is being made is there, or has failed."""
        if thread := self._making.get(server.place.name):
            thread.join()

    def sweep(self, handles: Iterable[Path], before: float) -> int:
        """Removes bases that none of these folders stands on or begins its branches with; the bytes that it freed."""
        used, freed = set[str](), 0
        for folder in handles:
            with contextlib.suppress(OSError):
                used.add((folder / BASE).read_text("ascii"))
            with contextlib.suppress(OSError):
                used.add(Path(os.readlink(folder / overlay.LOWER)).parent.name)  # noqa: PTH115 - as above
        for folder in self._root.glob(f"*{PREFIX}*"):
            if folder.name not in used and folder.stat().st_mtime < before:
                freed += size_of(folder)
                remove_tree(folder)
        return freed

    def _of(self, server: Server) -> Path | None:
        try:
            return self._root / (server.place / BASE).read_text("ascii")
        except FileNotFoundError:
            return None

    def _begin(self, target: Server, lower: str) -> None:
        for name in (overlay.UPPER, overlay.WORK, overlay.TREE):
            (target.place / name).mkdir(mode=0o700)
        (target.place / overlay.LOWER).symlink_to(lower)

    def _make(self, server: Server) -> None:
        made = new_id(PREFIX.removesuffix("_"))
        building = self._root / f".{made}"
        try:
            with as_exhausted(self._root):
                building.mkdir(mode=0o700)
                server.psql(f"SELECT pg_create_physical_replication_slot('{made}', true)", database="postgres")
                words = ["-h", str(server.sockets), "-D", str(building / "data"), "-c", "fast", "-X", "none"]
                self._programs.run("pg_basebackup", *words, "--no-manifest")
                (building / "start").write_text(_start(building / "data"), "ascii")
                building.rename(self._root / made)
                write_whole(server.place / BASE, made.encode())
            drop_slots(server, f"slot_name LIKE '{PREFIX}%' AND slot_name <> '{made}'")
        except (Problem, OSError):  # a full disk, a server that stops: cuts copy on, and the next turn tries again
            remove_tree(building)
            with contextlib.suppress(Problem):
                drop_slots(server, f"slot_name = '{made}'")


def drop_slots(server: Server, which: str) -> None:
    server.psql(
        f"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active AND {which}",  # noqa: S608 - ours
        database="postgres",
    )


def segments(data: Path) -> list[Path]:
    """The segments of the log that were written, in their order: beside them lie some that are only ready to be."""
    found = []
    for each in sorted((data / "pg_wal").glob("0*")):
        if len(each.name) == 24:
            with each.open("rb") as file:
                page = file.read(_SEGMENT_SIZE.stop)
            address, size = int.from_bytes(page[_PAGE_ADDRESS], "little"), int.from_bytes(page[_SEGMENT_SIZE], "little")
            if size and address // size == number(each.name, size):
                found.append(each)
    return found


def last_written(data: Path) -> int:
    """When the log was written last, in nanoseconds; 0 where there is none."""
    with contextlib.suppress(OSError), os.scandir(data / "pg_wal") as found:
        return max((each.stat().st_mtime_ns for each in found), default=0)
    return 0


def number(segment: str, size: int) -> int:
    """Which one it is, where each has `size` bytes."""
    return int(segment[8:16], 16) * ((1 << 32) // size) + int(segment[16:], 16)


def copy_file(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    target.chmod(0o600)


def size_of(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += (Path(place) / name).lstat().st_blocks * 512
    return total


def copied_of(upper: Path) -> int:
    """What a copy of an overlay's changes takes: of the log only what was written."""
    wal = upper / "pg_wal"
    return size_of(upper) - (size_of(wal) if wal.is_dir() else 0) + sum(each.stat().st_size for each in segments(upper))


def _start(data: Path) -> str:
    """The segment with which recovery from a base begins: `START WAL LOCATION: 0/2000028 (file 0000…)`."""
    line = (data / "backup_label").read_text().splitlines()[0]
    return line.rpartition("(file ")[2].rstrip(")")


def _copy_upper(source: Path, target: Path) -> int:
    """With what it says is gone (character devices) and with folders that show nothing of those below them."""
    total, log = 0, {each.name for each in segments(source)}
    for folder, folders, names in os.walk(source):
        here, there = Path(folder), target / Path(folder).relative_to(source)
        there.mkdir(mode=0o700, exist_ok=True)
        with contextlib.suppress(OSError):
            os.setxattr(there, _OPAQUE, os.getxattr(here, _OPAQUE))
        for name in names:
            status = (here / name).lstat()
            if stat.S_ISCHR(status.st_mode):
                os.mknod(there / name, status.st_mode, status.st_rdev)
            elif stat.S_ISREG(status.st_mode) and name not in LEFT and (here.name != "pg_wal" or name in log):
                copy_file(here / name, there / name)
                total += status.st_size
        folders[:] = [each for each in folders if here.name not in _FRESH]
    return total
