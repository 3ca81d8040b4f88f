"""Redis (or Valkey): a server for each database, with a folder of its own; a branch is the parent's log, shared at the
cut and made the branch's own when its server first starts.

    <root>/<id>/data    the log (`redis_log.py`); keys.json: passwords; its way stands in the id: clone_…, copy_…
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from bough.adapters.sql import Announced, Cut, Running, Script, Way, redis_log
from bough.adapters.sql.files import CLONE, COPY, Files
from bough.adapters.sql.processes import used_by
from bough.adapters.sql.redis_lines import facts
from bough.adapters.sql.redis_masks import complain, copy_masked, leak_in, rules_of, unmatched
from bough.adapters.sql.redis_server import Program, Server, remove
from bough.kernel.errors import Conflict, Invalid, NotFound, Problem, Unavailable
from bough.kernel.files import as_exhausted, disk_full, locked
from bough.kernel.names import new_id
from bough.kernel.trees import remove_tree

SOON_S = 2.0  # that `ensure` waits for a server that reads its log
LOAD_S = 3600.0  # that a file may take to be read
START_S, CUT_S, READ_BYTES_PER_S = 0.1, 0.02, 0.08e9  # for what is announced, until starts and cuts have shown better
LARGE_BYTES = 16 << 20  # of a log, whose start says how fast one is copied and read; others say what any start takes
LOOKED_AT_BYTES = 64 << 20  # of a log: with more, whether a policy fits is looked at as it is masked
_ABOUT = {
    CLONE: "the file system shares the blocks of the log, which the branch's server reads into its memory",
    COPY: "the log is shared, and copied when the branch's server first starts and reads it into its memory",
}
IDLE_S = 2.0  # without work on a snapshot that was asked for: it was tried, and failed
_NO_SPACE = "No space left"


class Redis:
    """`root` belongs to it alone."""

    def __init__(self, root: Path) -> None:
        self._root, self._program = root, Program()
        self._clones: bool | None = None
        self._cut_s, self._start_s, self._speed = CUT_S, START_S, READ_BYTES_PER_S  # of the last ones
        self._began = dict[str, float]()  # when those that still read their log were started

    def ways(self) -> list[Way]:
        why_not = self._program.why_not
        clone = why_not or ("" if self._can_clone() else "this file system cannot clone files")
        return [
            Way(name=CLONE, about=_ABOUT[CLONE], why_not=clone),
            Way(name=COPY, about=_ABOUT[COPY], why_not=why_not),
        ]

    def make(self, way: str, source: Path | None = None) -> str:
        made = self._server(new_id(way))
        with as_exhausted(self._root):
            try:
                made.make()
                if source is not None:
                    shutil.copyfile(source, made.data / redis_log.SINGLE)
                if not made.start(LOAD_S):
                    raise Problem("Redis reads it for too long", code="REDIS_START", hint=str(made.place / "log"))
                redis_log.sync(made.place)
            except BaseException as error:
                self._drop(made.place.name)
                if source is not None and isinstance(error, Problem) and error.own_code == "REDIS_START":
                    raise Invalid(
                        f"the file is no snapshot or log that Redis can read; {error.message}",
                        code="DATABASE_FILE_INVALID", hint="redis-cli --rdb FILE",
                    ) from error  # fmt: skip
                raise
        return made.place.name

    def announce(self, handle: str) -> Announced:
        server = self._existing(handle)
        size, way = redis_log.size(server.place), _way(handle)
        copied = redis_log.size(server.place, growing=True) if way == COPY else 0
        seconds = self._cut_s + self._start_s + size / self._speed
        return Announced(way=way, about=_ABOUT[way], size=size, seconds=seconds, bytes=copied, held_s=self._cut_s)

    def cut(self, handle: str, *, at_rest: bool = False) -> Cut:
        source, target = self._existing(handle), self._server(new_id(_way(handle)))
        with as_exhausted(self._root):
            try:
                target.make()
                began = time.perf_counter()
                with source.held():
                    size = redis_log.share(source.place, target.place)
                self._cut_s = time.perf_counter() - began
                redis_log.sync(target.place)
            except BaseException:
                remove_tree(target.place)
                raise
        return Cut(handle=target.place.name, size=size, held_s=self._cut_s)

    def settle(self, handle: str) -> None:
        """A cut is on the disk when it is made."""

    def keep(self, handle: str) -> None:
        server = self._server(handle)
        if server.is_wanted and not server.runs:
            server.start(SOON_S)

    def running(self, handle: str) -> Running | None:
        return used_by(self._server(handle).pid())

    def remake(self, handle: str, how: Mapping[str, Any]) -> bool:
        return False

    def url(self, handle: str, shown: Path) -> str:
        return self._existing(handle).url

    def ensure(self, handle: str) -> bool:
        server = self._existing(handle)
        if not server.runs:
            self._began[handle] = time.perf_counter()
        if not server.start(SOON_S):
            return False
        if (began := self._began.pop(handle, None)) is not None:
            took_s, size = time.perf_counter() - began, redis_log.size(server.place)
            if size > LARGE_BYTES:
                self._speed = size / max(took_s - self._start_s, took_s / 2)
            else:
                self._start_s = took_s
        return True

    def path(self, handle: str) -> Path:
        return self._server(handle).data

    def own_bytes(self, handle: str) -> int:
        return _own_bytes(self._server(handle).place)

    def close(self, handle: str) -> None:
        self._server(handle).stop()

    def dump(self, handle: str, target: Path) -> None:
        """A snapshot that Redis makes beside its work."""
        server = self._started(handle)
        made = server.data / "dump.rdb"
        with locked(server.place / "dumping"), server.line() as line, as_exhausted(target.parent):
            made.unlink(missing_ok=True)
            line.ask("BGSAVE", "SCHEDULE")  # behind a rewrite of its log, where there is one
            worked = time.monotonic()
            while not made.exists():
                told = facts(line, "persistence")
                if "1" in (told["rdb_bgsave_in_progress"], told["aof_rewrite_in_progress"]):
                    worked = time.monotonic()
                if time.monotonic() > worked + IDLE_S:
                    raise self._refused(server, "make a snapshot")
                time.sleep(0.01)
            shutil.move(made, target)

    def check(self, handle: str) -> list[str]:
        """A cut of it is read by Redis's own program for checks."""
        made = self._server(self.cut(handle).handle)
        try:
            redis_log.take_over(made.place)
            if not redis_log.files_of(made.data):
                return []
            said = self._program.check(redis_log.main_file(made.data))
            return [said] if said else []
        finally:
            self._drop(made.place.name)

    def check_policy(self, handle: str, policy: Mapping[str, str]) -> None:
        rules, server = rules_of(policy), self._existing(handle)
        if not rules or (redis_log.size(server.place) > LOOKED_AT_BYTES and not server.runs):
            return
        with self._started(handle).line() as line:
            if left := unmatched(line, rules):
                raise complain(line, left[0])

    def migrate(self, handle: str, scripts: Sequence[Script]) -> list[str]:
        if scripts:
            raise Invalid(
                "keys of Redis have no schema, and what fails in the middle cannot be taken back: it has no migrations",
                code="MIGRATION_UNFIT", hint="change keys by a program of the project: bough jobs submit",
            )  # fmt: skip
        return []

    def mask(self, handle: str, policy: Mapping[str, str]) -> str:
        rules, source = rules_of(policy), self._started(handle)
        target = self._server(self.make(_way(handle)))
        try:
            with source.line() as read, target.line() as write:
                for line in (read, write):
                    line.ask("CONFIG", "SET", "rdbcompression", "no")  # what is packed cannot be searched
                clear = copy_masked(read, write, rules)
                if left := [rule for rule in rules if rule.name not in clear]:
                    raise complain(read, left[0])
                with target.held():
                    found = leak_in(target.data, clear)
            if found:
                raise Conflict(found, code="MASK_LEAKS", hint="bough db policy: mask or drop that as well")
            redis_log.sync(target.place)
        except BaseException:
            self._drop(target.place.name)
            raise
        return target.place.name

    def sweep(self, live: Collection[str], older_than_s: float) -> int:
        before, freed = time.time() - older_than_s, 0
        for folder in self._folders():
            if folder.name not in live and folder.stat().st_mtime < before:
                freed += _own_bytes(folder)
                self._drop(folder.name)
        return freed

    def stop(self) -> None:
        """All servers of this home end; `ensure` starts them again."""
        for folder in self._folders():
            self._server(folder.name).stop()

    def _folders(self) -> list[Path]:
        found = list(self._root.iterdir()) if self._root.is_dir() else []
        return [each for each in found if not each.name.startswith(".")]

    def _server(self, handle: str) -> Server:
        return Server(self._program, self._root / handle)

    def _existing(self, handle: str) -> Server:
        server = self._server(handle)
        if not server.exists:
            raise NotFound(f"the database {handle} is not on this disk", code="DATABASE_LOST", hint="bough db restore")
        return server

    def _started(self, handle: str) -> Server:
        """Raises `Unavailable` (REDIS_AWAY) while it reads a log that is large."""
        server = self._existing(handle)
        if not server.start():
            raise Unavailable("Redis still reads its log", code="REDIS_AWAY", hint="try again in a while")
        return server

    def _refused(self, server: Server, what: str) -> Problem:
        said = (server.place / "log").read_text(errors="replace")[-2000:]
        if _NO_SPACE in said:
            return disk_full(f"no space left to {what}", server.place)
        return Problem(f"Redis could not {what}", code="REDIS_FAILED", hint=str(server.place / "log"))

    def _drop(self, handle: str) -> None:
        server = self._server(handle)
        with contextlib.suppress(Problem):
            server.stop()
        remove(server)

    def _can_clone(self) -> bool:
        if self._clones is None:
            self._clones = Files(self._root / ".probe").clones()
            remove_tree(self._root / ".probe")
        return self._clones


def _own_bytes(place: Path) -> int:
    """What nobody shares."""
    files = [each.lstat() for each in place.rglob("*") if each.is_file()]
    return sum(each.st_blocks * 512 for each in files if each.st_nlink == 1)


def _way(handle: str) -> str:
    return handle.partition("_")[0]
