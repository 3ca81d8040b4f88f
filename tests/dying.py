"""Processes that are killed on purpose."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa


def in_a_process(work: Callable[[], Any]) -> int:
    """Runs it in a fork; the signal that ended that, 0 for an ordinary end."""
    child = os.fork()
    if child == 0:
        gc.freeze()  # what native libraries hold here must not be let go there
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


class Doom:
    """Kills this process before a commit of any database: the one after `commits` others, counted from `begin` on."""

    def __init__(self, commits: int) -> None:
        self._commits, self._left = commits, -1
        sa.event.listen(sa.Engine, "commit", self._about_to_commit)

    def begin(self) -> None:
        """A second time does nothing."""
        if self._left < 0:
            self._left = self._commits

    def _about_to_commit(self, connection: sa.Connection) -> None:
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._left > 0:
            self._left -= 1
