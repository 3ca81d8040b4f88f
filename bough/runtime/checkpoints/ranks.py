"""Several processes, one checkpoint: who saves when, and what makes it complete.

The first process decides. It announces a step that none has reached yet, in a file; whoever comes to that step saves
its shard and leaves it in `pending/`; the first one puts all shards into the manifest, which alone makes a checkpoint.
When a process dies before its shard is there, no manifest is written. Steps end together (gradients are averaged), so
two steps ahead is ahead of everybody.

What is left from an earlier start is told apart by a word that the first process makes up at its start.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import time
from pathlib import Path
from typing import Any, Optional

import msgspec

from bough.runtime.checkpoints import manifest
from bough.runtime.checkpoints.failures import CheckpointError
from bough.runtime.checkpoints.manifest import PENDING, Shard

AHEAD = 2  # offers between an announcement and its step
PATIENCE_S = 600.0  # for the other processes
_LOOK_S = 0.02
_STALE_S = 120.0  # before this process began; for processes that have no number of their start
_WANTED, _RESTORED = "wanted.json", "restored.json"


class Wanted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    key: str
    session: str
    step: int = -1
    stop: bool = False


class Ranks:
    def __init__(self, folder: Path, rank: int, world: int, *, patience_s: float = PATIENCE_S) -> None:
        self.rank, self.world, self._folder, self._patience_s = rank, world, folder, patience_s
        self._key = "/".join(os.environ.get(name, "") for name in ("BOUGH_ATTEMPT", "TORCHELASTIC_RUN_ID",
                                                                   "TORCHELASTIC_RESTART_COUNT"))  # fmt: skip
        self._began = time.time()
        self._seen: tuple[int, Optional[Wanted]] = (0, None)
        self._announced: Optional[Wanted] = None
        self._session = secrets.token_hex(8)
        if self.many and rank == 0:
            for name in (_WANTED, _RESTORED):
                with contextlib.suppress(OSError):
                    (folder / name).unlink()
            for path in (folder / PENDING).glob("*.json"):
                path.unlink()
            self._write(_WANTED, Wanted(key=self._key, session=self._session))

    @property
    def many(self) -> bool:
        return self.world > 1

    def announce(self, step: int, *, stop: bool) -> None:
        """Only of the first process."""
        self._announced = Wanted(key=self._key, session=self._session, step=step, stop=stop)
        self._write(_WANTED, self._announced)

    def wanted(self) -> Optional[Wanted]:
        """What was announced and is of this start."""
        return self._announced if self.rank == 0 else self._read(_WANTED)

    def gather(self, step: int, shard: Shard) -> Optional[list[Shard]]:
        """See `saving.Gather`."""
        if not self.many:
            return [shard]
        if self.rank != 0:
            found = self._read(_WANTED)
            session = found.session if found else ""
            manifest.write(self._pending(step, self.rank), msgspec.structs.replace(shard, session=session))
            return None
        shards, until = {0: shard}, time.monotonic() + self._patience_s
        while len(shards) < self.world:
            for rank in set(range(self.world)) - shards.keys():
                other = manifest.read_shard(self._pending(step, rank))
                if other is not None and other.session == self._session:
                    shards[rank] = other
            if time.monotonic() > until:
                missing = ", ".join(str(rank) for rank in range(self.world) if rank not in shards)
                raise CheckpointError(
                    "CHECKPOINT_RANKS_LOST", f"process {missing} of {self.world} did not save its shard"
                )
            time.sleep(_LOOK_S if len(shards) < self.world else 0.0)
        for rank in range(1, self.world):
            with contextlib.suppress(OSError):
                self._pending(step, rank).unlink()
        return [shards[rank] for rank in range(self.world)]

    def agree_on(self, step: Optional[int]) -> int:
        """The step that all go on from, which the first process has chosen; the others pass None."""
        if not self.many:
            return step or 0
        if (store := _collective()) is not None:
            box = [step]
            store.broadcast_object_list(box, src=0)
            return box[0] or 0
        if self.rank == 0:
            self._write(_RESTORED, Wanted(key=self._key, session=self._session, step=step or 0))
            return step or 0
        until = time.monotonic() + self._patience_s
        while time.monotonic() < until:
            if (found := self._read(_RESTORED)) is not None:
                return found.step
            time.sleep(_LOOK_S)
        raise CheckpointError(
            "CHECKPOINT_RANKS_LOST", f"process {self.rank} waited {self._patience_s:g} s for the first one to restore",
            "call restore() in every process",
        )  # fmt: skip

    def _pending(self, step: int, rank: int) -> Path:
        return self._folder / PENDING / f"{step:012d}.{rank}.json"

    def _write(self, name: str, value: Wanted) -> None:
        temporary = self._folder / f".{name}.{os.getpid()}"
        temporary.write_bytes(msgspec.json.encode(value))
        temporary.replace(self._folder / name)

    def _read(self, name: str) -> Optional[Wanted]:
        path = self._folder / name
        try:
            status = path.stat()
            if name == _WANTED and status.st_mtime_ns == self._seen[0]:
                return self._seen[1]
            found: Optional[Wanted] = msgspec.json.decode(path.read_bytes(), type=Wanted)
        except (OSError, msgspec.DecodeError):
            return None
        if found is None or found.key != self._key or self._is_stale(status.st_mtime):
            found = None
        if name == _WANTED:
            self._seen = (status.st_mtime_ns, found)
        return found

    def _is_stale(self, written_at: float) -> bool:
        return self._key == "//" and written_at < self._began - _STALE_S


def _collective() -> Any:
    """PyTorch's processes, when the program has connected them."""
    torch = sys.modules.get("torch")
    distributed = getattr(torch, "distributed", None)
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return distributed
    return None
