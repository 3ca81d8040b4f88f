"""Checkpoints of job runs in a bucket, so that they outlive this machine: sent while the program goes on, and fetched
before a run begins that has none here any more.

Below the prefix and the run's id, objects lie as the files do (`runtime/checkpoints/manifest.py`). Chunks are called
after their bytes, so each is sent once. A manifest follows when all its chunks have arrived. So whatever dies in
between, a manifest in the bucket has all its chunks. What gives way on the disk gives way in the bucket, manifests
first; but the newest that is whole there stays until a newer one is. `unsent.py` says what goes first.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from bough.adapters.connectors import Bucket, Objects
from bough.jobs import beginnings, store, unsent
from bough.jobs.many import AGAIN_S, AT_ONCE, groups, listed, renew, together
from bough.jobs.models import KEPT, RUNNING, STOPPING, JobRun
from bough.jobs.units import Places
from bough.jobs.unsent import Unsent
from bough.kernel import trees
from bough.kernel.errors import Conflict, Problem, Unavailable
from bough.kernel.events import Events
from bough.kernel.reconcile import Turn
from bough.runtime.checkpoints import manifest
from bough.runtime.checkpoints.failures import CheckpointError
from bough.runtime.checkpoints.manifest import ChunkRef
from bough.secrets.opening import OpenSecret, filled

SEND_S = 5.0  # between two looks at what a program has saved
HURRY_S = 0.25  # when it was told to end: its last save comes any moment
TELLING_BYTES = 1 << 20  # in one go: less says how long a request takes, and not how fast bytes go
HELD = "sending"  # the folder of what is on its way
BYTES, JSON = "application/octet-stream", "application/json"

log = logging.getLogger("bough.jobs")


class CheckpointBucket:
    """Everything here may be done twice. What a bucket has is listed once for a run, and known from then on."""

    def __init__(self, objects: Objects, secret: OpenSecret, places: Places, events: Events) -> None:
        self._objects, self._secret, self._places, self._events = objects, secret, places, events
        self._there: dict[str, set[str]] = {}  # keys of chunks and manifests, by run
        self._manifests: dict[str, bytes] = {}  # as they were sent, by key
        self._told: dict[str, str] = {}  # of a run, last
        self._rates: dict[str, float] = {}  # of a run: bytes a second, lately

    def send(self, turn: Turn, run: JobRun) -> float | None:
        """What is new on the disk. Until the next look; None: the run does nothing now that would make one useful."""
        folder, more = self._places.checkpoints(run.id), False
        look_s = HURRY_S if run.state == STOPPING else SEND_S
        if manifest.steps(folder):
            try:
                more = self._mirror(turn, run, folder)
            except Problem as problem:
                self._there.pop(run.id, None)  # what of it has arrived is not known
                away = isinstance(problem, Unavailable)
                self._tell(turn, run, f"checkpoints are {'sent later' if away else 'not sent'}: {problem.message}")
                if away:
                    return look_s if run.state == STOPPING else AGAIN_S
        if more:
            return 0.0
        if run.state in (RUNNING, STOPPING):
            return look_s
        self._forget(run)
        return None

    def fetch(self, turn: Turn, run: JobRun) -> None:
        """The newest checkpoint that is whole, if the run begins with some that are not here any more. Raises
        `Conflict` (CHECKPOINT_MISSING) when it was to begin with another one's and there is none either."""
        if not is_wanted(self._places, run):
            return
        bucket, prefix = self._bucket(turn, run)
        building = self._places.folder(run.id) / "fetched"
        for owner in filter(None, (run.id, run.start_from)):
            trees.remove_tree(building)
            step = self._newest(turn, bucket, f"{prefix}{owner}/", building)
            if step is not None:
                beginnings.put(building, self._places.checkpoints(run.id))
                self._tell(turn, run, f"begins at step {step}, which was fetched from {self._url(run)}{owner}/")
                return
        if run.start_from and not beginnings.is_there(self._places, run.start_from):
            raise Conflict(
                f"the checkpoints of {run.start_from} are gone, here and in {self._url(run)}", code="CHECKPOINT_MISSING"
            )

    # --- private

    def _mirror(self, turn: Turn, run: JobRun, folder: Path) -> bool:
        """Sends the checkpoint whose turn it is; whether others are left, or may be. With nothing to send: what is on
        the disk of one that is still being saved."""
        bucket, prefix = self._bucket(turn, run)
        prefix += f"{run.id}/"
        if run.id not in self._there:
            self._there[run.id] = {each.key for each in listed(self._objects, bucket, prefix)}
        there = self._there[run.id]

        def left() -> list[Unsent]:
            return unsent.unsent(folder, prefix, there, self._manifests)

        def overtaken() -> bool:
            hurried = self._left_s(turn, run) is not None
            return hurried and bool(found := left()) and self._first(turn, run, found).key != one.key

        if found := left():
            one = self._first(turn, run, found)
            if not self._sent(turn, run, bucket, self._held(run, one), overtaken):
                return True
            self._objects.write(bucket, one.key, one.content, JSON)
            self._manifests[one.key] = one.content
            there.add(one.key)
            trees.remove_tree(self._places.folder(run.id) / HELD)
        else:
            early = {key: path for key, path in unsent.chunks(folder, prefix).items() if key not in there}
            self._sent(turn, run, bucket, early, lambda: bool(left()))
        if self._left_s(turn, run) is None:
            self._clear(turn, bucket, folder, prefix, there)
        if left():
            return True
        self._tell(turn, run, f"checkpoints are in {self._url(run)}{run.id}/, too")
        return False

    def _first(self, turn: Turn, run: JobRun, found: Sequence[Unsent]) -> Unsent:
        return unsent.first(found, self._left_s(turn, run), self._rates.get(run.id, 0.0))

    def _held(self, run: JobRun, one: Unsent) -> dict[str, Path]:
        """Its chunks by their keys, as links where the disk has room for one more: so they can be sent even if they
        give way meanwhile. Saves that come faster than they go would leave none otherwise."""
        folder = self._places.folder(run.id) / HELD
        trees.remove_tree(folder)
        if shutil.disk_usage(self._places.home).free < one.lacks_bytes:
            return one.chunks
        folder.mkdir(parents=True, mode=0o700)
        held = dict(one.chunks)
        for at, (key, path) in enumerate(one.chunks.items()):
            with contextlib.suppress(OSError):  # it has given way already, or lies on another disk
                os.link(path, folder / str(at))
                held[key] = folder / str(at)
        return held

    def _left_s(self, turn: Turn, run: JobRun) -> float | None:
        """Until it is killed, where it was told to end; None: nothing hurries."""
        with turn.read() as tx:
            now = store.get(tx, run.id)
        return max(now.stop_by - turn.clock.now(), 0.0) if now.state == STOPPING else None

    def _sent(
        self, turn: Turn, run: JobRun, bucket: Bucket, chunks: Mapping[str, Path], enough: Callable[[], bool]
    ) -> bool:  # fmt: skip
        """Whether all of them are there, and not only some when there was `enough`."""
        there = self._there[run.id]
        for keys in groups(chunks, AT_ONCE):
            if enough():
                return False
            began = time.monotonic()
            sent = together(turn, [partial(self._send, bucket, key, chunks[key]) for key in keys])
            there.update(key for key, size in zip(keys, sent, strict=True) if size is not None)
            if (size := sum(filter(None, sent))) >= TELLING_BYTES:
                self._rates[run.id] = size / (time.monotonic() - began)
        return chunks.keys() <= there

    def _clear(self, turn: Turn, bucket: Bucket, folder: Path, prefix: str, there: set[str]) -> None:
        """What is not on the disk any more, unless the folder is on its way out, or changes."""
        manifests = unsent.steps(folder, prefix)
        contents = {key: unsent.content(path) for key, path in manifests.items()}  # read before the chunks are listed
        chunks = unsent.chunks(folder, prefix)
        last = max((key for key in there if key.startswith(f"{prefix}{manifest.STEPS}/")), default="")
        if not contents or (last not in contents and last not in self._manifests):
            return  # the newest that is whole there stays until a newer one is, and nobody knows what it needs
        kept = {last, *unsent.sizes(self._manifests.get(last, b""), prefix)}
        gone = there - chunks.keys() - manifests.keys() - kept
        if not gone or not unsent.needed(contents.values(), prefix) <= chunks.keys():
            return
        if all(content and unsent.content(manifests[key]) == content for key, content in contents.items()):
            self._remove(turn, bucket, prefix, there, gone)

    def _remove(self, turn: Turn, bucket: Bucket, prefix: str, there: set[str], gone: set[str]) -> None:
        """Manifests first."""
        etags = {each.key: each.etag for each in listed(self._objects, bucket, prefix)}
        for key in sorted(gone, key=lambda key: not key.startswith(f"{prefix}{manifest.STEPS}/")):
            if key in etags:
                self._objects.remove(bucket, key, etags[key])
            there.discard(key)
            self._manifests.pop(key, None)
            renew(turn)

    def _send(self, bucket: Bucket, key: str, path: Path) -> int | None:
        """How many bytes; None: it has given way meanwhile."""
        try:
            size = path.stat().st_size
            self._objects.send(bucket, key, path, BYTES)
        except FileNotFoundError:
            return None
        return size

    def _newest(self, turn: Turn, bucket: Bucket, prefix: str, building: Path) -> int | None:
        steps = [each.key for each in listed(self._objects, bucket, f"{prefix}{manifest.STEPS}/")]
        for key in sorted(steps, reverse=True):
            path = building / manifest.STEPS / key.rpartition("/")[2]
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._objects.fetch(bucket, key, path)
            with contextlib.suppress(CheckpointError, FileNotFoundError):
                about = manifest.read(path)
                wanted = [(shard.rank, chunk) for shard in about.shards for chunk in shard.chunks]
                calls = [partial(self._fetched, bucket, prefix, building, *each) for each in dict.fromkeys(wanted)]
                if all(ok for some in groups(calls, AT_ONCE) for ok in together(turn, some)):
                    return about.step
            path.unlink(missing_ok=True)  # the one before may be whole
        return None

    def _fetched(self, bucket: Bucket, prefix: str, building: Path, rank: int, chunk: ChunkRef) -> bool:
        path = building / manifest.CHUNKS / str(rank) / chunk.digest
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = f"{prefix}{manifest.CHUNKS}/{rank}/{chunk.digest}"
        if self._objects.fetch(bucket, key, path) is None:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == chunk.digest

    def _bucket(self, turn: Turn, run: JobRun) -> tuple[Bucket, str]:
        place = run.manifest.settings.checkpoints
        assert place is not None  # noqa: S101 - asked before
        with turn.read() as tx:
            return Bucket.of(place, lambda text: filled(tx, run.place, text, self._secret)), place.prefix

    def _url(self, run: JobRun) -> str:
        place = run.manifest.settings.checkpoints
        return place.url if place is not None else ""

    def _tell(self, turn: Turn, run: JobRun, said: str) -> None:
        """Once, until there is something else to say."""
        if self._told.get(run.id) == said:
            return
        self._told[run.id] = said
        log.info("%s: %s", run.id, said)
        where = {"project": run.project, "environment": run.environment, "job": run.job}
        with turn.apply() as tx:
            self._events.emit(tx, KEPT, run.id, **where, said=said)

    def _forget(self, run: JobRun) -> None:
        if run.ended:
            for key in self._there.pop(run.id, ()):
                self._manifests.pop(key, None)
            self._told.pop(run.id, None)
            self._rates.pop(run.id, None)


def is_wanted(places: Places, run: JobRun) -> bool:
    """Whether a run would begin with checkpoints that are not on this machine."""
    if run.manifest.settings.checkpoints is None or beginnings.is_there(places, run.id):
        return False
    if run.start_from and not run.attempt:
        return not beginnings.is_there(places, run.start_from)
    return run.attempt > 0
