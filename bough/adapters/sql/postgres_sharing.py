"""The library with which the server of an overlay reads what it shares without copying it (`postgres_sharing.c`): built
where a C compiler is, and used where it was seen to work."""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
from pathlib import Path

from bough.kernel import overlay
from bough.kernel.trees import remove_tree
from bough.runtime.pages.extension import library

SOURCE = Path(__file__).with_suffix(".c")
FOLDER = "sharing"  # of a root: where it is built
TRY_S = 20.0
_TABLE = "base/1/1"
# Two look at a table that is shared, one of them writes: the other sees it, and nothing was copied before.
_TRY = f"""
import os, sys
shared = os.path.join(sys.argv[1], {_TABLE!r})
reader, writer = (os.open({_TABLE!r}, os.O_RDWR) for _ in range(2))
assert os.pread(reader, 3, 0) == b"old" and not os.path.exists(shared)
os.pwrite(writer, b"new", 0)
assert os.path.exists(shared) and os.pread(reader, 3, 0) == b"new"
os.truncate({_TABLE!r}, 0)
assert os.fstat(reader).st_size == 0
"""


@functools.cache
def find(root: Path) -> Path | None:
    """None where files of tables are copied when they are first opened."""
    built = library(SOURCE, root / FOLDER, "boughsharing.so")
    return built if built is not None and _works(root / FOLDER, built) else None


def preloaded(library: Path) -> list[str]:
    """What to put before a command."""
    return ["env", f"LD_PRELOAD={library}"]


def _works(folder: Path, built: Path) -> bool:
    place = Path(tempfile.mkdtemp(prefix=".try-", dir=folder))
    try:
        for name in (overlay.LOWER, overlay.UPPER, overlay.WORK, overlay.TREE):
            (place / name).mkdir()
        table = place / overlay.LOWER / _TABLE
        table.parent.mkdir(parents=True)
        table.write_text("old")
        tried = 'cd "$1" && shift && exec "$@"'
        words = [*preloaded(built), sys.executable, "-I", "-c", _TRY, str(place / overlay.UPPER)]
        done = subprocess.run(  # noqa: S603 - our own words
            [*overlay.launcher(place, writable=True, durable=True), "/bin/sh", "-c", tried, "try",
             str(place / overlay.TREE), *words],
            capture_output=True, timeout=TRY_S, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return done.returncode == 0 and table.read_text() == "old"
    except (OSError, subprocess.TimeoutExpired):
        return False
    finally:
        remove_tree(place)
