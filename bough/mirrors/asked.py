"""What a replay's process is asked and answers: files between it and the server."""

from __future__ import annotations

import msgspec

from bough.mirrors.models import Replay


class ReplayRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`files`: of kept requests, by service; `pairs`: where to write."""

    replay: Replay
    files: dict[str, str]
    socket: str
    pairs: str


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    sent: int
    why: str = ""
