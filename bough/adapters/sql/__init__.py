"""Databases that branch: one file per technology and way (SQLite in pages, by clone, by copy; Postgres; Redis).

A database is named by its handle, which the engine chooses. `cut` makes another database that holds what this one holds
at one moment; whoever writes meanwhile waits for that moment only. What costs time is told before (`announce`).

Promises, whatever the technology: both sides of a cut are whole databases and neither sees what the other writes; a
kill at any moment leaves every database as it was or as it was to be; a full disk is `Exhausted` and loses nothing;
nothing is deleted but by `sweep`. All methods may be called from any thread.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

SQLITE, POSTGRES, POSTGRES_SERVER, REDIS = "sqlite", "postgres", "postgres-server", "redis"
MASKS = ("drop", "null", "token", "hash", "noise")


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """How databases branch here; `fits` says whether this machine can do it, else `why_not`."""

    name: str
    about: str
    why_not: str = ""

    @property
    def fits(self) -> bool:
        return not self.why_not


class Announced(msgspec.Struct, frozen=True, kw_only=True):
    """What a branch of a database will be: `seconds` until it can be used, `bytes` of disk that it takes at first, and
    for how long writers wait, at most about `held_s`. `first_read_…`, `first_write_…`: what it takes in all when the
    branch first reads, or writes into, all tables whose files it shares until then; 0 where that costs nothing more."""

    way: str
    about: str
    size: int
    seconds: float
    bytes: int
    held_s: float
    first_read_bytes: int = 0
    first_read_s: float = 0.0
    first_write_bytes: int = 0
    first_write_s: float = 0.0


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """`remake` is what brings the new database back when a power cut takes its files before `settle` was called."""

    handle: str
    size: int
    held_s: float
    copied_bytes: int = 0
    remake: dict[str, Any] = {}


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A server of a database: `mark` is another one when it was started again, `cpu_s` what it has worked since."""

    mark: str
    seconds: float
    cpu_s: float


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """A migration: SQL under a name, run once."""

    name: str
    digest: str
    sql: str


class SqlEngine(Protocol):
    def ways(self) -> list[Way]:
        """All of them, the best first, as probed on this machine."""

    def make(self, way: str, source: Path | None = None) -> str:
        """A new database, empty, or holding what the file `source` holds (a SQLite file, a dump); its handle. Raises
        `Invalid` (DATABASE_FILE_INVALID)."""

    def announce(self, handle: str) -> Announced:
        """What a cut would be now."""

    def cut(self, handle: str, *, at_rest: bool = False) -> Cut:
        """`at_rest`: it is to be kept, and nobody will connect to it soon. Milliseconds, unless announced otherwise.
        Raises `Busy` (DATABASE_IN_USE) when a writer does not end soon."""

    def settle(self, handle: str) -> None:
        """What was left for later: makes sure that the database outlives a power cut, prepares its next branch. May
        take long. Idempotent."""

    def keep(self, handle: str) -> None:
        """Called every few seconds: starts again what was started and has died. Cheap, idempotent."""

    def running(self, handle: str) -> Running | None:
        """What its server has used; None where none runs, or where it is not Bough's. Cheap."""

    def remake(self, handle: str, how: Mapping[str, Any]) -> bool:
        """Brings a database back that was not settled; False when nothing is missing."""

    def url(self, handle: str, shown: Path) -> str:
        """What programs are given; `shown` is the path that always leads to the environment's present database."""

    def ensure(self, handle: str) -> bool:
        """Makes sure that the database can be connected to; False while that takes its time."""

    def path(self, handle: str) -> Path:
        """Where it lies, for `shown` to lead to."""

    def own_bytes(self, handle: str) -> int:
        """Bytes on the disk that only it uses."""

    def close(self, handle: str) -> None:
        """It is not used any more: whoever still has it open gets errors. Idempotent."""

    def dump(self, handle: str, target: Path) -> None:
        """Writes all of it into one file that `make` and the technology's own tools read."""

    def check(self, handle: str) -> list[str]:
        """What is wrong with it, by the technology's own means; empty when nothing is."""

    def check_policy(self, handle: str, policy: Mapping[str, str]) -> None:
        """Raises `Invalid` (MASK_INVALID) for what a policy names and is not there: it would stay in clear. What takes
        long to find out is left to `mask`."""

    def migrate(self, handle: str, scripts: Sequence[Script]) -> list[str]:
        """Runs those that have not run yet, in one transaction; their names. Raises `Invalid` (MIGRATION_FAILED, or
        MIGRATION_UNFIT of a technology that has none), and then nothing has happened."""

    def mask(self, handle: str, policy: Mapping[str, str]) -> str:
        """A new database with what this one holds, columns (`table.column`; of Redis fields, `pattern.field`) masked by
        one of MASKS; its handle. What is masked is written nowhere in clear. Raises `Invalid` (MASK_INVALID) for a
        column that is not there or cannot be masked so, `Conflict` (MASK_LEAKS) when a clear value is found elsewhere
        in it."""

    def sweep(self, live: Collection[str], older_than_s: float) -> int:
        """Removes databases that are not `live`, and what no live one uses; the bytes that it freed."""


class Adopting(SqlEngine, Protocol):
    """An engine whose servers are the user's own."""

    def adopt(self, url: str, secret: str) -> str:
        """The handle of the database that `url` names; the URL's password is asked for under `secret` from then on.
        Raises `Unavailable` (SERVER_AWAY), `Invalid` (SERVER_UNFIT)."""

    def sealed_url(self, handle: str) -> tuple[str, str, str]:
        """The URL as what comes before its password, the secret that this is, what comes after. Without a secret the
        first is all of it, with the password of a masked database's own role."""
