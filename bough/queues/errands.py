"""Work with the world outside, where an answer may take its time or never come: each errand in a thread of its own, one
at a time under a name, so that whoever is slow holds up nobody but itself.

The threads are daemons, and nobody waits for them at the end: an address that says nothing keeps no process alive, and
what an errand has not noted down is done again by the next one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable, Mapping

MOST = 32  # at work at once; the others' turn comes with the next look

log = logging.getLogger("bough.queues")
Errand = Callable[[], int]


class Errands:
    """`run` is called in one thread."""

    def __init__(self) -> None:
        self._at_work: dict[Hashable, threading.Thread] = {}
        self._done: dict[Hashable, int] = {}

    def run(self, wanted: Mapping[Hashable, Errand], patience_s: float) -> int:
        """Begins those whose name is free, and says what came of all that have ended `patience_s` later."""
        for name, errand in wanted.items():
            if name not in self._at_work and len(self._at_work) < MOST:
                self._begin(name, errand)
        until = time.monotonic() + patience_s
        for name, thread in list(self._at_work.items()):
            thread.join(max(0.0, until - time.monotonic()))
            if not thread.is_alive():
                del self._at_work[name]
        return sum(self._done.pop(name) for name in list(self._done) if name not in self._at_work)

    @property
    def at_work(self) -> frozenset[Hashable]:
        return frozenset(self._at_work)

    # --- private

    def _begin(self, name: Hashable, errand: Errand) -> None:
        def work() -> None:
            try:
                self._done[name] = errand()
            except Exception:  # a database that is full or busy, a server that stops: what is due stays due
                log.exception("an errand of queues: %s", name)

        self._at_work[name] = threading.Thread(target=work, name=f"queues-{name}", daemon=True)
        self._at_work[name].start()
