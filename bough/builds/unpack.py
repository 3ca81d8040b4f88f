"""From a bundle back to a folder: hard links to the blobs, read-only, whole or absent.

Every folder is read-only but for an empty `__pycache__` beside Python files: bytecode is then cached where Python looks
for it, and stays valid because all files have one constant time.
"""

from __future__ import annotations

from pathlib import Path

from bough.adapters.blobs import Blobs
from bough.builds.models import Bundle
from bough.builds.rules import check_paths
from bough.kernel import trees
from bough.kernel.errors import NotFound
from bough.kernel.trees import Leaf, Made


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
    return trees.make(target, lambda building: _lay_out(bundle, blobs, building))


def _lay_out(bundle: Bundle, blobs: Blobs, root: Path) -> Made:
    leaves = [
        Leaf(path=entry.path, digest=entry.digest, size=entry.size, executable=entry.executable)
        for entry in bundle.entries
    ]
    made = trees.lay_out(leaves, blobs, root, checked=True)
    for folder in {entry.path.rpartition("/")[0] for entry in bundle.entries if entry.path.endswith(".py")}:
        (root / folder / "__pycache__").mkdir()
    trees.close_folders(root, but="__pycache__")
    return made
