"""From a bundle back to a folder: hard links to the blobs, read-only, whole or absent.

Every folder is read-only but for an empty `__pycache__` beside Python files: bytecode is then cached where Python looks
for it, and stays valid because all files have one constant time.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from bough.adapters.blobs import Blobs
from bough.builds.models import Bundle, Entry
from bough.builds.rules import check_paths
from bough.kernel.errors import NotFound
from bough.kernel.files import MTIME_S, as_exhausted, locked

CHUNK_BYTES = 1 << 20

_CANNOT_LINK = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS)


def unpack(bundle: Bundle, blobs: Blobs, target: Path) -> bool:
    """Makes `target` hold the files of `bundle`; False when it did already. Idempotent, safe for many at once and
    against kill -9. Raises `Invalid` (PATH_UNSAFE), `NotFound` (BUNDLE_INCOMPLETE), `Problem` (BLOB_DAMAGED),
    `Exhausted`; `target` is then absent."""
    if target.is_dir():
        return False
    check_paths(entry.path for entry in bundle.entries)
    if absent := blobs.missing(entry.digest for entry in bundle.entries):
        raise NotFound(
            f"{len(absent)} of the bundle's files were never sent", code="BUNDLE_INCOMPLETE", hint="bough deploy",
            missing=absent[:10],
        )  # fmt: skip
    with as_exhausted(target.parent), locked(target.parent / f".{target.name}.lock"):
        if target.is_dir():
            return False
        building = target.parent / f".{target.name}.building"
        remove_tree(building)
        try:
            _lay_out(bundle, blobs, building)
            building.rename(target)
        except BaseException:
            remove_tree(building)
            raise
    return True


def remove_tree(folder: Path) -> None:
    """Removes a folder that `unpack` made read-only; does nothing when absent."""
    if not folder.exists():
        return
    for place, _, _ in os.walk(folder):  # top-down: a folder is made writable before it is listed
        Path(place).chmod(0o755)
    shutil.rmtree(folder)


def _lay_out(bundle: Bundle, blobs: Blobs, root: Path) -> None:
    root.mkdir(parents=True)
    folders = {""} | {entry.path.rpartition("/")[0] for entry in bundle.entries}
    for folder in sorted(folders):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for entry in bundle.entries:
        _place(entry, blobs, root / entry.path)
    for folder in {entry.path.rpartition("/")[0] for entry in bundle.entries if entry.path.endswith(".py")}:
        (root / folder / "__pycache__").mkdir()
    for place, _, _ in os.walk(root, topdown=False):
        if os.path.basename(place) != "__pycache__":  # noqa: PTH119 - a string from os.walk
            Path(place).chmod(0o555)


def _place(entry: Entry, blobs: Blobs, path: Path) -> None:
    source = None if entry.executable else blobs.local_path(entry.digest)
    if source is not None:
        with blobs.open(entry.digest) as checked:  # a link shows whatever the disk made of the blob: read it once
            while checked.read(CHUNK_BYTES):
                pass
        try:
            os.link(source, path)
            return
        except OSError as error:
            if error.errno not in _CANNOT_LINK:
                raise
    with blobs.open(entry.digest) as checked, path.open("xb") as file:
        shutil.copyfileobj(checked, file, CHUNK_BYTES)
    path.chmod(0o555 if entry.executable else 0o444)
    os.utime(path, (MTIME_S, MTIME_S))
