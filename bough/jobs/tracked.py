"""What a job run leaves in the store of runs, where its program's metrics and artifacts land too."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

import sqlalchemy as sa

from bough.adapters.blobs import Blobs
from bough.jobs.models import CANCELLED, STOPPED, SUCCEEDED, JobRun
from bough.kernel.errors import Conflict, NotFound, Problem
from bough.tracking import artifacts, experiments, runs
from bough.tracking.models import Metric, RunInput, Source

Open = Callable[[], AbstractContextManager[sa.Connection]]
_STATUS = {SUCCEEDED: "finished", STOPPED: "finished", CANCELLED: "killed"}


class Tracked:
    """`read` and `write` open transactions on the database of runs. What is written may be written again."""

    def __init__(self, read: Open, write: Open) -> None:
        self._read, self._write = read, write

    def keep(
        self, started: Sequence[JobRun], ended: Sequence[JobRun], now: float, read: Mapping[str, RunInput] | None = None
    ) -> None:
        """Runs of those that began are there from now on, and those of the others have ended; once is enough. `read`:
        what those that began have read beside datasets, by id."""
        if not started and not ended:
            return
        with self._write() as tx:
            for run in started:
                _begin(tx, run)
                if read and run.id in read:
                    runs.add_inputs(tx, run.project, id_of(run), [read[run.id]])
            for run in ended:
                with contextlib.suppress(Problem):  # somebody has deleted it
                    _end(tx, run, round(now * 1000))

    def put(self, blobs: Blobs, run: JobRun, path: str, digest: str, now: float) -> None:
        """A file that it has made."""
        with self._write() as tx:
            artifacts.put(tx, blobs, run.run, path, digest, round(now * 1000))

    def points(self, project: str, id: str, key: str, *, most: int = 10_000) -> list[Metric]:
        """A metric, oldest point first; not more than `most`."""
        if not id:
            return []
        with self._read() as tx:
            try:
                return runs.history(tx, project, id, key, most, 0)[:most]
            except NotFound:
                return []


def id_of(run: JobRun) -> str:
    """The same for every attempt, whoever asks."""
    return f"run_{run.id.partition('_')[2]}"


def _begin(tx: sa.Connection, run: JobRun) -> None:
    created = round(run.created_at * 1000)
    experiment = _experiment(tx, run, created)
    tags = {"bough.job": run.job, "bough.job_run": run.id, **{f"bough.tag.{key}": text
            for key, text in run.manifest.settings.tags.items()}}  # fmt: skip
    if run.group:
        tags["bough.group"] = run.group
    if run.start_from:
        tags["bough.start_from"] = run.start_from
    fresh = runs.Fresh(
        experiment=experiment, environment=run.environment, by=run.by, started_ms=created, id=id_of(run),
        name=f"{run.job}-{run.index}" if run.group else run.job,
        source=Source(
            bundle=run.manifest.bundle, python_environment=run.build.environment_digest if run.build else "",
            program=run.manifest.settings.command[:200],
        ),
        tags=tags,
    )  # fmt: skip
    runs.create(tx, run.project, fresh)
    if run.params:
        runs.log(tx, run.project, id_of(run), [], {key: str(value) for key, value in run.params.items()}, {})
    if run.manifest.settings.data:
        place = f"bough:/{run.project}/{run.environment}"
        seen = [
            RunInput(kind="dataset", name=name, version=f"#{run.seen}", source=place, source_type="bough")
            for name in run.manifest.settings.data
        ]
        runs.add_inputs(tx, run.project, id_of(run), seen)


def _experiment(tx: sa.Connection, run: JobRun, created: int) -> str:
    """That of the job's name; the one that every project has where somebody has deleted it."""
    try:
        return experiments.named(tx, run.project, run.job).id
    except NotFound:
        try:
            return experiments.create(tx, run.project, run.job, created).id
        except Conflict:
            return experiments.DEFAULT


def _end(tx: sa.Connection, run: JobRun, now_ms: int) -> None:
    spent = {
        "bough.attempts": str(run.attempt), "bough.seconds": f"{run.seconds:.3f}", "bough.cost": f"{run.cost:.6f}",
        "bough.cost_center": run.manifest.settings.cost_center, "bough.said": run.said[:500],
    }  # fmt: skip
    runs.log(tx, run.project, run.run, [], {}, spent)
    runs.change(tx, run.project, run.run, status=_STATUS.get(run.ends_as or run.state, "failed"), ended_ms=now_ms)
