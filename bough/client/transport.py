"""How a client reaches operations. Two technologies: `http.py`, and `inprocess.py` for tests and for the server's own
process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Protocol


class Transport(Protocol):
    def call(self, name: str, fields: Mapping[str, Any], key: str) -> Any:
        """The answer as plain data. `key` makes a write happen once. Raises what the operation raised; `Unavailable`
        (code SERVER_UNREACHABLE) when nobody answers within the patience of the transport."""

    def stream(self, name: str, fields: Mapping[str, Any]) -> Iterator[Any]:
        """Items as they come. Raises `Unavailable` (code STREAM_BROKEN) when the connection is lost under way."""

    def upload(self, digest: str, content: BinaryIO, size: int) -> None:
        """Sends a file's bytes; `content` is rewound when it has to be sent again. What arrived of a large one before
        the connection was lost is not sent again, then or in another run."""

    def upload_many(self, blobs: Sequence[tuple[str, bytes]]) -> None:
        """Sends small blobs, each with its digest, in one go: all of them are there afterwards, or none."""

    def download(self, digest: str, offset: int) -> Iterator[bytes]:
        """A blob's bytes from `offset` on, as they come. Does not check them: the caller holds the digest. Raises
        `Unavailable` (code STREAM_BROKEN) when the connection is lost under way."""

    def close(self) -> None:
        """Gives connections back; the transport may be used again."""
