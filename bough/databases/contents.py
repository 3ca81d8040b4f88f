"""Databases as blobs: what they begin with, and backups."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bough.adapters.blobs import Blobs
from bough.kernel.context import Context
from bough.kernel.files import as_exhausted
from bough.kernel.platform import Home


@contextlib.contextmanager
def taken_out(context: Context, digest: str) -> Iterator[Path | None]:
    """A blob as a file, while it is needed; None without a digest."""
    if not digest:
        yield None
        return
    with scratch(context) as folder:
        path = folder / "content"
        with path.open("wb") as file:
            context.part(Blobs).write_to(digest, file.fileno())
        yield path


@contextlib.contextmanager
def scratch(context: Context) -> Iterator[Path]:
    """A folder of its own on the disk of Bough's home, gone afterwards."""
    place = context.part(Home).run
    place.mkdir(parents=True, exist_ok=True)
    with as_exhausted(place), tempfile.TemporaryDirectory(dir=place, prefix="database-") as folder:
        yield Path(folder)
