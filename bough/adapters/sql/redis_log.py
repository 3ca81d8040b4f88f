"""The append-only log of Redis, which is all that a database of Redis has on the disk: shared with a branch at a cut,
and made the branch's own when it first starts.

    data/appendonly.aof                     until Redis 7: one file, a snapshot first, then commands
    data/appendonlydir/….manifest, …        since: a list, a snapshot (base), commands since (incr)

What was written into such a file is never changed: Redis appends, and a rewrite makes other files. So a cut is a hard
link and a length for each, whatever their size. A branch must not append to its parent's file: before its server
starts, each file that grows is cloned, or copied, up to its length. Files that do not grow stay shared.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from bough.kernel.files import share_blocks, sync_path, write_whole
from bough.kernel.trees import remove_tree

SINGLE, FOLDER = "appendonly.aof", "appendonlydir"
MANIFEST = f"{FOLDER}/{SINGLE}.manifest"
TAKEN = "taken.json"  # beside the data: lengths of the files that were shared, until they are the database's own
_GROWS, _PAST = "i", "h"  # kinds of files in a manifest: commands since the base, what a rewrite has left
_TRIES = 5  # a rewrite that ends meanwhile takes files away


def files_of(data: Path) -> dict[str, bool]:
    """The log's files by name, and whether Redis appends to them; none of a database that never started."""
    manifest = data / MANIFEST
    if not manifest.exists():
        return {SINGLE: True} if (data / SINGLE).exists() else {}
    named = [line.split() for line in manifest.read_text().splitlines() if line.strip()]
    kinds = {words[1]: words[5] for words in named}  # file NAME seq NUMBER type KIND
    return {MANIFEST: False} | {f"{FOLDER}/{name}": kind == _GROWS for name, kind in kinds.items() if kind != _PAST}


def main_file(data: Path) -> Path:
    """What Redis's own program for checks is given."""
    return data / (MANIFEST if (data / MANIFEST).exists() else SINGLE)


def size(place: Path, *, growing: bool = False) -> int:
    """Bytes of the log of the database in the folder `place`, as a branch would begin with it; `growing`: only of the
    files that it does not share for ever."""
    taken, total = _taken(place), 0
    for name, grows in files_of(place / "data").items():
        with contextlib.suppress(FileNotFoundError):  # a rewrite has ended
            if grows or not growing:
                total += taken.get(name, (place / "data" / name).stat().st_size)
    return total


def share(source: Path, target: Path) -> int:
    """Gives the database in the folder `target` the log of the one in `source`, as it is now; its bytes. Nobody appends
    to it meanwhile."""
    taken, there, data = _taken(source), source / "data", target / "data"
    for _ in range(_TRIES):
        remove_tree(data / FOLDER)
        (data / FOLDER).mkdir(parents=True, mode=0o700)
        lengths = dict[str, int]()
        try:
            if (there / MANIFEST).exists():  # the parts are those of the list that is shared: another may follow it now
                (data / MANIFEST).hardlink_to(there / MANIFEST)
            for name in files_of(data) or files_of(there):
                if name != MANIFEST:
                    (data / name).unlink(missing_ok=True)
                    (data / name).hardlink_to(there / name)
                lengths[name] = taken.get(name, (data / name).stat().st_size)
        except FileNotFoundError:
            continue
        write_whole(target / TAKEN, msgspec.json.encode(lengths), synced=False)
        return sum(lengths.values())
    raise FileNotFoundError(f"the log in {source} does not hold still")


def take_over(place: Path) -> None:
    """Makes a log that was shared the database's own. What a kill at any moment leaves is done again; when it returns,
    the disk is sure of it. Nobody else uses the database meanwhile."""
    taken, data = _taken(place), place / "data"
    for name, grows in files_of(data).items():
        path = data / name
        if grows and path.stat().st_nlink > 1:
            _replace_by_own(path, taken.get(name, path.stat().st_size))
        elif grows and name in taken:  # who shared it has another one by now
            os.truncate(path, taken[name])
    if taken:
        sync(place)
        (place / TAKEN).unlink()
        sync_path(place)  # before anything is appended: the lengths must not come back


def sync(place: Path) -> None:
    """All of the log reaches the disk."""
    data = place / "data"
    for path in (*(data / name for name in files_of(data)), place / TAKEN, data / FOLDER, data, place, place.parent):
        with contextlib.suppress(FileNotFoundError):
            sync_path(path)


def _taken(place: Path) -> dict[str, int]:
    try:
        return msgspec.json.decode((place / TAKEN).read_bytes(), type=dict[str, int])
    except FileNotFoundError:
        return {}


def _replace_by_own(path: Path, length: int) -> None:
    own = path.with_name(f"{path.name}.own")
    try:
        with path.open("rb") as old, own.open("wb") as new:
            if not share_blocks(old, new):
                done = 0
                while done < length and (sent := os.sendfile(new.fileno(), old.fileno(), done, length - done)):
                    done += sent
            new.truncate(length)
            os.fsync(new.fileno())
        own.chmod(0o600)
        own.rename(path)
    finally:
        own.unlink(missing_ok=True)  # of a full disk
