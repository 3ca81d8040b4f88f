"""A stream that is begun again where it was cut: the server may be started anew while somebody follows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from bough.kernel.errors import Problem

AWAY_S = 30.0  # how long the server, or the node that has the output, may be away
PAUSE_S = 0.3
LOST = {"STREAM_BROKEN", "SERVER_STOPPING", "SERVER_UNREACHABLE", "NODE_UNREACHABLE"}


def stream(
    begin: Callable[[str], Iterable[Any]], cursor: str = "", *, cut: Callable[[Problem], None] | None = None
) -> Iterator[Any]:
    """Items of `begin`, which is given the cursor of the last one. `cut` hears of every time that it broke off. Raises
    the `Problem` that lasted longer than `AWAY_S`."""
    away_since = 0.0
    while True:
        try:
            for item in begin(cursor):
                away_since = 0.0
                cursor = item.get("cursor", "") or cursor
                yield item
            return
        except Problem as problem:
            away_since = away_since or time.monotonic()
            if problem.own_code not in LOST or time.monotonic() - away_since > AWAY_S:
                raise
            if cut is not None:
                cut(problem)
            time.sleep(PAUSE_S)
