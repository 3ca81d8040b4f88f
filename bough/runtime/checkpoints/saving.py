"""The second phase of a save: from memory to the disk, in a thread, while the program goes on.

Chunks first, until they are durable; then the manifest, whole; then what the new checkpoint made superfluous goes. A
kill at any point leaves every older checkpoint as it was. A disk that is full costs this checkpoint: older ones than
the newest give way, and if that is not enough the program is told and goes on."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from pathlib import Path
from typing import Any, Callable, Optional

import msgspec

from bough.runtime.checkpoints import manifest, retention
from bough.runtime.checkpoints.checking import moment
from bough.runtime.checkpoints.chunks import Chunks
from bough.runtime.checkpoints.disk import sweep
from bough.runtime.checkpoints.failures import CheckpointError
from bough.runtime.checkpoints.manifest import Item, Manifest, Shard
from bough.runtime.checkpoints.retention import Keep


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A copy of the state. Whoever persists it must be done before its memory is used again."""

    plain: bytes
    pieces: dict[str, list[Any]]  # memoryviews, by entry


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    step: int
    saved_at: float = 0.0  # 0: it was not saved
    save_s: float = 0.0
    written_bytes: int = 0
    message: str = ""


# Puts the shards of all processes into one manifest: given this process's shard, the shards of all, in order of rank;
# None when another process does it. Raises `CheckpointError` when one is missing.
Gather = Callable[[int, Shard], Optional["list[Shard]"]]


class Saver:
    """One save at a time."""

    def __init__(self, folder: Path, rank: int, keep: Keep, gather: Gather) -> None:
        self._folder, self._rank, self._keep, self._gather = folder, rank, keep, gather
        for name in (manifest.STEPS, manifest.PENDING):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self.chunks = Chunks(folder, rank)
        sweep(self.chunks.folder)
        if rank == 0:
            sweep(folder / manifest.STEPS)
            sweep(folder / manifest.PENDING)
        self._lately: list[Shard] = []  # of this process, perhaps in no manifest yet
        self._thread: Optional[threading.Thread] = None
        self._outcomes: list[Outcome] = []
        self.failed = False  # the last one
        self._seen: dict[int, tuple[float, list[Shard]]] = {}

    @property
    def busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def begin(self, snapshot: Snapshot, about: Manifest) -> None:
        """The thread keeps the interpreter alive until it is done: a program that simply ends has saved."""
        self._thread = threading.Thread(target=self._run, args=(snapshot, about), name="bough-checkpoint")
        self._thread.start()

    def wait(self, timeout_s: Optional[float] = None) -> bool:
        if self._thread is not None:
            self._thread.join(timeout_s)
        return not self.busy

    def outcomes(self) -> list[Outcome]:
        """What has ended since the last call."""
        found, self._outcomes = self._outcomes, []
        return found

    def _run(self, snapshot: Snapshot, about: Manifest) -> None:
        began, before = time.monotonic(), self.chunks.written_bytes
        try:
            self._persist(snapshot, about)
            found = Outcome(step=about.step, saved_at=time.time(), save_s=time.monotonic() - began,
                            written_bytes=self.chunks.written_bytes - before)  # fmt: skip
        except (OSError, CheckpointError) as error:
            why = f"{error.strerror} in {self._folder}" if isinstance(error, OSError) else error.message
            found = Outcome(step=about.step, message=f"step {about.step} was not saved: {why}; the training goes on")
        except BaseException as error:  # a thread that dies would be taken for one that saved
            found = Outcome(step=about.step, message=f"step {about.step} was not saved: {error!r}")
        self.failed = not found.saved_at
        self._outcomes.append(found)

    def _persist(self, snapshot: Snapshot, about: Manifest) -> None:
        moment("persist")
        try:
            shard = self._write(snapshot)
        except OSError:
            self.chunks.abandon()
            if self._rank != 0 or not self._make_room():
                raise
            shard = self._write(snapshot)
        moment("chunks settled")
        self._lately = [*self._lately[-1:], shard]
        shards = self._gather(about.step, shard)
        if shards is not None:
            manifest.write(manifest.place(self._folder, about.step), msgspec.structs.replace(about, shards=shards))
            moment("manifest written")
            self._drop(retention.superfluous(manifest.steps(self._folder), self._keep))
        with contextlib.suppress(OSError):  # what stays too long is collected after the next save
            self._collect()
        moment("collected")

    def _write(self, snapshot: Snapshot) -> Shard:
        try:
            items = []
            for name, pieces in snapshot.pieces.items():
                refs = self.chunks.put(pieces)
                content = hashlib.sha256("".join(ref.digest for ref in refs).encode()).hexdigest()
                items.append(Item(name=name, chunks=refs, size=sum(ref.size for ref in refs), content=content))
            plain = self.chunks.put([snapshot.plain])[0]
            self.chunks.settle()
        except BaseException:
            self.chunks.abandon()
            raise
        return Shard(rank=self._rank, plain=plain, items=items)

    def _make_room(self) -> bool:
        gone = retention.may_give_way(manifest.steps(self._folder), self._keep)
        self._drop(gone)
        self._collect()
        return bool(gone)

    def _drop(self, steps: list[int]) -> None:
        for step in steps:
            with contextlib.suppress(OSError):
                manifest.place(self._folder, step).unlink()
            moment("manifest dropped")

    def _collect(self) -> None:
        """Each process its own chunks; the first one also those of processes that are no more."""
        shards = [shard for step in manifest.steps(self._folder) for shard in self._shards_of(step)]
        own = [shard for shard in shards if shard.rank == self._rank]
        self.chunks.collect(ref for shard in (*own, *self._lately) for ref in shard.chunks)

    def _shards_of(self, step: int) -> list[Shard]:
        path = manifest.place(self._folder, step)
        with contextlib.suppress(OSError, CheckpointError):
            at = path.stat().st_mtime
            if self._seen.get(step, (0.0,))[0] != at:
                self._seen[step] = (at, manifest.read(path).shards)
            return self._seen[step][1]
        return []
