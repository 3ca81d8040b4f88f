"""Forgetting somebody in what job runs have left in folders: logs, output and checkpoints."""

from __future__ import annotations

import sqlalchemy as sa

from bough.jobs import store
from bough.jobs.units import Places
from bough.kernel.errors import NotFound
from bough.kernel.subjects import Reached, Subject


def reach(tx: sa.Connection, places: Places, subject: Subject) -> Reached:
    """Names the runs whose folders say it, or hold what a program made of something that goes. Files of job runs belong
    together, and what a program was told goes into all of them: they are cleared as a whole."""
    remains = []
    for id in sorted({path.name for root in places.roots for path in root.iterdir() if path.is_dir()}):
        try:
            run = store.get(tx, id)
        except NotFound:
            continue
        if run.project != subject.project:
            continue
        saw = sorted(set(run.manifest.settings.data) & subject.sources)
        why = f"saw {', '.join(saw)}" if saw else "says their name" if _says(places, id, subject) else ""
        if why:
            when = "" if run.ended else "once it has ended, "
            remains.append(f"job run {id} {why} and has logs, output or checkpoints: {when}bough jobs clear {id}")
    return Reached(remains=remains)


def _says(places: Places, id: str, subject: Subject) -> bool:
    if not subject.texts:
        return False
    for root in (places.folder(id), places.checkpoints(id)):
        for path in root.rglob("*"):
            if path.is_file() and not path.is_symlink():
                with path.open("rb") as stream:
                    if subject.is_in(str(path.relative_to(root))) or subject.is_in_stream(stream):
                        return True
    return False
