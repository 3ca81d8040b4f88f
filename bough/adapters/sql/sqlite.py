"""SQLite: in pages (`pages.py`), or as plain files that are cloned or copied (`files.py`).

Whatever needs SQLite itself runs in a process of its own (`sqlite_work.py`): cuts take SQLite's locks from outside, and
a process that has a database open through SQLite as well would lose them.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from bough.adapters.sql import Announced, Cut, Running, Script, Way
from bough.adapters.sql.files import CLONE, COPY, Files
from bough.adapters.sql.pages import NeedsRecovery, Pages
from bough.adapters.sql.policies import check_columns
from bough.kernel.errors import Conflict, Invalid, Problem
from bough.kernel.files import as_exhausted, disk_full
from bough.kernel.names import new_id
from bough.runtime.pages import extension

PAGES = "pages"
TIMEOUT_S = 3600.0
CHECKPOINT_BYTES = 65_536  # of WAL: more is brought into the pages before a cut, where that takes no time
COPY_BYTES_PER_S = 1.0e9  # of a plain copy on an ordinary disk; only for what is announced
_CODES: dict[str, type[Problem]] = {
    "MASK_LEAKS": Conflict, "MASK_INVALID": Invalid, "MIGRATION_FAILED": Invalid, "DATABASE_FILE_INVALID": Invalid,
}  # fmt: skip
_HINTS = {
    "MASK_LEAKS": "bough db policy: mask or drop that column as well", "MASK_INVALID": "bough db policy",
    "MIGRATION_FAILED": "change it, try again", "DATABASE_FILE_INVALID": "sqlite3 FILE 'PRAGMA integrity_check'",
}  # fmt: skip
_ABOUT = {
    PAGES: "pages are shared and copied when they are written",
    CLONE: "the file system shares the blocks of the file",
    COPY: "the file is copied",
}


class Sqlite:
    """`root` belongs to it alone."""

    def __init__(self, root: Path) -> None:
        self._root, self._extensions = root, root / "extension"
        self.pages, self.files = Pages(root), Files(root / "files")

    @property
    def extension(self) -> Path | None:
        """Where programs find the extension; None where no compiler is."""
        return extension.find(self._extensions)

    def given(self) -> dict[str, str]:
        """What programs are told beside URLs."""
        found = self.extension
        return {extension.VARIABLE: str(found)} if found else {}

    def ways(self) -> list[Way]:
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        clones = self.files.clones()
        return [
            Way(name=PAGES, about=_ABOUT[PAGES]),
            Way(name=CLONE, about=_ABOUT[CLONE], why_not="" if clones else "this file system cannot clone files"),
            Way(name=COPY, about=_ABOUT[COPY]),
        ]

    def make(self, way: str, source: Path | None = None) -> str:
        self.pages.prepare()
        taken = self.pages.layers / f".{new_id('in')}"
        try:
            with as_exhausted(self._root):
                _begin(taken, source)
        except BaseException:
            taken.unlink(missing_ok=True)
            raise
        handle = self.pages.make(taken) if way == PAGES else self.files.make(way, taken)
        self.settle(handle)
        return handle

    def announce(self, handle: str) -> Announced:
        if not self._in_pages(handle):
            return self._announce_file(handle)
        size, wal = self.pages.state(handle).size, _size(f"{self.path(handle)}-wal")
        copied = wal if wal > CHECKPOINT_BYTES else 0
        return Announced(
            way=PAGES, about=_ABOUT[PAGES], size=size, seconds=0.005 + copied / COPY_BYTES_PER_S,
            bytes=16_384 + copied, held_s=0.002 + copied / COPY_BYTES_PER_S,
        )  # fmt: skip

    def cut(self, handle: str, *, at_rest: bool = False) -> Cut:
        path = self.path(handle)
        if _size(f"{path}-wal") > CHECKPOINT_BYTES:
            self._work("checkpoint", path=str(path))
        try:
            return self._cut(handle)
        except NeedsRecovery:
            self._work("recover", path=str(path))
            return self._cut(handle)

    def settle(self, handle: str) -> None:
        if self._in_pages(handle):
            self.pages.settle(handle)
            self.pages.fold(handle)
        else:
            self.files.settle(handle)

    def keep(self, handle: str) -> None:
        """A file does not die."""

    def running(self, handle: str) -> Running | None:
        """Programs open it themselves."""
        return None

    def remake(self, handle: str, how: Mapping[str, Any]) -> bool:
        return self._in_pages(handle) and bool(how) and self.pages.remake(handle, how["layers"], how["size"])

    def url(self, handle: str, shown: Path) -> str:
        return f"sqlite:///{shown}"

    def ensure(self, handle: str) -> bool:
        return True

    def path(self, handle: str) -> Path:
        return self.pages.path(handle) if self._in_pages(handle) else self.files.path(handle)

    def own_bytes(self, handle: str) -> int:
        return self.pages.own_bytes(handle) if self._in_pages(handle) else self.files.own_bytes(handle)

    def close(self, handle: str) -> None:
        if self._in_pages(handle):
            self.pages.close(handle)
        else:
            self.files.close(handle)

    def dump(self, handle: str, target: Path) -> None:
        self._work("dump", path=str(self.path(handle)), target=str(target))

    def check(self, handle: str) -> list[str]:
        return [str(each) for each in self._work("check", path=str(self.path(handle)))]

    def check_policy(self, handle: str, policy: Mapping[str, str]) -> None:
        check_columns(policy, self.columns(handle))

    def columns(self, handle: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = self._work("columns", path=str(self.path(handle)))
        return found

    def migrate(self, handle: str, scripts: Sequence[Script]) -> list[str]:
        done = self._work("migrate", path=str(self.path(handle)), scripts=msgspec.to_builtins(list(scripts)))
        return [str(each) for each in done]

    def mask(self, handle: str, policy: Mapping[str, str]) -> str:
        target = self.pages.layers / f".{new_id('in')}"
        try:
            self._work("mask", path=str(self.path(handle)), target=str(target), policy=dict(policy))
            if self._in_pages(handle):
                return self.pages.make(target)
            return self.files.make(self.files.way(handle), target)
        finally:
            target.unlink(missing_ok=True)

    def sweep(self, live: Collection[str], older_than_s: float) -> int:
        return self.pages.sweep(live, older_than_s) + self.files.sweep(live, older_than_s)

    def _in_pages(self, handle: str) -> bool:
        return handle.startswith("db_")

    def _cut(self, handle: str) -> Cut:
        if not self._in_pages(handle):
            return self.files.cut(handle)
        made = self.pages.branch(handle, settle=False)
        return Cut(
            handle=made.head, size=made.size, held_s=made.held_s, copied_bytes=made.copied_bytes,
            remake={"layers": made.layers, "size": made.size},
        )  # fmt: skip

    def _announce_file(self, handle: str) -> Announced:
        size, way = _size(str(self.path(handle))), self.files.way(handle)
        copied = size if way == COPY else 0
        seconds = 0.02 + copied / COPY_BYTES_PER_S
        return Announced(way=way, about=_ABOUT[way], size=size, seconds=seconds, bytes=copied, held_s=seconds)

    def _work(self, do: str, **task: Any) -> Any:
        """Runs a task of `sqlite_work.py`."""
        given = os.environ | self.given()
        done = subprocess.run(
            [sys.executable, "-m", "bough.adapters.sql.sqlite_work"], input=json.dumps({"do": do, **task}), env=given,
            capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise Problem(f"SQLite could not {do} {task['path']}; {done.stderr.strip()[-500:]}", code="DATABASE_FAILED")
        answer = json.loads(done.stdout)
        if "code" not in answer:
            return answer["answer"]
        if "disk is full" in answer["message"] or "No space left" in answer["message"]:
            raise disk_full(f"no space left to {do} {task['path']}", self._root)
        kind = _CODES.get(answer["code"])
        if kind is not None:
            raise kind(answer["message"], code=answer["code"], hint=_HINTS[answer["code"]])
        raise Problem(f"SQLite could not {do} {task['path']}; {answer['message']}", code="DATABASE_FAILED")


def _begin(target: Path, source: Path | None) -> None:
    """A SQLite file that nobody else knows yet: empty, or with what a user's file holds at one moment. In WAL mode, so
    that readers and the one writer do not wait for each other."""
    with contextlib.closing(sqlite3.connect(target, isolation_level=None)) as made:
        if source is not None:
            try:
                with contextlib.closing(sqlite3.connect(f"file:{quote(str(source))}?mode=ro", uri=True)) as given:
                    given.execute("SELECT count(*) FROM sqlite_master").fetchone()
                    given.backup(made)
            except sqlite3.DatabaseError as error:
                if "full" in str(error):
                    raise disk_full("no space left for the database", target.parent) from error
                raise Invalid(
                    f"the file is no SQLite database that can be read; {error}",
                    code="DATABASE_FILE_INVALID", hint="sqlite3 FILE 'PRAGMA integrity_check'",
                ) from error  # fmt: skip
        made.execute("PRAGMA journal_mode = WAL")
        made.execute("PRAGMA user_version = 0" if source is None else "SELECT 1")  # an empty file has no page yet


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - a name
    except FileNotFoundError:
        return 0
