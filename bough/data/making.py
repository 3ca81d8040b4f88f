"""Folders that take long to make, in threads of their own: whoever needs one asks again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from bough.kernel.errors import Problem


class Making:
    """Knows what is being made and what went wrong with it."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._lock = threading.Lock()
        self._running: dict[Path, threading.Thread] = {}
        self._failed: dict[Path, Problem] = {}

    def start(self, target: Path, make: Callable[[], object]) -> None:
        """Runs `make` for `target` unless it is running; raises, once, what went wrong the last time."""
        with self._lock:
            if problem := self._failed.pop(target, None):
                raise problem
            if target not in self._running:
                made = threading.Thread(target=self._run, args=(target, make), name=self._what, daemon=True)
                self._running[target] = made
                made.start()

    def _run(self, target: Path, make: Callable[[], object]) -> None:
        try:
            make()
        except Problem as problem:
            self._failed[target] = problem
        except OSError as error:  # whoever asks next must read why
            self._failed[target] = Problem(
                f"the {self._what} {target} cannot be made; {error}", code="MOUNT_FAILED", hint="bough doctor"
            )
        finally:
            with self._lock:
                self._running.pop(target, None)
