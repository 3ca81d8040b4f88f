"""Checkpoints for a program that trains.

    from bough import checkpoint

    ckpt = checkpoint.open()                           # folder: BOUGH_CHECKPOINTS, else ./checkpoints
    ckpt.every("auto")                                 # or 100 (steps), "5m"
    state = {"model": model, "optimizer": optimizer, "data": data}
    for step in range(ckpt.restore(state).step, 1000):
        ...
        ckpt.save(step + 1, state)                     # when it is time to
        if ckpt.should_stop():                         # told to end, and saved
            break
    else:
        ckpt.done()

`docs/checkpoints.md` has the rest. Nothing of Bough's server is imported, and nothing happens before `open`.
"""

from __future__ import annotations

from typing import Any

from bough.runtime.checkpoints.failures import CheckpointError
from bough.runtime.checkpoints.keeping import Checkpoints, Restored
from bough.runtime.checkpoints.records import Records
from bough.runtime.checkpoints.returning import Saved
from bough.runtime.checkpoints.samples import Samples

__all__ = ["CheckpointError", "Checkpoints", "Records", "Restored", "Samples", "Saved", "open"]


def open(folder: str = "", **options: Any) -> Checkpoints:  # noqa: A001, RUF100 - called as checkpoint.open
    """The checkpoints in `folder`. Options: `every` ("auto"), `keep` (3, the newest), `keep_every` (0, steps that stay
    for good), `version` (of what is saved; without it the program's files say it), `total` (steps), `allow` (packages
    whose objects may be made of a checkpoint), `per_rank` (entries that every process has of its own), `rank`,
    `world`."""
    return Checkpoints(folder, **options)
