"""A job run that begins with what another one has saved: after its program was corrected, or with another job's state.

Its folder of checkpoints begins as hard links to the other's, which cost no bytes; from then on each has its own. A
program whose files have changed since is told so by `restore`, and goes on where its `migrate` hook says how. What is
gone from this machine may still be in a bucket (`saved.py`).
"""

from __future__ import annotations

import os
from pathlib import Path

from bough.jobs.models import JobRun
from bough.jobs.units import Places
from bough.kernel import trees
from bough.kernel.errors import Conflict

_SAVED = ("steps", "chunks")  # of a folder of checkpoints: the rest says how the other run went


def check(places: Places, other: JobRun, project: str, *, elsewhere: bool) -> None:
    """Raises `Conflict` where there is nothing to begin with. `elsewhere`: a bucket may have it."""
    if other.project != project:
        raise Conflict(f"{other.id} is a run of the project {other.project}, not of {project}", code="PROJECT_DIFFERS")
    if not other.ended:
        raise Conflict(
            f"{other.id} is {other.state}, and saves on", code="JOB_RUN_NOT_ENDED", hint=f"bough jobs cancel {other.id}"
        )
    if not elsewhere and not is_there(places, other.id):
        raise Conflict(
            f"{other.id} has saved no checkpoint that is still there", code="CHECKPOINT_MISSING",
            hint=f"bough jobs list {other.job}",
        )  # fmt: skip


def lay(places: Places, run: JobRun) -> None:
    """Before its first attempt starts; once is enough. Raises `Conflict` (CHECKPOINT_MISSING)."""
    target = places.checkpoints(run.id)
    if not run.start_from or target.is_dir():
        return
    if not is_there(places, run.start_from):
        raise Conflict(f"the checkpoints of {run.start_from} are gone", code="CHECKPOINT_MISSING")
    building = places.folder(run.id) / "beginning"
    trees.remove_tree(building)
    for name in _SAVED:
        _link(places.checkpoints(run.start_from) / name, building / name)
    put(building, target)


def put(building: Path, target: Path) -> None:
    """A folder of checkpoints in its place, whole. What a run without any has left there goes."""
    building.chmod(0o700)
    trees.remove_tree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    building.rename(target)


def is_there(places: Places, id: str) -> bool:
    """Whether it has saved something that is on this machine."""
    return any((places.checkpoints(id) / _SAVED[0]).glob("*.json"))


def _link(source: Path, target: Path) -> None:
    for folder, _, files in os.walk(source):
        place = target / Path(folder).relative_to(source)
        place.mkdir(parents=True, exist_ok=True)
        for name in files:
            os.link(Path(folder, name), place / name)
