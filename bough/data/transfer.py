"""Files between a user's disk and blobs, in either direction, with several threads and without a second copy.

`Store` is what the way in has to offer: `Direct` for the blobs of this machine, and one over HTTP for a server
somewhere else (`entrypoints/cli/data_store.py`). What is there already is not sent again, and a file that lies at its
place already is not fetched again; both are decided by digest, never by name or time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

import msgspec

from bough.adapters.blobs import Batch, Blobs
from bough.data.local import LocalFile
from bough.data.models import File
from bough.data.rules import check_file_path
from bough.kernel.errors import Invalid
from bough.kernel.files import as_exhausted

THREADS = min(4, os.cpu_count() or 1)

_T = TypeVar("_T")


class Sender(Protocol):
    def put(self, content: BinaryIO, size: int, digest: str) -> str:
        """Takes a file; with `digest` its content is known to be that. From any thread."""


class Store(Protocol):
    hashes_first: bool  # whether a digest has to be known before a file is sent

    def missing(self, digests: list[str]) -> list[str]: ...

    def sending(self) -> AbstractContextManager[Sender]:
        """What was put is there, durably, when the block ends."""

    def fetch(self, digest: str, size: int, descriptor: int, there: int) -> None:
        """Writes a blob into a file, after the `there` bytes of it that the file holds, and checks all of it. Raises
        `NotFound`, `Problem` (BLOB_DAMAGED)."""


class Direct:
    """The blobs of this machine, without a server between."""

    hashes_first = False

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def missing(self, digests: list[str]) -> list[str]:
        return self._blobs.missing(digests)

    @contextlib.contextmanager
    def sending(self) -> Iterator[Sender]:
        with self._blobs.batch() as batch:
            yield _Batched(batch)

    def fetch(self, digest: str, size: int, descriptor: int, there: int) -> None:
        if there:  # copying anew is as fast as checking it. Never cut an empty file: ext4 would flush it at its close
            os.ftruncate(descriptor, 0)
        self._blobs.write_to(digest, descriptor)


class _Batched:
    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def put(self, content: BinaryIO, size: int, digest: str) -> str:
        return self._batch.put(content, expect=digest)


class Counters(msgspec.Struct, kw_only=True):
    """What a transfer did. `cached_bytes` needed no sending or fetching."""

    files: int = 0
    bytes: int = 0
    cached_files: int = 0
    cached_bytes: int = 0
    seconds: float = 0.0

    @property
    def mb_per_s(self) -> float:
        return round(self.bytes / 1e6 / self.seconds, 1) if self.seconds else 0.0


class Progress:
    """Counts, and tells `say` at most once a second."""

    def __init__(self, total_files: int, total_bytes: int, say: Callable[[Counters, int, int], None]) -> None:
        self.counters = Counters()
        self._total, self._say = (total_files, total_bytes), say
        self._lock = threading.Lock()
        self._began = self._said = time.monotonic()

    def add(self, size: int, *, cached: bool) -> None:
        with self._lock:
            found = self.counters
            found.files, found.bytes = found.files + 1, found.bytes + size
            if cached:
                found.cached_files, found.cached_bytes = found.cached_files + 1, found.cached_bytes + size
            if (now := time.monotonic()) - self._said > 1.0:
                self._said, found.seconds = now, now - self._began
                self._say(found, *self._total)

    def end(self) -> Counters:
        self.counters.seconds = round(time.monotonic() - self._began, 3)
        return self.counters


def put(files: list[LocalFile], known: Mapping[str, File], store: Store, progress: Progress) -> list[File]:
    """Sends files and says under which digests; `known` are those that stood at these paths before."""
    made: dict[str, File] = {}
    if not store.hashes_first:
        here = _here(files, known, store)
        with store.sending() as sender:
            _each(
                files, lambda file: made.__setitem__(file.path, _put(file, here.get(file.path, ""), sender, progress))
            )
    else:
        digests: dict[str, str] = {}
        _each(files, lambda file: digests.__setitem__(file.path, _digest_of(file.place)))
        missing = set(store.missing(sorted(set(digests.values()))))
        with store.sending() as sender:
            _each(
                files,
                lambda file: made.__setitem__(file.path, _send(file, digests[file.path], missing, sender, progress)),
            )
    return [made[file.path] for file in files]


def get(files: Iterable[tuple[File, Path]], root: Path, store: Store, progress: Progress) -> None:
    """Writes files to their places, each whole or not at all. `root` is the folder that none of them may leave."""
    safe = _Folders(root)
    umask = os.umask(0o077)  # there is no way to ask but to set it
    os.umask(umask)
    _each(list(files), lambda pair: _get(pair[0], pair[1], safe, store, progress, umask))


def _here(files: list[LocalFile], known: Mapping[str, File], store: Store) -> dict[str, str]:
    """Digests of files that look unchanged and whose blobs are there: they are read once and not written."""
    same = {file.path: known[file.path].digest for file in files
            if file.path in known and known[file.path].size == file.size}  # fmt: skip
    gone = set(store.missing(sorted(set(same.values()))))
    return {path: digest for path, digest in same.items() if digest not in gone}


def _put(file: LocalFile, expected: str, sender: Sender, progress: Progress) -> File:
    with open(file.place, "rb", buffering=0) as content:  # noqa: PTH123 - a Path per file costs as much as opening it
        digest = hashlib.file_digest(content, "sha256").hexdigest() if expected else ""
        if cached := bool(expected) and digest == expected:
            size = content.tell()
        else:
            content.seek(0)
            digest = sender.put(content, file.size, "")
            size = content.tell()
    progress.add(size, cached=cached)
    return File(path=file.path, digest=digest, size=size, executable=file.executable)


def _send(file: LocalFile, digest: str, missing: set[str], sender: Sender, progress: Progress) -> File:
    size = file.size
    if cached := digest not in missing:
        size = os.stat(file.place).st_size  # noqa: PTH116 - as above
    else:
        with open(file.place, "rb") as content:  # noqa: PTH123 - as above
            sender.put(content, size, digest)
    progress.add(size, cached=cached)
    return File(path=file.path, digest=digest, size=size, executable=file.executable)


def _get(file: File, place: Path, safe: _Folders, store: Store, progress: Progress, umask: int) -> None:
    check_file_path(file.path)
    target = os.fspath(place)
    safe.ensure(os.path.dirname(target))  # noqa: PTH120 - strings throughout: ten thousand times
    mode = (0o777 if file.executable else 0o666) & ~umask
    if _lies_there(target, file):
        os.chmod(target, mode)  # noqa: PTH101 - as above
        progress.add(file.size, cached=True)
        return
    folder, _, name = target.rpartition("/")
    part = f"{folder}/.{file.digest[:24]}-{zlib.crc32(name.encode()):08x}.part"  # two names may have one content
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        store.fetch(file.digest, file.size, descriptor, os.fstat(descriptor).st_size)
        os.fchmod(descriptor, mode)
        os.rename(part, target)  # noqa: PTH104 - as above
    finally:
        os.close(descriptor)
    progress.add(file.size, cached=False)


def _lies_there(target: str, file: File) -> bool:
    try:
        status = os.lstat(target)
        if status.st_size != file.size or not os.path.isfile(target) or os.path.islink(target):  # noqa: PTH113, PTH114
            return False
    except FileNotFoundError:
        return False
    return _digest_of(target) == file.digest


def _digest_of(place: str) -> str:
    with open(place, "rb", buffering=0) as content:  # noqa: PTH123 - as above
        return hashlib.file_digest(content, "sha256").hexdigest()


class _Folders:
    """Makes folders below a root, and refuses those that a link leads elsewhere."""

    def __init__(self, root: Path) -> None:
        self._root = os.path.realpath(root)
        self._made: set[str] = set()

    def ensure(self, folder: str) -> None:
        if folder in self._made:
            return
        real = os.path.realpath(folder)
        if real != self._root and not real.startswith(self._root.rstrip("/") + "/"):
            raise Invalid(
                f"{folder} leads to {real}, outside {self._root}",
                code="LINK_OUTSIDE", hint="get into a folder without links", path=folder,
            )  # fmt: skip
        with as_exhausted(Path(folder)):
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103 - as above
        self._made.add(folder)


def _each(items: list[_T], work: Callable[[_T], None]) -> None:
    """In several threads; the first error stops those that have not begun and is raised."""
    if len(items) < 2:
        for item in items:
            work(item)
        return
    shares = [items[start::THREADS] for start in range(THREADS)]
    stopped = threading.Event()

    def run(share: list[_T]) -> None:
        for item in share:
            if stopped.is_set():
                return
            work(item)

    with ThreadPoolExecutor(THREADS, "files") as pool:
        running = [pool.submit(run, share) for share in shares]
        try:
            done, _ = wait(running, return_when=FIRST_EXCEPTION)
            for each in done:
                each.result()
        finally:
            stopped.set()
