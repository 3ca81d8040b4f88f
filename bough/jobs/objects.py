"""Objects of buckets, before a run's program starts and after it has ended well: what it reads becomes files of its
folder, and the Parquet files that it makes become objects."""

from __future__ import annotations

from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import sqlalchemy as sa

from bough.adapters.connectors import Bucket, Found, Objects
from bough.environments import store as environments
from bough.jobs import store, taking
from bough.jobs.many import AGAIN_S, AT_ONCE, LISTED, groups, listed, renew, together
from bough.jobs.models import FAILED, QUEUED, SUCCEEDED, TOOK, JobRun, TakenObject
from bough.jobs.saved import CheckpointBucket
from bough.jobs.turning import say
from bough.jobs.units import Places
from bough.kernel import buckets
from bough.kernel.errors import Exhausted, Invalid, Problem, Unavailable
from bough.kernel.events import Events
from bough.kernel.files import as_exhausted
from bough.kernel.paths import check_path
from bough.kernel.reconcile import Turn
from bough.secrets.opening import OpenSecret, filled

TAKEN = 5000  # in one transaction
PARQUET, KIND = ".parquet", "application/vnd.apache.parquet"


class BucketWork:
    """Everything here may be done twice: what was taken stays taken, files that have come are not fetched again, and an
    object that was sent is known by its key and its size."""

    def __init__(
        self, objects: Objects, secret: OpenSecret, places: Places, events: Events, saved: CheckpointBucket
    ) -> None:  # fmt: skip
        self._objects, self._secret, self._places, self._events = objects, secret, places, events
        self._saved = saved

    def bring(self, turn: Turn, run: JobRun) -> float | None:
        """Until the checkpoint that it goes on from, and all objects that are new to its job, lie in a run's folder,
        and it waits for its turn."""
        try:
            with as_exhausted(self._places.folder(run.id)):
                self._saved.fetch(turn, run)
                taken = self._brought(turn, run) if run.manifest.settings.source is not None else []
        except (Unavailable, Exhausted) as problem:
            return self.later(turn, run, f"waits for its objects: {problem.message}")
        except Problem as problem:
            self.fail(turn, run, f"its objects cannot be read: {problem.message}", problem)
            return None
        self._ready(turn, run, taken)
        return None

    def sent(self, turn: Turn, run: JobRun) -> dict[str, object]:
        """Sends what a run has made; that in words. Raises `Unavailable`, and `Invalid` for what is refused."""
        target = run.manifest.settings.target
        assert target is not None  # noqa: S101 - asked before
        with turn.read() as tx:
            rests = environments.exists(tx, run.place) and environments.view(tx, run.place).paused
            bucket = self._bucket(tx, run, target)
        if rests:  # a branch's results are not production's
            return {"said": f"nothing goes to {target.url}: schedules of {run.environment} rest"}
        root, prefix = self._places.output(run.id), f"{target.prefix}{run.id}/"
        files = sorted(each for each in root.rglob(f"*{PARQUET}") if each.is_file() and not each.is_symlink())
        there = {each.key: each.size for each in listed(self._objects, bucket, prefix)} if files else {}
        keys = {file: prefix + file.relative_to(root).as_posix() for file in files}
        missing = [file for file in files if there.get(keys[file]) != file.stat().st_size]
        for some in groups(missing, AT_ONCE):
            together(turn, [partial(self._objects.send, bucket, keys[file], file, KIND) for file in some])
        size = sum(each.stat().st_size for each in files)
        said = f"{len(files):,} Parquet files, {size / 1e6:,.1f} MB, to {target.url}{run.id}/"
        return {"said": said, "objects": len(files), "bytes": size}

    def fail(self, turn: Turn, run: JobRun, said: str, problem: Problem) -> None:
        now, failure = turn.clock.now(), msgspec.to_builtins(problem.detail())
        with turn.apply(store.stands(run)) as tx:
            store.update(tx, run.id, now, state=FAILED, said=said, failure=failure, finished_at=now)
            say(tx, self._events, store.get(tx, run.id))
            store.changed(tx)

    def later(self, turn: Turn, run: JobRun, said: str) -> float:
        """A bucket, or the disk, is tried once more; its timeline says so once."""
        with turn.apply(store.stands(run)) as tx:
            if store.get(tx, run.id).said != said:
                store.update(tx, run.id, turn.clock.now(), said=said)
                say(tx, self._events, store.get(tx, run.id))
        return AGAIN_S

    # --- private

    def _brought(self, turn: Turn, run: JobRun) -> list[TakenObject]:
        """What the run has."""
        source = run.manifest.settings.source
        assert source is not None  # noqa: S101 - nothing else is brought
        with turn.read() as tx:
            bucket, taken = self._bucket(tx, run, source), taking.of(tx, run.id)
        if not taken:
            new = list[Found]()
            for page in groups(listed(self._objects, bucket, source.prefix, source.start), LISTED):
                with turn.read() as tx:
                    new += taking.free(tx, run, bucket.name, [each for each in page if not each.key.endswith("/")])
                renew(turn)
            for some in groups(new, TAKEN):  # so that nobody else waits long to write
                with turn.apply() as tx:
                    taking.take(tx, run, bucket.name, some)
            with turn.read() as tx:
                taken = taking.of(tx, run.id)
        root = self._places.source(run.id)
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        paths = {each.key: root / _below(source, each.key) for each in taken}
        for objects in groups([each for each in taken if not paths[each.key].exists()], AT_ONCE):
            came = together(turn, [partial(self._fetched, run, bucket, each, paths[each.key]) for each in objects])
            with turn.apply(store.stands(run)) as tx:
                for each, found in zip(objects, came, strict=True):
                    if found is None or found.etag != each.etag:
                        taking.replace(tx, run, bucket.name, each, found)
        with turn.read() as tx:
            taken = taking.of(tx, run.id)
        wanted = {paths[each.key] for each in taken}
        for old in [each for each in root.rglob("*") if each.is_file() and each not in wanted]:
            old.unlink()  # a later run has taken it, after this one had failed
        return taken

    def _fetched(self, run: JobRun, bucket: Bucket, taken: TakenObject, path: Path) -> Found | None:
        """A file is there whole or not at all."""
        part = self._places.folder(run.id) / f"source.{id(taken):x}.part"
        found = self._objects.fetch(bucket, taken.key, part)
        if found is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                part.replace(path)
            except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
                raise _unusable(taken.key, "is a folder of other keys, too") from error
        return found

    def _ready(self, turn: Turn, run: JobRun, taken: list[TakenObject]) -> None:
        source, now = run.manifest.settings.source, turn.clock.now()
        values: dict[str, Any] = {"state": QUEUED, "said": "waits for its turn"}
        if source is not None and not taken:
            values = {"state": SUCCEEDED, "said": f"nothing is new in {source.url}", "finished_at": now}
        with turn.apply(store.stands(run)) as tx:
            if source is not None and taken:
                where = {"project": run.project, "environment": run.environment, "job": run.job}
                self._events.emit(tx, TOOK, run.id, **where, said=taking.words(taken, source.url), objects=len(taken))
            store.update(tx, run.id, now, **values)
            say(tx, self._events, store.get(tx, run.id))
            store.changed(tx)

    def _bucket(self, tx: sa.Connection, run: JobRun, place: buckets.Objects) -> Bucket:
        return Bucket.of(place, lambda text: filled(tx, run.place, text, self._secret))


def _below(source: buckets.Objects, key: str) -> str:
    """Where its file lies: what of the key comes after the last slash of the prefix. Raises `Invalid`."""
    folder = source.prefix.rpartition("/")[0]
    path = key[len(folder) + 1 :] if folder else key
    try:
        check_path(path)
    except Problem as problem:
        raise _unusable(key, f"is no path of a file: {problem.message}") from problem
    return str(PurePosixPath(path))


def _unusable(key: str, why: str) -> Invalid:
    said = f"the object {key} {why}"
    return Invalid(said, code="SOURCE_KEY_UNUSABLE", hint="give source.url a longer prefix, or rename the object")
