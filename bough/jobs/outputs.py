"""What a job run leaves behind: its files become artifacts of its tracked run."""

from __future__ import annotations

from pathlib import Path

from bough.adapters.blobs import Blobs
from bough.jobs import store
from bough.jobs.models import ENDING, SUCCEEDED
from bough.jobs.tracked import Tracked
from bough.jobs.turning import say
from bough.jobs.units import Places
from bough.kernel.events import Events
from bough.kernel.reconcile import Handler, Turn


class Outputs:
    """The handler of runs that are ending. A file that is there already costs its hash and nothing else, so it begins
    again from the top wherever it was killed."""

    def __init__(self, blobs: Blobs, tracked: Tracked, places: Places, events: Events) -> None:
        self._blobs, self._tracked, self._places, self._events = blobs, tracked, places, events

    def handle(self, turn: Turn) -> float | None:
        with turn.read() as tx:
            run = store.get(tx, turn.id)
        if run.state != ENDING:
            return None
        root, folder = self._places.output(run.id), run.manifest.settings.output.strip("/")
        for file in sorted(each for each in root.rglob("*") if each.is_file() and not each.is_symlink()):
            digest = self._put(file)
            path = "/".join(filter(None, (folder, file.relative_to(root).as_posix())))
            self._tracked.put(self._blobs, run, path, digest, turn.clock.now())
            with turn.apply():  # one file may take a while: the lease is renewed
                pass
        now = turn.clock.now()
        self._tracked.keep([], [run], now)
        with turn.apply() as tx:
            store.update(tx, run.id, now, state=run.ends_as or SUCCEEDED, finished_at=now)
            say(tx, self._events, store.get(tx, run.id))
            store.changed(tx)
        return None

    def _put(self, file: Path) -> str:
        with file.open("rb") as content:
            return self._blobs.put(content)


def handler(blobs: Blobs, tracked: Tracked, places: Places, events: Events) -> Handler:
    return Outputs(blobs, tracked, places, events).handle
