"""Systems outside of Bough that queues speak with: who is told over HTTP, and databases.

Promises: a call ends within seconds or raises `Unavailable`; nothing that was refused is taken for done; a statement
and its rows are one transaction; addresses, which may hold passwords, are in no message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

Row = Mapping[str, Any]


class Connectors(Protocol):
    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """The status of the answer; raises `Unavailable` when there was none."""

    def get(self, url: str, headers: Mapping[str, str], most: int) -> tuple[int, bytes]:
        """Status and body of the answer. Raises `Unavailable` when there was none, `TooLarge` when it has more than
        `most` bytes."""

    def rows(self, url: str, query: str, values: Row, limit: int) -> Sequence[Row]:
        """What a query gives, at most `limit` rows, in its order. Raises `Unavailable`, or `Invalid` for a query that
        the database does not understand."""

    def execute(self, url: str, statement: str, values: Row) -> None:
        """Runs a statement and commits it. Raises as `rows` does."""
