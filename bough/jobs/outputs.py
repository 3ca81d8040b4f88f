"""What a job run leaves behind: its files become artifacts of its tracked run, and Parquet files objects of a bucket
where its settings say so."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bough.adapters.blobs import Blobs
from bough.jobs import store
from bough.jobs.models import BRINGING, ENDING, FAILED, SENT, SUCCEEDED, JobRun
from bough.jobs.objects import BucketWork
from bough.jobs.saved import CheckpointBucket
from bough.jobs.tracked import Tracked
from bough.jobs.turning import say
from bough.jobs.units import Places
from bough.kernel.errors import Problem, Unavailable
from bough.kernel.events import Events
from bough.kernel.reconcile import Handler, Turn


class Outputs:
    """Runs that are ending. A file that is there already costs its hash and nothing else, so it begins
    again from the top wherever it was killed."""

    def __init__(self, blobs: Blobs, tracked: Tracked, places: Places, events: Events, bucket_work: BucketWork) -> None:
        self._blobs, self._tracked, self._places, self._events = blobs, tracked, places, events
        self._bucket_work = bucket_work

    def bring(self, turn: Turn, run: JobRun) -> float | None:
        root, folder = self._places.output(run.id), run.manifest.settings.output.strip("/")
        for file in sorted(each for each in root.rglob("*") if each.is_file() and not each.is_symlink()):
            digest = self._put(file)
            path = "/".join(filter(None, (folder, file.relative_to(root).as_posix())))
            self._tracked.put(self._blobs, run, path, digest, turn.clock.now())
            with turn.apply():  # one file may take a while: the lease is renewed
                pass
        told = None
        if run.manifest.settings.target is not None:
            try:
                told = self._bucket_work.sent(turn, run)
            except Unavailable as problem:
                return self._bucket_work.later(turn, run, f"what it made is sent later: {problem.message}")
            except Problem as problem:
                failed = msgspec.structs.replace(run, ends_as=FAILED)
                self._tracked.keep([], [failed], turn.clock.now())
                self._bucket_work.fail(turn, run, f"what it made could not be sent: {problem.message}", problem)
                return None
        now = turn.clock.now()
        self._tracked.keep([], [run], now)
        with turn.apply(store.stands(run)) as tx:  # its environment may be gone
            if told is not None:
                where = {"project": run.project, "environment": run.environment, "job": run.job}
                self._events.emit(tx, SENT, run.id, **where, **told)
            store.update(tx, run.id, now, state=run.ends_as or SUCCEEDED, finished_at=now)
            say(tx, self._events, store.get(tx, run.id))
            store.changed(tx)
        return None

    def _put(self, file: Path) -> str:
        with file.open("rb") as content:
            return self._blobs.put(content)


def handler(
    blobs: Blobs, tracked: Tracked, places: Places, events: Events, bucket_work: BucketWork, saved: CheckpointBucket
) -> Handler:  # fmt: skip
    """Of runs that have files to bring, in or out."""
    outputs = Outputs(blobs, tracked, places, events, bucket_work)

    def handle(turn: Turn) -> float | None:
        with turn.read() as tx:
            run = store.get(tx, turn.id)
        if run.state == BRINGING:
            return bucket_work.bring(turn, run)
        keeps = run.manifest.settings.checkpoints is not None
        if run.state == ENDING:
            again = outputs.bring(turn, run)
            return 0.0 if again is None and keeps else again
        return saved.send(turn, run) if keeps else None

    return handle
