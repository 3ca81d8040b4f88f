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

    def passed(self) -> float:
        """Seconds since some moment, the same ones whoever sets the clock."""

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Blocks until `event` is set or `timeout_s` passed on this clock; says whether it was set."""


class SystemClock:
    def now(self) -> float:
        return time.time()

    def passed(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        return event.wait(timeout_s)


class VirtualClock:
    """Stands still until told to move; waiting moves it."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now, self._set_s = start, 0.0
        self._lock = threading.Lock()

    def now(self) -> float:
        with self._lock:
            return self._now

    def passed(self) -> float:
        with self._lock:
            return self._now - self._set_s

    def set_by(self, seconds: float) -> None:
        """As somebody sets a clock: nothing passes."""
        with self._lock:
            self._now, self._set_s = self._now + seconds, self._set_s + seconds

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._now += seconds

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        if not event.is_set():
            self.advance(timeout_s)
        return event.is_set()


class Waits:
    """For how long things have been waited for, whoever sets the clock meanwhile. Nobody else remembers it: a process
    that has just begun waits anew."""

    def __init__(self) -> None:
        self._since: dict[str, tuple[float, float]] = {}  # which beginning, and what had passed when it was told

    def seconds(self, clock: Clock, thing: str, beginning: float) -> float:
        """Since this was first asked of the `beginning`; another one is waited for anew."""
        passed = clock.passed()
        if self._since.get(thing, (None, 0.0))[0] != beginning:
            self._since[thing] = beginning, passed
        return passed - self._since[thing][1]

    def over(self, thing: str) -> None:
        self._since.pop(thing, None)
