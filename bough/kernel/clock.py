"""Time, injected, so that no test waits for it."""

from __future__ import annotations

import threading
import time
from typing import Protocol


def left_s(since: float, seconds: float, now: float) -> float:
    """How much is left of a time that began then; 0: it is over. So it is where the clock was set back to before its
    beginning: nobody knows how much has passed, and nothing may wait for days for what takes a second."""
    return max(0.0, since + seconds - now) if since <= now else 0.0


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since the epoch (UTC)."""

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Blocks until `event` is set or `timeout_s` passed on this clock; says whether it was set."""


class SystemClock:
    def now(self) -> float:
        return time.time()

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        return event.wait(timeout_s)


class VirtualClock:
    """Stands still until told to move; waiting moves it."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start
        self._lock = threading.Lock()

    def now(self) -> float:
        with self._lock:
            return self._now

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._now += seconds

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        if not event.is_set():
            self.advance(timeout_s)
        return event.is_set()
