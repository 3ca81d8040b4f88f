"""What the head of a POST says of its item."""

from __future__ import annotations

from urllib.parse import unquote

import msgspec

from bough.gateway.call import Head
from bough.kernel.errors import Invalid

LONGEST_ID = 256  # characters of a dedup id or key
LONGEST_DELAY_S = 31_536_000.0
_DEDUP = (b"idempotency-key", b"x-bough-dedup", b"webhook-id")


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a POST's head says of its item."""

    kind: str = ""
    dedup: str = ""
    key: str = ""
    delay_s: float = 0.0
    rank: int = 4
    lines: bool = False

    @property
    def plain(self) -> bool:
        """Says nothing that belongs to one item alone: the next head may well be the same."""
        return not (self.dedup or self.key)


def wanted(head: Head) -> Wanted:
    """Raises `Invalid` (ITEM_INVALID)."""
    said: dict[bytes, str] = {name: _text(value) for name, value in head.headers}
    kind = said.get(b"content-type", "")
    dedup = next((unquote(said[name]) for name in _DEDUP if said.get(name)), "")
    key = said.get(b"x-bough-key", "")
    for name, text in (("dedup id", dedup), ("key", key)):
        if len(text) > LONGEST_ID:
            raise invalid(f"the {name} has {len(text)} characters", f"at most {LONGEST_ID}")
    priority = said.get(b"x-bough-priority", "5")
    if priority not in "0123456789" or len(priority) != 1:
        raise invalid(f"the priority {priority!r} is none", "0 to 9, 9 is taken first; 5 without the header")
    delay = said.get(b"x-bough-delay", "0")
    try:
        delay_s = float(delay)
    except ValueError:
        delay_s = -1.0
    if not 0.0 <= delay_s <= LONGEST_DELAY_S:
        raise invalid(f"the delay {delay!r} is none", f"seconds, at most {LONGEST_DELAY_S:.0f}")
    return Wanted(
        kind="" if kind.startswith("application/json") else kind, dedup=dedup, key=key, delay_s=delay_s,
        rank=9 - int(priority), lines="ndjson" in kind,
    )  # fmt: skip


def _text(value: bytes) -> str:
    """As its sender meant it: today's clients write UTF-8, and HTTP itself once said Latin-1."""
    try:
        return value.decode().strip()
    except UnicodeDecodeError:
        return value.decode("latin-1").strip()


def invalid(what: str, hint: str) -> Invalid:
    return Invalid(what, code="ITEM_INVALID", hint=hint)
