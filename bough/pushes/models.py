"""Pushes as data."""

from __future__ import annotations

import msgspec

PUSHED = "push.ended"  # the event of every branch that was pushed; its data is a `Push`
LIVE, FAILED, DISCARDED = "live", "failed", "discarded"


class Update(msgspec.Struct, frozen=True, kw_only=True):
    """A wish of the client: `ref` was `old` and becomes `new`; empty: absent."""

    ref: str
    old: str
    new: str


class Push(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one branch. `seconds` are from the first byte of the push to the answer of its URL."""

    project: str
    environment: str
    branch: str
    state: str  # live, failed, overtaken, discarded
    seconds: float
    by: str
    at: float = 0.0
    commit: str = ""
    release: int = 0
    why: str = ""


class Pushes(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Newest first; `median_s` and `slowest_s` are of those that became live."""

    pushes: list[Push]
    live: int = 0
    median_s: float = 0.0
    slowest_s: float = 0.0
