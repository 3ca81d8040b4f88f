"""Which files were found whole lately, so that not every reader has to hash a gigabyte again.

What is known of a file holds while its status is the one that it had then: whoever writes in it, replaces it or sets
its times moves that, and it is hashed as if nothing were known. What no status tells is a disk that gives other bytes
than it was given; such bytes may pass for KNOWN_FOR_S after the last time that they were hashed. Nothing outlives the
process.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

KNOWN_FOR_S = 3600.0
KNOWN_AT_MOST = 10_000  # then what was hashed longest ago is forgotten
WORTH_BYTES = 1 << 20  # less is hashed in half a millisecond


class Status(NamedTuple):
    device: int
    inode: int
    size: int
    written_ns: int
    changed_ns: int  # also moves when a link to it is made or goes, which says nothing of its bytes


def status(of: int | str | os.PathLike[str]) -> Status:
    """Of an open file or a path."""
    found = os.stat(of)  # noqa: PTH116 - of a descriptor as well
    return Status(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class Known:
    """From any thread. `now`: seconds of a clock that never goes back."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._files: dict[str, tuple[Status, float]] = {}  # by digest, the one hashed longest ago first

    def note(self, digest: str, found: Status) -> None:
        """The file that had this status while it was hashed holds the bytes of `digest`."""
        if found.size < WORTH_BYTES:
            return
        with self._lock:
            self._files.pop(digest, None)
            self._files[digest] = found, self._now()
            if len(self._files) > KNOWN_AT_MOST:
                del self._files[next(iter(self._files))]

    def holds(self, digest: str, found: Status) -> bool:
        """Whether the file that has this status now need not be hashed."""
        known = self._files.get(digest)
        return known is not None and known[0] == found and self._now() < known[1] + KNOWN_FOR_S

    def changed(self, digest: str, before: Status, after: Status) -> None:
        """We have moved the file's change time ourselves, and nothing else."""
        with self._lock:
            known = self._files.get(digest)
            if known is not None and known[0] == before and before[:-1] == after[:-1]:
                self._files[digest] = after, known[1]
