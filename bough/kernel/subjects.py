"""Somebody who is to be forgotten, told by the words that name them, and what became of what said so.

A capability that keeps what people send or programs say gives a `Reach` to `composition/`; erasures call all of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import BinaryIO

import msgspec
import sqlalchemy as sa

ERASED_TEXT = "(erased)"
DELETED, REWRITTEN = "deleted", "rewritten"
_CHUNK_BYTES = 1 << 20


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """`texts` are whole words, in any case of their letters; `digests`: blobs that are to go; `sources`: datasets and
    tables from which something goes. With `dry_run` nothing is changed, and what would be is said."""

    project: str
    texts: tuple[str, ...] = ()
    digests: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    dry_run: bool = False

    def is_in(self, content: bytes | str | None) -> bool:
        """Whether a content names them, written plainly or as JSON writes it."""
        if not content or not self.texts:
            return False
        raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        return _pattern(self.texts).search(raw) is not None

    def is_in_stream(self, stream: BinaryIO) -> bool:
        """As `is_in`, of all that the stream still has; a piece at a time."""
        overlap = 12 * max(map(len, self.texts), default=0) + 8  # JSON writes a character in twelve at most
        kept = b""
        while chunk := stream.read(_CHUNK_BYTES):
            if self.is_in(kept + chunk):
                return True
            kept = (kept + chunk)[-overlap:]
        return False

    def without(self, text: str) -> str:
        """The text with `(erased)` where it names them: JSON stays JSON."""
        if not self.is_in(text):
            return text
        return _pattern(self.texts).sub(ERASED_TEXT.encode(), text.encode("utf-8", "surrogatepass")).decode()

    def teach(self, tx: sa.Connection) -> None:
        """Lets the statements of a connection say `names(text)` and `without(text)`."""
        raw = tx.connection.driver_connection
        assert raw is not None  # noqa: S101 - a transaction has one
        raw.create_function("names", 1, self.is_in)
        raw.create_function("without", 1, lambda text: text and self.without(text))


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """Something that named them; `done`: deleted, rewritten."""

    kind: str
    key: str
    done: str = DELETED


class Reached(msgspec.Struct, frozen=True, kw_only=True):
    """What a capability did, and `remains`: what it could not, why, and what to type."""

    done: list[Named] = []
    remains: list[str] = []


Reach = Callable[[sa.Connection, Subject], Reached]
"""Deletes or rewrites what one capability keeps of a subject. Idempotent, and may read much; the connection is the
control plane's, and is not written through."""


@lru_cache(maxsize=8)
def _pattern(texts: tuple[str, ...]) -> re.Pattern[bytes]:
    """Whole words: neither within another one nor, in JSON, taken for one because of an escape before it."""
    cases = {case for text in texts for case in (text, text.lower(), text.upper())}  # bytes know those of ASCII alone
    forms = {form.encode() for text in cases for form in (text, json.dumps(text)[1:-1])}
    either = b"|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
    before = rb"(?:(?<![0-9A-Za-z_])|(?<=\\[bfnrt])|(?<=\\u[0-9A-Fa-f]{4}))"
    return re.compile(before + b"(?:" + either + b")(?![0-9A-Za-z_])", re.IGNORECASE)
