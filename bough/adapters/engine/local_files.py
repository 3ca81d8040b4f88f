"""Files through which the local engine, shims and zygotes speak: written whole, read tolerantly."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from pathlib import Path
from typing import TypeVar

import msgspec

from bough.adapters.engine import LogChunk
from bough.kernel.files import as_exhausted
from bough.runtime.spec import Started

T = TypeVar("T")

_CHUNK_BYTES = 65536


def write_whole(path: Path, data: bytes) -> None:
    """Replaces `path` in one step. Safe against the death of any process; not flushed, because after a power loss
    no unit runs any more and an unreadable file says no less than a missing one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}~")
    with as_exhausted(path):
        try:
            temporary.write_bytes(data)
            temporary.rename(path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise


def read_whole(path: Path, kind: type[T]) -> T | None:
    """None when the file is missing or (after a power loss) not what it should be."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, NotADirectoryError, msgspec.MsgspecError):
        return None


def claim_for_nobody(folder: Path) -> bool:
    """Makes sure that no shim will ever run the attempt in `folder`. False when one has begun already."""
    temporary = folder / f".claim.{os.getpid()}.{threading.get_ident()}"
    nobody = Started(shim_pid=0, shim_starttime=0, pid=0, starttime=0, at=time.time())
    with as_exhausted(temporary):
        temporary.write_bytes(msgspec.json.encode(nobody))
    try:
        (folder / "pid.json").hardlink_to(temporary)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True


def point(link: Path, target: Path) -> None:
    """Makes `link` a symbolic link to `target`, in one step."""
    temporary = link.with_name(f".{link.name}.{os.getpid()}.{threading.get_ident()}~")
    with as_exhausted(link):
        temporary.symlink_to(target)
        temporary.rename(link)


def remove_tree(folder: Path) -> None:
    """Gone at once under its name, then removed; what a crash leaves over is named `.trash-…` and removed at start."""
    trash = folder.with_name(f".trash-{folder.name}-{time.monotonic_ns()}")
    try:
        folder.rename(trash)
    except FileNotFoundError:
        return
    shutil.rmtree(trash, ignore_errors=True)


def read_log(folder: Path, offset: int) -> LogChunk | None:
    """The next output at or after `offset`; None at the present end."""
    while True:
        starts = _segments(folder)
        index = max((i for i, start in enumerate(starts) if start <= offset), default=0)
        if index >= len(starts):
            return None
        start = max(offset, starts[index])
        try:
            # Listed first, read second: a segment that has a successor does not grow any more.
            with (folder / f"log.{starts[index]:020d}").open("rb") as segment:
                segment.seek(start - starts[index])
                data = segment.read(_CHUNK_BYTES)
        except FileNotFoundError:
            continue  # rotated away between the two
        if data:
            return LogChunk(offset=start, data=data)
        if index + 1 >= len(starts):
            return None
        offset = starts[index + 1]


def drop_logs(folder: Path) -> None:
    for start in _segments(folder):
        with contextlib.suppress(OSError):
            (folder / f"log.{start:020d}").unlink()


def _segments(folder: Path) -> list[int]:
    try:
        names = os.listdir(folder)  # noqa: PTH208 - names only; a Path per entry is ten times slower
    except FileNotFoundError:
        return []
    return sorted(int(name[4:]) for name in names if name.startswith("log.") and name[4:].isdigit())
