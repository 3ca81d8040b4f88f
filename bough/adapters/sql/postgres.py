"""Postgres: a server for each database, with a folder of its own; a branch is a clone of that folder (the file system
shares blocks), an overlay on a frozen one (`postgres_overlay.py`), or a copy, taken while the server is held still.

    <root>/<id>/data    PGDATA; <root>/<id>/log; its way stands in the id: clone_…, overlay_…, copy_…, warm_…
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from bough.adapters.sql import Announced, Cut, Running, Script, Way, postgres_sharing
from bough.adapters.sql.files import CLONE, COPY, Files
from bough.adapters.sql.policies import check_columns
from bough.adapters.sql.postgres_follower import WARM, Followers
from bough.adapters.sql.postgres_masks import columns_of, copy_masked, leak_in_files, literal, side_of
from bough.adapters.sql.postgres_overlay import LEFT, PREFIX, Bases, copied_of, last_written, size_of
from bough.adapters.sql.postgres_server import DATABASE, Programs, Server
from bough.adapters.sql.postgres_settling import is_lost, settle
from bough.adapters.sql.processes import used_by
from bough.kernel.errors import Conflict, Invalid, NotFound, Problem
from bough.kernel.files import as_exhausted, cloned
from bough.kernel.names import new_id
from bough.kernel.overlay import LOWER, why_not
from bough.kernel.trees import remove_tree

OVERLAY, BRANCHED = "overlay", "branched"
HANDED_S, ANSWERS_S = 0.01, 0.007  # until a follower is handed over, and until it answers who connects then
REPLAY_BYTES_PER_S = 1.5e8  # of the log
CLONE_BYTES_PER_S, COPY_BYTES_PER_S = 5.0e9, 0.4e9  # for what is announced, until a cut has shown better
UNSHARE_BYTES_PER_S = 0.12e9  # of a frozen folder: the kernel copies the file and syncs it, as measured
START_S = 1.0  # until a start has shown better
LEDGER = "bough_migration"
_ABOUT = {
    CLONE: "the file system shares the blocks of the data folder",
    OVERLAY: "a frozen data folder is shared; its files are copied when the branch first writes into them",
    COPY: "the data folder is copied while the server is held still",
    WARM: "a server that follows is handed over; one for each database that is branched",
}


class Postgres:
    """`root` belongs to it alone."""

    def __init__(self, root: Path) -> None:
        self._root, self._programs = root, Programs()
        self._bases = Bases(root, self._programs)
        self._followers = Followers(self._server, self._programs)
        self._clones: bool | None = None
        self._no_overlay: str | None = None
        self._handed_s = HANDED_S  # of the last follower that was handed over
        self._start_s = START_S  # of the last start
        self._near = dict[str, int]()  # when those were written last that were found to be near their base
        self._speed = dict[str, float]()  # bytes/s of the last cut, by way

    def ways(self) -> list[Way]:
        why_not = self._programs.why_not
        clone = why_not or ("" if self._can_clone() else "this file system cannot clone files")
        return [
            Way(name=CLONE, about=_ABOUT[CLONE], why_not=clone),
            Way(name=OVERLAY, about=_ABOUT[OVERLAY], why_not=why_not or self._why_no_overlay()),
            Way(name=COPY, about=_ABOUT[COPY], why_not=why_not),
            Way(name=WARM, about=_ABOUT[WARM], why_not=why_not),
        ]

    def make(self, way: str, source: Path | None = None) -> str:
        handle = new_id(way)
        with as_exhausted(self._root):
            try:
                server = self._server(handle)
                server.make()
                (server.place / BRANCHED).touch()  # what was made is what others will be branched from
                if source is not None:
                    self._load(server, source)
            except BaseException:
                self._drop(handle)
                raise
        return handle

    def announce(self, handle: str) -> Announced:
        server, size = self._existing(handle), self._size(handle)
        if _way(handle) == WARM and self._followers.of(server) is not None:
            seconds = self._handed_s + ANSWERS_S
            return Announced(way=WARM, about=_ABOUT[WARM], size=size, seconds=seconds, bytes=0, held_s=0.0)
        way, copied = self._next(server)
        speed = self._speed.get(way) or (CLONE_BYTES_PER_S if way == CLONE else COPY_BYTES_PER_S)
        held_s = 0.01 + (size if way == CLONE else copied) / speed
        shared = self._bases.shared_by(server) if way == OVERLAY else 0
        read = 0 if postgres_sharing.find(self._root) else shared
        replayed_s = copied / REPLAY_BYTES_PER_S if way == OVERLAY else 0.0
        return Announced(
            way=way, about=_ABOUT[way], size=size, seconds=held_s + self._start_s + replayed_s, bytes=copied,
            held_s=held_s, first_read_bytes=read, first_read_s=read / UNSHARE_BYTES_PER_S,
            first_write_bytes=shared, first_write_s=shared / UNSHARE_BYTES_PER_S,
        )  # fmt: skip

    def cut(self, handle: str, *, at_rest: bool = False) -> Cut:
        server, began = self._existing(handle), time.perf_counter()
        (server.place / BRANCHED).touch()
        if _way(handle) == WARM and not at_rest and (made := self._followers.handed_over(server)) is not None:
            self._handed_s = time.perf_counter() - began
            return Cut(handle=made.place.name, size=0, held_s=0.0)
        target, way, copied, held_s = self._branch(server)
        self._speed[way] = max(copied, 1 << 20) / held_s
        copied = 0 if way == CLONE else copied
        return Cut(handle=target.place.name, size=copied, held_s=held_s, copied_bytes=copied)

    def settle(self, handle: str) -> None:
        """Makes a frozen folder for the next branch, in a thread, where that would copy much otherwise."""
        server = self._existing(handle)
        settle(server)
        if _way(handle) != OVERLAY or not self._is_branched(server):
            return
        written = last_written(server.data)  # nothing is written but the log tells of it, also of a checkpoint
        if written == self._near.get(handle):
            return
        copied = self._next(server)[1]
        if copied > self._bases.own_bytes and copied > self._size(handle) // 8:
            self._bases.refresh(server)
        else:
            self._near[handle] = written

    def keep(self, handle: str) -> None:
        server = self._server(handle)
        if server.is_wanted and not is_lost(server):
            server.start()
        if _way(handle) == WARM and self._is_branched(server):
            self._followers.refresh(server)

    def running(self, handle: str) -> Running | None:
        return used_by(self._server(handle).pid())

    def remake(self, handle: str, how: Mapping[str, Any]) -> bool:
        return False

    def url(self, handle: str, shown: Path) -> str:
        return self._server(handle).url

    def ensure(self, handle: str) -> bool:
        server, began = self._existing(handle), time.perf_counter()
        runs = bool(server.pid())
        server.start()
        if not runs:
            self._start_s = time.perf_counter() - began
        return True

    def path(self, handle: str) -> Path:
        return self._server(handle).data

    def own_bytes(self, handle: str) -> int:
        return size_of(self.path(handle))

    def close(self, handle: str) -> None:
        server = self._server(handle)
        self._followers.end(server)
        server.stop()

    def dump(self, handle: str, target: Path) -> None:
        server = self._started(handle)
        self._programs.run("pg_dump", "-Fc", "-h", str(server.sockets), "-f", str(target), DATABASE)

    def check(self, handle: str) -> list[str]:
        """By pg_amcheck where the extension is there; else all rows are read, against the checksums of their pages."""
        server = self._started(handle)
        there = server.psql("SELECT 1 FROM pg_available_extensions WHERE name = 'amcheck'").strip()
        try:
            if not there:
                self._programs.run("pg_dump", "-h", str(server.sockets), "-f", os.devnull, DATABASE)
                return []
            server.psql("CREATE EXTENSION IF NOT EXISTS amcheck")
            said = self._programs.run("pg_amcheck", "-h", str(server.sockets), "-d", DATABASE, "--heapallindexed")
        except Invalid as error:
            return [error.message]
        return [line for line in said.splitlines() if line.strip()]

    def check_policy(self, handle: str, policy: Mapping[str, str]) -> None:
        check_columns(policy, self.columns(handle))

    def columns(self, handle: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for table, column, _ in columns_of(self._started(handle)):
            found.setdefault(table, []).append(column)
        return found

    def migrate(self, handle: str, scripts: Sequence[Script]) -> list[str]:
        server = self._started(handle)
        server.psql(f"CREATE TABLE IF NOT EXISTS {LEDGER} (name text PRIMARY KEY, digest text, at timestamptz)",
                    words=["-c", "SET client_min_messages = error", "-f", "-"])  # fmt: skip
        rows = server.psql(f"SELECT name, digest FROM {LEDGER}").splitlines()  # noqa: S608 - a constant
        known = dict(row.split("\t") for row in rows)
        fresh = [each for each in scripts if known.get(each.name) != each.digest]
        if changed := [each.name for each in fresh if each.name in known]:
            raise Invalid(
                f"{changed[0]} has run here with another content", code="MIGRATION_FAILED", hint="write a new migration"
            )
        parts = [
            f"{each.sql.rstrip().rstrip(';')};\n"
            f"INSERT INTO {LEDGER} VALUES ({literal(each.name)}, {literal(each.digest)}, now());"
            for each in fresh
        ]
        try:
            server.psql("\n".join(parts), words=["--single-transaction", "-f", "-"])
        except Invalid as error:
            names = ", ".join(each.name for each in fresh)
            raise Invalid(f"{names}: {error.message}", code="MIGRATION_FAILED", hint="change it, try again") from error
        return [each.name for each in fresh]

    def mask(self, handle: str, policy: Mapping[str, str]) -> str:
        source = self._started(handle)
        made = self.make(_way(handle))
        target = self._server(made)
        try:
            read = side_of(self._programs, source)
            copy_masked(read, side_of(self._programs, target), policy)
            target.psql("CHECKPOINT")
            if found := leak_in_files(read, target, policy):
                raise Conflict(found, code="MASK_LEAKS", hint="bough db policy: mask or drop that column as well")
        except BaseException as error:
            self._drop(made)
            if isinstance(error, Invalid) and error.own_code == "POSTGRES_SAYS":
                raise Invalid(f"the policy does not fit the tables; {error.message}", code="MASK_INVALID") from error
            raise
        return made

    def sweep(self, live: Collection[str], older_than_s: float) -> int:
        before, freed = time.time() - older_than_s, 0
        following = [self._followers.named(self._server(each)) for each in live]
        kept = {*live, *(each.place.name for each in following if each is not None)}
        for folder in self._folders():
            is_base = folder.name.lstrip(".").startswith(PREFIX)
            if not is_base and folder.name not in kept and folder.stat().st_mtime < before:
                freed += size_of(folder)
                self._drop(folder.name)
        return freed + self._bases.sweep(self._folders(), before)

    def stop(self) -> None:
        """All servers of this home end; `ensure` starts them again."""
        self._stop_all()
        self._followers.stop()
        self._stop_all()  # one that was being made may have started meanwhile

    def _stop_all(self) -> None:
        for folder in self._folders():
            self._server(folder.name).stop()

    def _folders(self) -> list[Path]:
        found = list(self._root.iterdir()) if self._root.is_dir() else []
        return [each for each in found if each.name != postgres_sharing.FOLDER]

    def _is_branched(self, server: Server) -> bool:
        """Whether it runs, and others are branched from it."""
        return bool(server.pid()) and (server.place / BRANCHED).exists()

    def _server(self, handle: str) -> Server:
        return Server(self._programs, self._root / handle)

    def _existing(self, handle: str) -> Server:
        server = self._server(handle)
        if not server.exists:
            raise NotFound(f"the database {handle} is not on this disk", code="DATABASE_LOST", hint="bough db restore")
        if is_lost(server):
            raise NotFound(
                f"the machine went down as the database {handle} was branched, before anything was committed in it",
                code="DATABASE_LOST", hint="bough db reset NAME -e BRANCH",
            )  # fmt: skip
        return server

    def _started(self, handle: str) -> Server:
        server = self._existing(handle)
        server.start()
        return server

    def _drop(self, handle: str) -> None:
        server = self._server(handle)
        with contextlib.suppress(Problem):
            server.stop()
        remove_tree(server.place)
        if server.sockets != server.place / "s":
            remove_tree(server.sockets)

    def _next(self, server: Server) -> tuple[str, int]:
        """The way that a cut takes now, and the bytes that it copies."""
        if _way(server.place.name) == CLONE:
            return CLONE, 0
        if _way(server.place.name) == OVERLAY:
            log = self._bases.log_since(server)
            own = copied_of(server.data) if server.is_overlay else size_of(server.data)
            if log is not None and (since := sum(each.stat().st_size for each in log)) < own:
                return OVERLAY, since
            return (OVERLAY if server.is_overlay else COPY), own
        return COPY, size_of(server.data)

    def _branch(self, server: Server) -> tuple[Server, str, int, float]:
        """A new server that begins with what this one has, how it was made, the bytes, and for how long this one was
        held still."""
        target = self._server(new_id(_way(server.place.name)))
        with as_exhausted(self._root):
            target.place.mkdir(parents=True, mode=0o700)
            try:
                with server.held_still():
                    began = time.perf_counter()
                    way, copied = self._take(server, target)
                    return target, way, copied, time.perf_counter() - began
            except BaseException:
                remove_tree(target.place)
                raise

    def _take(self, server: Server, target: Server) -> tuple[str, int]:
        """How it was taken, and the bytes. The server is held still."""
        way, _ = self._next(server)
        if way != OVERLAY:
            return way, _take(server.data, target.data, clone=way == CLONE)
        log = self._bases.log_since(server)
        if log is not None:
            return way, self._bases.put_over(server, log, target)
        return way, self._bases.put_beside(server, target)

    def _size(self, handle: str) -> int:
        server = self._server(handle)
        below = server.place / LOWER
        return size_of(server.data) + (size_of(below.resolve()) if server.is_overlay else 0)

    def _why_no_overlay(self) -> str:
        if self._no_overlay is None:
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._no_overlay = why_not(self._root)
        return self._no_overlay

    def _can_clone(self) -> bool:
        if self._clones is None:
            self._clones = Files(self._root / ".probe").clones()
            remove_tree(self._root / ".probe")
        return self._clones

    def _load(self, server: Server, source: Path) -> None:
        with source.open("rb") as file:
            is_archive = file.read(5) == b"PGDMP"
        try:
            if is_archive:
                words = ["-h", str(server.sockets), "-d", DATABASE, "--no-owner", "--exit-on-error", str(source)]
                self._programs.run("pg_restore", *words)
            else:
                server.psql("", words=["--single-transaction", "-f", str(source)])
        except Invalid as error:
            raise Invalid(
                f"the file is no dump that can be restored; {error.message}", code="DATABASE_FILE_INVALID",
                hint="pg_dump -Fc DATABASE > FILE",
            ) from error  # fmt: skip


def _take(source: Path, target: Path, *, clone: bool) -> int:
    """The size of what was cloned or copied. File by file: the server is held still."""
    total = 0
    for folder, folders, names in os.walk(source):
        here = target / Path(folder).relative_to(source)
        here.mkdir(mode=0o700)
        folders[:] = [each for each in folders if Path(folder).name != "pg_replslot"]  # they would keep a log for ever
        for link in [each for each in folders if (Path(folder) / each).is_symlink()]:
            folders.remove(link)
        for name in names:
            if name in LEFT:
                continue
            old, new = Path(folder) / name, here / name
            total += old.stat().st_size
            if not (clone and cloned(old, new)):
                shutil.copyfile(old, new)
            new.chmod(0o600)
    return total


def _way(handle: str) -> str:
    return handle.partition("_")[0]
