"""Whose token a request carries, remembered for a moment: a program that logs a thousand metrics is one caller."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import sqlalchemy as sa

from bough.access import operations, rules
from bough.kernel.clock import Clock
from bough.kernel.context import Principal

REMEMBERED_S = 1.0  # what another process has revoked, or what has expired, is refused so much later at most
KNOWN_AT_MOST = 1000


class Callers:
    """What this process itself revokes is refused at once: any commit of its database empties the memory."""

    def __init__(self, read: Callable[[], AbstractContextManager[sa.Connection]], clock: Clock) -> None:
        self._read, self._clock = read, clock
        self._commits = 0
        self._known: dict[str, tuple[int, float, Principal]] = {}

    def forget(self) -> None:
        """After a commit."""
        self._commits += 1

    def authenticate(self, token: str) -> Principal:
        """The principal that a token proves; raises `Unauthenticated`."""
        key, commits, now = rules.digest(token), self._commits, self._clock.now()
        if (known := self._known.get(key)) and known[0] == commits and now - REMEMBERED_S < known[1] <= now:
            return known[2]
        with self._read() as tx:
            found = operations.authenticate(tx, token, now)
        if len(self._known) >= KNOWN_AT_MOST:
            self._known.clear()
        self._known[key] = commits, now, found
        return found
