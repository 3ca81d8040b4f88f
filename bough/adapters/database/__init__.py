"""Database: where the control plane keeps everything.

`write` is one transaction, serialisable, committed durably when the block ends and rolled back when it raises; it may
wait for another writer. With `lasting=False` it lets others go first and is not synced: whole at any kill, it may be
undone by a power failure, unless a lasting one followed. `write_at_once` is for a few rows and waits for no other
writer and for no disk: where it would have to, it raises `WouldWait` before its block begins, and nothing has happened;
a database whose every commit is synced always does. `read` sees one consistent state and never waits for writers.
Connections must not leave their block. A full disk or a read-only directory raises `Exhausted` and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

import sqlalchemy as sa


class Database(Protocol):
    def write(self, *, lasting: bool = True) -> AbstractContextManager[sa.Connection]: ...

    def write_at_once(self) -> AbstractContextManager[sa.Connection]: ...

    def read(self) -> AbstractContextManager[sa.Connection]: ...

    def version(self) -> int:
        """Another number than before once anybody has committed, in this process or another. Cheap; for one thread at
        a time."""

    def glance(self) -> AbstractContextManager[sa.Connection]:
        """For one short statement that changes nothing, of a thread that asks again and again: the one of `version`.
        Nothing is taken from a pool and nothing begun, which would take longer than the answer."""

    def on_commit(self, listener: Callable[[], None], *, lasting: bool = False) -> None:
        """`listener` is called after every commit of this process, outside any transaction; it must be quick. With
        `lasting` not after those that were not to last, which are about who works at what."""

    def close(self) -> None: ...
