"""Systems outside of Bough that queues and jobs speak with: who is told over HTTP, databases, and buckets of objects.

Promises: a call ends within seconds or raises `Unavailable`; nothing that was refused is taken for done; a statement
and its rows are one transaction; addresses, which may hold passwords, are in no message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from bough.kernel import buckets

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


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """Where objects are, and who asks. Without `endpoint` AWS; without `key` whoever this machine is to it."""

    name: str
    endpoint: str = ""
    region: str = ""
    key: str = ""
    secret: str = ""

    @classmethod
    def of(cls, place: buckets.Objects, filled: Callable[[str], str]) -> Bucket:
        """`filled`: a text with its secrets."""
        return cls(
            name=place.bucket, endpoint=filled(place.endpoint), region=place.region, key=filled(place.key),
            secret=filled(place.secret),
        )  # fmt: skip


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """An object as it was listed. `etag` is another one whenever its bytes are; `at`: seconds since the epoch."""

    key: str
    etag: str
    size: int
    at: float


class Objects(Protocol):
    """Every method raises `Unavailable` when nobody answers, and `Invalid` for what is refused."""

    def listed(self, bucket: Bucket, prefix: str, after: str, limit: int) -> Sequence[Found]:
        """Those whose keys begin with `prefix` and come after `after`, in the order of their keys' bytes."""

    def read(self, bucket: Bucket, key: str, most: int) -> tuple[str, bytes] | None:
        """Etag and bytes; None when it is gone. Raises `TooLarge` when it has more than `most` bytes."""

    def fetch(self, bucket: Bucket, key: str, path: Path) -> Found | None:
        """Writes it into a file; None when it is gone. A file of which not all has come stays when this raises."""

    def send(self, bucket: Bucket, key: str, path: Path, kind: str) -> None:
        """A file of any size, in place of what was there."""

    def write(self, bucket: Bucket, key: str, content: bytes, kind: str) -> None:
        """In place of what was there."""

    def remove(self, bucket: Bucket, key: str, etag: str) -> None:
        """If it is still the one with this etag; what is gone already is no error."""
