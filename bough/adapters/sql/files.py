"""Plain SQLite files: a branch is a clone (the file system shares blocks) or a copy of the file, made while writers
wait. Any program opens them; nothing has to know Bough.

    <root>/<id>/data.db     its way stands in the id: clone_…, copy_…
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Collection
from pathlib import Path

from bough.adapters.sql import Cut, locks
from bough.adapters.sql.pages import WITHIN_S, NeedsRecovery, is_hot, is_wal, pending_wal
from bough.kernel.errors import NotFound
from bough.kernel.files import as_exhausted, cloned
from bough.kernel.names import new_id
from bough.kernel.trees import remove_tree

CLONE, COPY = "clone", "copy"


class Files:
    def __init__(self, root: Path) -> None:
        self._root, self._settled = root, set[str]()

    def path(self, handle: str) -> Path:
        return self._root / handle / "data.db"

    def way(self, handle: str) -> str:
        return handle.partition("_")[0]

    def clones(self) -> bool:
        """Whether the file system can clone; tried with a file."""
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = self._root / f".probe-{os.getpid()}-{time.monotonic_ns()}"
        try:
            probe.write_bytes(b"x" * 4096)
            return cloned(probe, probe.with_suffix(".clone"))
        finally:
            probe.unlink(missing_ok=True)
            probe.with_suffix(".clone").unlink(missing_ok=True)

    def make(self, way: str, source: Path | None = None) -> str:
        with as_exhausted(self._root):
            handle = new_id(way)
            path = self.path(handle)
            path.parent.mkdir(parents=True, mode=0o700)
            if source is not None:
                source.replace(path)
        return handle

    def cut(self, handle: str) -> Cut:
        path = self.path(handle)
        if not path.exists():
            raise NotFound(f"the database {handle} is not on this disk", code="DATABASE_LOST", hint="bough db restore")
        made = new_id(self.way(handle))
        target = self.path(made)
        with as_exhausted(self._root):
            target.parent.mkdir(parents=True, mode=0o700)
            try:
                held_s, copied = self._take(path, target)
            except BaseException:
                remove_tree(target.parent)
                raise
        return Cut(handle=made, size=target.stat().st_size, held_s=held_s, copied_bytes=copied)

    def settle(self, handle: str) -> None:
        if handle in self._settled:
            return
        self._settled.add(handle)
        for path in self.path(handle).parent.glob("data.db*"):
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                os.fsync(file.fileno())

    def own_bytes(self, handle: str) -> int:
        return sum(each.stat().st_blocks * 512 for each in self.path(handle).parent.glob("*"))

    def close(self, handle: str) -> None:
        """Whoever has it open keeps the file that it has, under no name."""
        folder = self.path(handle).parent
        with contextlib.suppress(FileNotFoundError):
            folder.rename(folder.with_name(f".gone-{handle}"))

    def sweep(self, live: Collection[str], older_than_s: float) -> int:
        before, freed = time.time() - older_than_s, 0
        for folder in self._root.iterdir() if self._root.is_dir() else []:
            if folder.name not in live and folder.stat().st_mtime < before:
                freed += sum(each.stat().st_blocks * 512 for each in folder.glob("*"))
                remove_tree(folder)
        return freed

    def _take(self, path: Path, target: Path) -> tuple[float, int]:
        while True:
            wal = is_wal(path)
            with locks.writers_held(path, wal=wal, within_s=WITHIN_S) as held:
                if is_wal(path) != wal:
                    continue
                if is_hot(path):
                    raise NeedsRecovery(str(path))
                began, copied = time.perf_counter(), 0
                if not (self.way(target.parent.name) == CLONE and cloned(path, target)):
                    shutil.copyfile(path, target)
                    copied += target.stat().st_size
                if pending_wal(path, is_live=held.wal_is_live):
                    shutil.copyfile(f"{path}-wal", f"{target}-wal")
                    copied += Path(f"{target}-wal").stat().st_size
                return held.waited_s + time.perf_counter() - began, copied
