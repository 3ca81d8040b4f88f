"""Word that this process will be ended soon: SIGTERM, which then no longer ends it at once."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any, Optional


class Notice:
    """Remembers that it came. A handler that the program had set is called as well; a child that was forked has its
    own life and ends as it would have."""

    def __init__(self) -> None:
        self.given = False
        self._process = os.getpid()
        self._before: Any = None
        self._listening = False

    def listen(self) -> None:
        """Only the main thread may; elsewhere nothing is heard, and only the interval saves."""
        if threading.current_thread() is threading.main_thread() and not self._listening:
            self._before = signal.signal(signal.SIGTERM, self._heard)
            self._listening = True

    def stop_listening(self) -> None:
        if self._listening and threading.current_thread() is threading.main_thread():
            if signal.getsignal(signal.SIGTERM) == self._heard:
                signal.signal(signal.SIGTERM, self._before)
            self._listening = False

    def _heard(self, number: int, frame: Optional[FrameType]) -> None:
        if os.getpid() != self._process:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
            return
        self.given = True
        if callable(self._before):
            self._before(number, frame)
