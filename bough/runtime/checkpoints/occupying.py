"""A folder of checkpoints belongs to one start of a program at a time, and remembers what became of the starts
before."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

import msgspec

from bough.runtime.checkpoints import interval
from bough.runtime.checkpoints.failures import CheckpointError
from bough.runtime.checkpoints.interval import Losses
from bough.runtime.checkpoints.progress import read_progress

_LOSSES = "losses.json"
_IN_USE_S = 15.0  # for a process that is on its way out
_LOOK_S = 0.05


def lock(folder: Path, rank: int, patience_s: float = _IN_USE_S) -> int:
    """A descriptor that holds the lock; it ends with the process, and is not inherited by children that are forked."""
    descriptor = os.open(folder / f".lock.{rank}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    until = time.monotonic() + patience_s
    while True:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if time.monotonic() < until:
                time.sleep(_LOOK_S)
                continue
            os.close(descriptor)
            raise CheckpointError(
                "CHECKPOINT_FOLDER_IN_USE", f"another process saves into {folder}",
                "end it first, or use another folder: BOUGH_CHECKPOINTS=…",
            ) from error  # fmt: skip
        return descriptor


class History:
    """Of the starts in a folder, kept by the first process: how long they lived, and which were lost."""

    def __init__(self, folder: Path, now: float) -> None:
        self._path = folder / _LOSSES
        before = Losses()
        with contextlib.suppress(OSError, msgspec.DecodeError):
            before = msgspec.json.decode(self._path.read_bytes(), type=Losses)
        last = read_progress(folder)
        self.losses = interval.begun(before, last.at if last is not None else before.began_at, now)
        self._write(self.losses)

    def end(self, now: float) -> None:
        """This start ends by itself, or because it was told to: nothing is lost."""
        lived = self.losses.lived_s + max(0.0, now - self.losses.began_at)
        self._write(msgspec.structs.replace(self.losses, ended=True, lived_s=lived, began_at=0.0))

    def _write(self, losses: Losses) -> None:
        temporary = self._path.with_name(f".{_LOSSES}.{os.getpid()}")
        with contextlib.suppress(OSError):  # a full disk makes the next interval a little worse
            temporary.write_bytes(msgspec.json.encode(losses))
            temporary.replace(self._path)
