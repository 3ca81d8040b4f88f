"""SQLite in WAL mode. One writer at a time: `BEGIN IMMEDIATE`, because a deferred transaction that turns into a write
meets SQLITE_BUSY, which no timeout cures; and a lock in this process, which wakes sooner than SQLite's polling.

Where commits are not synced, some of SQLite's still are: each that finds the log long enough for a checkpoint, and the
one after a whole checkpoint, which begins the log anew. `write_at_once` makes neither. It asks how long the log's file
is, which is how long the log is, for it is cut when it begins anew: one that is empty, or long enough for a checkpoint
to have gone through it, is left to those who may wait. Only after another process's checkpoint might it sync the head
of the log."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache, partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bough.kernel.context import WouldWait
from bough.kernel.errors import Exhausted, Problem, Unavailable
from bough.kernel.files import as_exhausted, disk_full, not_writable
from bough.kernel.prepared import ask

log = logging.getLogger("bough.database")

BUSY_TIMEOUT_S = 10.0
CHECKPOINT_PAGES = 1000  # in the log: SQLite's own number
_LONG_LOG_BYTES = CHECKPOINT_PAGES * 4096  # a little less than so many pages take in it
_WAL_AGAIN_S = 0.005
_UNWRITABLE = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)

# Statements as text, for all databases of the process: those that read and those that write ask many of the same, and
# to put one together takes longer than to run it. SQLAlchemy's own caches are one for each engine.
_compiled: Any = sa.util.LRUCache(2000)


class SqliteDatabase:
    """`durable`: fsync at every commit (control and audit); otherwise at checkpoints only (telemetry)."""

    def __init__(self, path: Path, *, durable: bool = True, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        self.path, self._durable = path, durable
        self._log = f"{path}-wal"
        self._writing = threading.Lock()
        self._behind = threading.Lock()  # one of those that may wait competes with those that may not
        self._writer = 0  # the thread that holds it
        self._listeners: list[tuple[Callable[[], None], bool]] = []
        self._writing_engine = self._engine(durable, busy_timeout_s, writes=True)
        self._passing_engine = self._engine(False, busy_timeout_s, writes=True) if durable else self._writing_engine
        self._at_once_engine = self._engine(durable, 0.0, writes=True, checkpoints=False)
        self._at_once: sa.Connection | None = None  # kept: to take one from a pool takes longer than to write a row
        self._reading_engine = self._engine(durable, busy_timeout_s, writes=False)
        self._looking: sa.Connection | None = None

    @contextmanager
    def write(self, *, lasting: bool = True) -> Iterator[sa.Connection]:
        if self._writer == threading.get_ident():
            raise RuntimeError("a write inside a write of the same thread waits for itself: hand the first down")
        engine, before = (self._writing_engine, nullcontext()) if lasting else (self._passing_engine, self._behind)
        with before, self._writing, self._translated(), engine.connect() as connection:
            self._writer = threading.get_ident()
            try:
                with connection.begin():
                    yield connection
            finally:
                self._writer = 0
        self._committed(lasting=lasting)

    @contextmanager
    def write_at_once(self) -> Iterator[sa.Connection]:
        if self._durable or not self._writing.acquire(blocking=False):
            raise WouldWait
        try:
            if not 0 < self._log_bytes() < _LONG_LOG_BYTES:
                raise WouldWait
            with self._translated():
                self._at_once = connection = self._at_once or self._at_once_engine.connect()
                try:
                    begun = connection.begin()
                except sa.exc.OperationalError as error:
                    if _is_busy(error):
                        raise WouldWait from error
                    raise
                with begun:
                    yield connection
        finally:
            self._writing.release()
        self._committed()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        with self._translated(), self._reading_engine.connect() as connection, connection.begin():
            try:
                yield connection
            except sa.exc.OperationalError as error:
                if getattr(error.orig, "sqlite_errorcode", 0) != sqlite3.SQLITE_READONLY:
                    raise
                raise RuntimeError("a read may not write: declare the operation with writes=True") from error

    def version(self) -> int:
        with self.glance() as connection:  # one that is kept: the number is its own
            return int(ask(connection, "PRAGMA data_version").fetchone()[0])

    @contextmanager
    def glance(self) -> Iterator[sa.Connection]:
        with self._translated():
            self._looking = self._looking or self._reading_engine.connect()
            yield self._looking

    def on_commit(self, listener: Callable[[], None], *, lasting: bool = False) -> None:
        self._listeners.append((listener, lasting))

    def close(self) -> None:
        self._writing_engine.dispose()
        self._passing_engine.dispose()
        for kept in (self._at_once, self._looking):
            if kept is not None:
                kept.close()
        self._at_once = self._looking = None  # whoever asks once more opens another one
        self._at_once_engine.dispose()
        self._reading_engine.dispose()

    def _committed(self, *, lasting: bool = True) -> None:
        for listener, only_lasting in self._listeners:
            if only_lasting and not lasting:
                continue
            try:
                listener()
            except Exception:  # what was committed stays so: whoever wrote it must not take it for failed
                log.exception("after a commit")

    def _log_bytes(self) -> int:
        try:
            return os.stat(self._log).st_size  # noqa: PTH116 - a Path for every write would take longer than this does
        except FileNotFoundError:
            return 0

    def _engine(self, durable: bool, busy_timeout_s: float, *, writes: bool, checkpoints: bool = True) -> sa.Engine:
        connect: Any = partial(sqlite3.connect, self.path, timeout=busy_timeout_s, check_same_thread=False)
        # With the others one for each of the API's threads, its event loop and a few loops.
        pool = sa.QueuePool(connect, pool_size=8, max_overflow=40, dialect=_dialect())
        url = sa.URL.create("sqlite", database=str(self.path))
        made = sa.Engine(pool, _dialect(), url, execution_options={"compiled_cache": _compiled})

        @sa.event.listens_for(made, "connect")
        def configure(connection: sqlite3.Connection, _: Any) -> None:
            connection.isolation_level = None  # the event below begins transactions, not the driver
            _use_wal(connection, busy_timeout_s)
            connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES if checkpoints else 0}")
            if not self._durable:
                connection.execute("PRAGMA journal_size_limit = 0")  # what the log's file is cut to
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA secure_delete = ON")  # erasure: freed pages keep nothing of what stood there
            connection.execute(f"PRAGMA query_only = {'OFF' if writes else 'ON'}")

        @sa.event.listens_for(made, "begin")
        def begin(connection: sa.Connection) -> None:
            ask(connection, "BEGIN IMMEDIATE" if writes else "BEGIN")

        return made

    @contextmanager
    def _translated(self) -> Iterator[None]:
        with as_exhausted(self.path.parent):
            try:
                yield
            except sa.exc.OperationalError as error:
                raise self._problem(error) from error

    def _problem(self, error: sa.exc.OperationalError) -> Problem:
        text = str(error.orig)
        code = _code(error)
        where = f"{self.path} cannot be written ({text}); nothing was changed in it"
        if code == sqlite3.SQLITE_FULL:
            return disk_full(where, self.path.parent)
        if code in _UNWRITABLE:
            return not_writable(where, self.path.parent)
        if code == sqlite3.SQLITE_IOERR:  # SQLite says no more: a quota, a disk that fails, a file cut short
            hint = f"df -h {self.path.parent}; where there is room, look for the disk's own errors: dmesg"
            return Exhausted(where, code="DISK_FAILED", hint=hint)
        if _is_busy(error):
            return Unavailable(
                "the database is busy with another writer", code="DATABASE_BUSY", hint="try again in a moment"
            )
        return Problem(f"the database failed: {text}", code="DATABASE_FAILED", hint="bough doctor")


@cache
def _dialect() -> sa.Dialect:
    """One for the process, for a compiled statement belongs to the dialect that it was compiled for. It asks the first
    connection what SQLite can do."""
    engine = sa.create_engine("sqlite://")
    engine.connect().close()
    engine.dispose()
    return engine.dialect


def _code(error: sa.exc.OperationalError) -> int:
    return int(getattr(error.orig, "sqlite_errorcode", 0)) & 0xFF  # the rest tells the kind of the kind


def _is_busy(error: sa.exc.OperationalError) -> bool:
    return _code(error) in _BUSY


def _use_wal(connection: sqlite3.Connection, patience_s: float) -> None:
    """A file that several open first at once: SQLite does not wait for the lock that changing the mode takes."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_WAL_AGAIN_S)
