"""Postgres: a server for each database, with a folder of its own; a branch is a clone of that folder (the file system
shares blocks) or a copy, taken while the server is held still.

    <root>/<id>/data    PGDATA; <root>/<id>/log; its way stands in the id: clone_…, copy_…
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import secrets
import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from bough.adapters.sql import Announced, Cut, Script, Way
from bough.adapters.sql.files import CLONE, COPY, Files
from bough.adapters.sql.postgres_server import DATABASE, Programs, Server
from bough.kernel.errors import Conflict, Invalid, NotFound, Problem
from bough.kernel.files import as_exhausted
from bough.kernel.names import new_id
from bough.kernel.trees import remove_tree

CLONE_BYTES_PER_S, COPY_BYTES_PER_S = 5.0e9, 0.4e9  # for what is announced, until a cut has shown better
START_S = 1.0  # until a start has shown better
LEDGER = "bough_migration"
SHORTEST, SEARCHED = 6, 200  # bytes and number of values that are searched for
_LEFT = {"postmaster.pid", "postmaster.opts"}
_ABOUT = {
    CLONE: "the file system shares the blocks of the data folder",
    COPY: "the data folder is copied while the server is held still",
}
_FICLONE = 0x40049409


class Postgres:
    """`root` belongs to it alone."""

    def __init__(self, root: Path) -> None:
        self._root, self._programs = root, Programs()
        self._clones: bool | None = None
        self._start_s = START_S  # of the last start
        self._speed = dict[str, float]()  # bytes/s of the last cut, by way

    def ways(self) -> list[Way]:
        why_not = self._programs.why_not
        clone = why_not or ("" if self._can_clone() else "this file system cannot clone files")
        return [
            Way(name=CLONE, about=_ABOUT[CLONE], why_not=clone),
            Way(name=COPY, about=_ABOUT[COPY], why_not=why_not),
        ]

    def make(self, way: str, source: Path | None = None) -> str:
        handle = new_id(way)
        with as_exhausted(self._root):
            try:
                server = self._server(handle)
                server.make()
                if source is not None:
                    self._load(server, source)
            except BaseException:
                self._drop(handle)
                raise
        return handle

    def announce(self, handle: str) -> Announced:
        way, size = _way(handle), _size(self.path(handle))
        speed = self._speed.get(way) or (CLONE_BYTES_PER_S if way == CLONE else COPY_BYTES_PER_S)
        held_s = 0.01 + size / speed
        return Announced(
            way=way, about=_ABOUT[way], size=size, seconds=held_s + self._start_s, bytes=0 if way == CLONE else size,
            held_s=held_s,
        )  # fmt: skip

    def cut(self, handle: str) -> Cut:
        server, made = self._existing(handle), new_id(_way(handle))
        target = self._server(made)
        with as_exhausted(self._root):
            target.place.mkdir(parents=True, mode=0o700)
            try:
                with server.held_still():
                    began = time.perf_counter()
                    size = _take(server.data, target.data, clone=_way(handle) == CLONE)
                    held_s = time.perf_counter() - began
            except BaseException:
                remove_tree(target.place)
                raise
        self._speed[_way(handle)] = max(size, 1 << 20) / held_s
        return Cut(handle=made, size=size, held_s=held_s, copied_bytes=0 if _way(handle) == CLONE else size)

    def settle(self, handle: str) -> None:
        self._existing(handle)

    def keep(self, handle: str) -> None:
        server = self._server(handle)
        if server.is_wanted and not server.pid():
            server.start()

    def remake(self, handle: str, how: Mapping[str, Any]) -> bool:
        return False

    def url(self, handle: str, shown: Path) -> str:
        return self._server(handle).url

    def ensure(self, handle: str) -> bool:
        server, began = self._existing(handle), time.perf_counter()
        if not server.pid():
            server.start()
            self._start_s = time.perf_counter() - began
        return True

    def path(self, handle: str) -> Path:
        return self._server(handle).data

    def own_bytes(self, handle: str) -> int:
        return _size(self.path(handle))

    def close(self, handle: str) -> None:
        self._server(handle).stop()

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

    def columns(self, handle: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for table, column, _ in _columns(self._started(handle)):
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
            f"INSERT INTO {LEDGER} VALUES ({_text(each.name)}, {_text(each.digest)}, now());"
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
            self._copy_masked(source, target, policy)
            target.psql("CHECKPOINT")
            if leak := _leak(source, target, policy):
                raise Conflict(leak, code="MASK_LEAKS", hint="bough db policy: mask or drop that column as well")
        except BaseException as error:
            self._drop(made)
            if isinstance(error, Invalid) and error.own_code == "POSTGRES_SAYS":
                raise Invalid(f"the policy does not fit the tables; {error.message}", code="MASK_INVALID") from error
            raise
        return made

    def sweep(self, live: Collection[str], older_than_s: float) -> int:
        before, freed = time.time() - older_than_s, 0
        for folder in self._root.iterdir() if self._root.is_dir() else []:
            if folder.name not in live and folder.stat().st_mtime < before:
                freed += _size(folder)
                self._drop(folder.name)
        return freed

    def stop(self) -> None:
        """All servers of this home end; `ensure` starts them again."""
        for folder in self._root.iterdir() if self._root.is_dir() else []:
            self._server(folder.name).stop()

    def _server(self, handle: str) -> Server:
        return Server(self._programs, self._root / handle)

    def _existing(self, handle: str) -> Server:
        server = self._server(handle)
        if not (server.data / "PG_VERSION").exists():
            raise NotFound(f"the database {handle} is not on this disk", code="DATABASE_LOST", hint="bough db restore")
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

    def _copy_masked(self, source: Server, target: Server, policy: Mapping[str, str]) -> None:
        """Tables, then rows as they are masked, then indexes and keys: nothing passes through it in clear."""
        key = secrets.token_hex(16)
        dump = ["-h", str(source.sockets), "--no-owner", DATABASE]
        target.psql(self._programs.run("pg_dump", "--section=pre-data", *dump))
        columns: dict[str, list[tuple[str, str]]] = {}
        for table, column, kind in _columns(source):
            columns.setdefault(table, []).append((column, kind))
        for table, each in columns.items():
            shown, into = [], []
            for column, kind in each:
                how = policy.get(f"{table}.{column}", "")
                if how == "drop":
                    target.psql(f"ALTER TABLE {_name(table)} DROP COLUMN {_name(column)}")
                    continue
                into.append(_name(column))
                shown.append(_masked(_name(column), kind, how, key))
            rows = source.psql(f"COPY (SELECT {', '.join(shown)} FROM {_name(table)}) TO STDOUT")  # noqa: S608 - quoted
            target.psql(f"COPY {_name(table)} ({', '.join(into)}) FROM STDIN;\n{rows}\\.\n")
        with contextlib.suppress(Invalid):  # what hangs on a dropped column stays away with it
            target.psql(self._programs.run("pg_dump", "--section=post-data", *dump), words=["-v", "ON_ERROR_STOP=0"])
        for line in source.psql("SELECT format('%I.%I', schemaname, sequencename), coalesce(last_value, 1), "
                                "last_value IS NOT NULL FROM pg_sequences").splitlines():  # fmt: skip
            name, value, used = line.split("\t")
            target.psql(f"SELECT setval({_text(name)}, {int(value)}, {'true' if used == 't' else 'false'})")


def _masked(column: str, kind: str, how: str, key: str) -> str:
    digest = f"encode(sha256(convert_to('{key}' || {column}::text, 'UTF8')), 'hex')"
    numbers = ("integer", "bigint", "smallint", "numeric", "real", "double precision")
    if how == "noise" and kind not in numbers:
        raise Invalid(
            f"{column} is {kind}; noise is for numbers", code="MASK_INVALID", hint="token, hash, null or drop"
        )
    return {
        "": column,
        "null": "NULL",
        "hash": f"CASE WHEN {column} IS NULL THEN NULL ELSE {digest} END",
        "token": f"CASE WHEN {column} IS NULL THEN NULL ELSE 'tok_' || left({digest}, 16) END",
        "noise": f"({column} * (0.9 + 0.2 * random()))::{kind}",
    }[how]


def _columns(server: Server) -> list[tuple[str, str, str]]:
    """Table, column and type of what is stored, of the schema `public`."""
    rows = server.psql(
        "SELECT c.table_name, c.column_name, c.data_type FROM information_schema.columns c"
        " JOIN information_schema.tables t USING (table_schema, table_name)"
        " WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
        " AND c.is_generated = 'NEVER' ORDER BY 1, c.ordinal_position"
    )
    return [(table, column, kind) for table, column, kind in (line.split("\t") for line in rows.splitlines())]


def _leak(source: Server, target: Server, policy: Mapping[str, str]) -> str:
    wanted: list[tuple[str, bytes]] = []
    for name in policy:
        table, _, column = name.partition(".")
        query = f"SELECT DISTINCT {_name(column)}::text FROM {_name(table)} LIMIT {SEARCHED}"  # noqa: S608 - quoted
        values = [each.encode() for each in source.psql(query).splitlines()]
        wanted += [(name, each) for each in values if len(each) >= SHORTEST and not each.isdigit()]
    for path in target.data.rglob("*"):
        if path.is_file() and path.stat().st_size:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                for name, value in wanted:
                    if content.find(value) >= 0:
                        return (
                            f"a value of {name} stands in clear elsewhere: mask the column that repeats it, or drop it"
                        )
    return ""


def _take(source: Path, target: Path, *, clone: bool) -> int:
    """The size of what was cloned or copied. File by file: the server is held still."""
    total = 0
    for folder, folders, names in os.walk(source):
        here = target / Path(folder).relative_to(source)
        here.mkdir(mode=0o700)
        for link in [each for each in folders if (Path(folder) / each).is_symlink()]:
            folders.remove(link)
        for name in names:
            if name in _LEFT:
                continue
            old, new = Path(folder) / name, here / name
            total += old.stat().st_size
            if not (clone and _cloned(old, new)):
                shutil.copyfile(old, new)
            new.chmod(0o600)
    return total


def _cloned(source: Path, target: Path) -> bool:
    with source.open("rb") as old, target.open("wb") as new:
        try:
            fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
        except OSError:
            return False
    return True


def _size(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += (Path(place) / name).lstat().st_blocks * 512
    return total


def _way(handle: str) -> str:
    return handle.partition("_")[0]


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
