"""Hears of the first request after a silence: until then nobody has to look at a service each second."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

from bough.gateway.models import Heard, Silence

LISTEN_S = 20.0  # how long the gateway is asked at once
RETRY_S = 1.0  # before one is asked again that did not answer

log = logging.getLogger("bough.scaling")
Hear = Callable[[Silence], Heard | None]
"""What the gateway says within the time; None: nothing."""


class Listening:
    """`rest` and then one call of `stirred` when somebody asks. What is missed costs as long as the rest, never
    truth."""

    def __init__(self, hear: Hear, stirred: Callable[[], None]) -> None:
        self._hear, self._stirred = hear, stirred
        self._arrived: dict[str, int] | None = None
        self._resting, self._stopping = threading.Event(), threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="scaling-listens", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()
        self._resting.set()

    def rest(self, arrived: Mapping[str, int]) -> None:
        """Nobody looks any more: `arrived` is how many requests each deployment had had."""
        self._arrived = dict(arrived)
        self._resting.set()

    def wake(self) -> None:
        """Somebody looks again, so that nothing has to be heard."""
        self._arrived = None
        self._resting.clear()

    def once(self) -> bool:
        """Asks once; False when the gateway did not answer."""
        arrived = self._arrived
        if arrived is None:
            return True
        heard = self._hear(Silence(arrived=arrived, timeout_s=LISTEN_S))
        if heard is not None and heard.asked and self._arrived is arrived:
            self.wake()
            self._stirred()
        return heard is not None

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._resting.wait()
            try:
                answered = self.once()
            except Exception:  # a database that is full or busy: the rest ends by itself
                log.exception("who listens for requests")
                answered = False
            if not answered:
                self._stopping.wait(RETRY_S)
