"""How far a program has come: `progress.json` in the folder of its checkpoints, for whoever watches it.

Written whole (a temporary file, then a rename) and at most once a second, so that a reader never sees a part and a
loop of short steps pays nothing. A disk that takes nothing is no reason to stop: the next word comes a second later.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any, Callable, Optional

import msgspec

from bough.runtime.spec import Failure

FILE_NAME = "progress.json"
APART_S = 1.0  # between two writes; what watches looks no more often


class Progress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Times are seconds since the epoch. `at` is when a step last ended: a program that hangs stops moving it."""

    at: float
    step: int = 0  # steps done
    total: int = 0  # steps wanted; 0 when the program did not say
    step_s: float = 0.0  # what a step takes lately, saves left out
    samples: int = 0  # taken from the data since the very beginning
    read_bytes: int = 0  # through `Records`, by the first process since it began
    read_s: float = 0.0  # since it asked for the first of them
    waited_s: float = 0.0  # of these it stood still until they were there
    saved_step: int = 0  # of the newest complete checkpoint; 0 when there is none
    saved_at: float = 0.0
    stall_s: float = 0.0  # that saves have held up this process, in sum
    cost_s: float = 0.0  # that one save takes from the program, as far as was seen
    save_s: float = 0.0  # from the beginning of the last save to the disk
    interval_s: float = 0.0  # between two saves, as chosen now
    restored_step: int = 0  # that this process went on from
    damaged: int = 0  # checkpoints that this process found damaged and put aside
    opened_at: float = 0.0  # when this process asked for its checkpoints: imports are over
    began_at: float = 0.0  # and when it began its first step
    made: int = 0  # steps of this process
    warm_s: float = 0.0  # by which its first step took longer than steps do: compiling, memory, caches
    refused: Optional[Failure] = None  # why this process does not go on from what was saved, however often it is asked
    done: bool = False  # all steps are done: there is nothing to go on with
    message: str = ""  # the last thing worth telling: a save that failed, a checkpoint that was damaged


def read_progress(folder: Path) -> Optional[Progress]:
    """What the program last said; None when it has said nothing yet, or nothing that can be read."""
    try:
        return msgspec.json.decode((folder / FILE_NAME).read_bytes(), type=Progress)
    except (OSError, msgspec.DecodeError):
        return None


class Reporter:
    """Keeps what is true now and writes it when it is time. From one thread at a time."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder, self._clock = folder, clock
        self._written_at = 0.0
        self.now = Progress(at=clock())

    @property
    def is_due(self) -> bool:
        """Also when somebody has set the clock back meanwhile."""
        return not 0.0 <= self._clock() - self._written_at < APART_S

    def say(self, *, whole: bool = False, **changed: Any) -> None:
        """Takes in what has changed; `whole` writes it at once, whenever the last time was."""
        self.now = msgspec.structs.replace(self.now, **changed)
        if whole or self.is_due:
            self.write()

    def write(self) -> None:
        self._written_at = self._clock()
        temporary = self._folder / f".{FILE_NAME}.{os.getpid()}"
        try:
            temporary.write_bytes(msgspec.json.encode(self.now))
            temporary.replace(self._folder / FILE_NAME)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
