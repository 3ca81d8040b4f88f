"""Bytes of checkpoints, kept under the digest of what they are: equal bytes are written once.

Every process has a folder of its own, and is the only one that writes and clears it; so what one is about to refer to
is never taken away by another. A chunk is believed to be there only if this process has written or read it: what an
earlier one left is read before it is referred to."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bough.runtime.checkpoints import digests, disk
from bough.runtime.checkpoints.checking import moment
from bough.runtime.checkpoints.failures import damaged
from bough.runtime.checkpoints.manifest import CHUNKS, ChunkRef
from bough.runtime.verified import digest_of

_OPEN_AT_ONCE = 256  # files that wait for the disk


class Chunks:
    def __init__(self, folder: Path, rank: int) -> None:
        self.folder = folder / CHUNKS / str(rank)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._checked: set[str] = set()
        self._waiting: list[tuple[str, Any, int]] = []
        self.written_bytes = 0  # since the beginning

    def put(self, contents: Sequence[disk.Content]) -> list[ChunkRef]:
        """There, and durable, after the next `settle`."""
        refs = []
        with contextlib.closing(digests.ahead(contents)) as found:
            for content, digest in zip(contents, found):
                size = len(content)
                if not self._has(digest, size):
                    self._write(digest, content)
                    self.written_bytes += size
                refs.append(ChunkRef(digest, size))
        return refs

    def settle(self) -> None:
        """Everything that was put is on the disk, under its name."""
        try:
            for digest, place, descriptor in self._waiting:
                os.fdatasync(descriptor)
                place.replace(self.folder / digest)
                self._checked.add(digest)
                moment("chunk named")
            if self._waiting:
                disk.sync_folder(self.folder)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Forgets what has not been settled."""
        for digest, place, descriptor in self._waiting:
            os.close(descriptor)
            if digest not in self._checked:
                with contextlib.suppress(OSError):
                    place.unlink()
        self._waiting.clear()

    def confirm(self, ref: ChunkRef) -> None:
        """The caller has read it and its digest was right."""
        self._checked.add(ref.digest)

    def collect(self, needed: Iterable[ChunkRef]) -> None:
        """Takes away what nothing needs."""
        keep = {ref.digest for ref in needed}
        for path in self.folder.iterdir():
            if path.name not in keep and not path.name.startswith(disk.TEMPORARY):
                self._checked.discard(path.name)
                with contextlib.suppress(OSError):
                    path.unlink()
                moment("chunk collected")

    def _has(self, digest: str, size: int) -> bool:
        if any(waiting == digest for waiting, _, _ in self._waiting):
            return True
        path = self.folder / digest
        try:
            if path.stat().st_size != size:
                return False
        except OSError:
            self._checked.discard(digest)
            return False
        if digest not in self._checked and _digest_of(path) == digest:
            self._checked.add(digest)
        return digest in self._checked

    def _write(self, digest: str, content: disk.Content) -> None:
        if len(self._waiting) >= _OPEN_AT_ONCE:
            self.settle()
        place = self.folder / f"{disk.TEMPORARY}{os.getpid()}-{digest}"
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        self._waiting.append((digest, place, descriptor))
        disk.write(descriptor, content)
        disk.start_writing(descriptor, 0, len(content))
        moment("chunk written")


def read(folder: Path, rank: int, ref: ChunkRef, into: memoryview) -> None:
    """Fills `into`, which has the chunk's size; raises CHECKPOINT_DAMAGED unless the bytes are those that were
    saved."""
    path = folder / CHUNKS / str(rank) / ref.digest
    try:
        with path.open("rb", buffering=0) as file:
            done = 0
            while done < len(into) and (count := file.readinto(into[done:])):
                done += count
            longer = bool(file.read(1))
    except OSError as error:
        raise damaged(f"{path} cannot be read: {error.strerror}") from error
    if done != ref.size or longer or hashlib.sha256(into).hexdigest() != ref.digest:
        raise damaged(f"{path} is not what was written")


def _digest_of(path: Path) -> str:
    try:
        return digest_of(path)
    except OSError:
        return ""
