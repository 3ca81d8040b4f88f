"""Bytecode that need not be made twice.

uv makes environments of hard links: the same version of a package is the same files in each of them. What Python has
compiled of such a file is right for all of them, so a new environment takes it from its neighbours, as links too.
Python writes bytecode beside its place and renames it: nothing that one environment does to its own reaches another's.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

_CACHE = "__pycache__"
NEIGHBOURS = 8  # that are looked at, the youngest first: their packages are most like the next one's


def borrow(environment: Path, neighbours: Sequence[Path]) -> int:
    """Links bytecode of files that are the same ones in a neighbour. Returns how many; what cannot be had is left out.
    Tracebacks name this environment's files nevertheless: Python puts the path in when it loads."""
    count = 0
    for place, _, names in os.walk(environment / "lib"):
        folder = Path(place)
        sources = {name[:-3]: (folder / name).lstat().st_ino for name in names if name.endswith(".py")}
        for neighbour in neighbours if sources else ():
            count += _take(sources, neighbour / folder.relative_to(environment), folder / _CACHE)
    return count


def _take(sources: dict[str, int], beside: Path, target: Path) -> int:
    """From the folder `beside`, for the files whose inodes are the same; a neighbour is on the same disk."""
    try:
        compiled = [path.name for path in (beside / _CACHE).iterdir() if path.suffix == ".pyc"]
    except OSError:  # the neighbour has not this package
        return 0
    count = 0
    for name in compiled:
        stem = name.partition(".")[0]
        with contextlib.suppress(OSError):  # there already, or going away: it is compiled then
            if sources.get(stem) == (beside / f"{stem}.py").lstat().st_ino:
                target.mkdir(exist_ok=True)
                os.link(beside / _CACHE / name, target / name)
                count += 1
    return count
