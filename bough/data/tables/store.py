"""Where the files of a version are on this machine, checked before they are read for the first time."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterable
from pathlib import Path

from bough.adapters.blobs import Blobs
from bough.adapters.tables import Column, Part, Relation
from bough.data.tables.models import DataFile, Version
from bough.kernel.errors import NotFound, Problem
from bough.kernel.files import as_exhausted

CHUNK_BYTES = 1 << 20


class TableFiles:
    """DuckDB reads files, not checked streams; so a blob is hashed when this process first uses it, and again when its
    file is no longer the one that was hashed. A bit that flips later is found by `verify`."""

    def __init__(self, blobs: Blobs, folder: Path) -> None:
        """`folder` holds copies, if the blobs are kept where no file can be had."""
        self.blobs = blobs
        self._folder = folder
        self._checked: dict[str, tuple[int, int, int]] = {}
        self._lock = threading.Lock()

    def keep(self, path: Path) -> str:
        """Stores a file that has just been written; its digest. It is known to be whole."""
        with path.open("rb") as stream:
            digest = self.blobs.put(stream)
        self._remember(digest, self._local(digest))
        return digest

    def path(self, digest: str) -> Path:
        """A file with the bytes of `digest`. Raises `Problem` (BLOB_DAMAGED) or `NotFound` (BLOB_NOT_FOUND)."""
        path = self._local(digest)
        with self._lock:
            known = self._checked.get(digest)
        if known != _state(path):
            self._check(digest)
            self._remember(digest, path)
        return path

    def forget(self, digest: str) -> None:
        """Removes a copy, when the blob is erased."""
        with self._lock:
            self._checked.pop(digest, None)
        (self._folder / digest).unlink(missing_ok=True)

    def verify(self, digests: Iterable[str]) -> list[Problem]:
        """Reads all of it; what is damaged or missing."""
        found = []
        for digest in sorted(digests):
            try:
                self._check(digest)
            except (NotFound, Problem) as problem:
                found.append(problem)
        return found

    def relation(self, version: Version, places: Iterable[int] | None = None) -> Relation:
        """The version, or only the files at some places in it, for a session; parts are numbered by place."""
        wanted = range(len(version.files)) if places is None else sorted(places)
        return Relation(
            columns=[Column(each.name, each.type) for each in version.fields],
            parts=[self._part(version, at, version.files[at]) for at in wanted],
        )

    def _part(self, version: Version, number: int, file: DataFile) -> Part:
        held = version.layouts[file.layout].columns
        gone = file.deleted
        return Part(
            number=number,
            path=str(self.path(file.blob)),
            columns={each.name: held[each.id] for each in version.fields if each.id in held},
            first_row=file.first_row,
            deleted=str(self.path(gone.blob)) if gone else "",
            deletions=gone.rows if gone else 0,
        )

    def _local(self, digest: str) -> Path:
        found = self.blobs.local_path(digest)
        if found is not None:
            return found
        copy = self._folder / digest
        if not copy.exists():
            with as_exhausted(self._folder):
                self._folder.mkdir(parents=True, exist_ok=True)
                part = copy.with_name(f"{digest}.{threading.get_ident()}")
                with self.blobs.open(digest) as stream, part.open("wb") as file:
                    shutil.copyfileobj(stream, file, CHUNK_BYTES)
                part.replace(copy)
        return copy

    def _check(self, digest: str) -> None:
        with self.blobs.open(digest) as stream:
            while stream.read(CHUNK_BYTES):
                pass

    def _remember(self, digest: str, path: Path) -> None:
        with self._lock:
            self._checked[digest] = _state(path)


def _state(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino
