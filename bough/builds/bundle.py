"""From a folder to a bundle: which files, under which digests, and what must not leave the machine.

Links that point inside the folder are followed and become files (a bundle holds nothing but files, so unpacking can
never be led astray by a link); links that point outside are refused. A cache of (times, size, inode) -> digest makes a
second scan of an unchanged folder a matter of one `stat` per file.

The project file is searched for secrets as all are, and stays out: every release holds it by itself, and in the bundle
a change of what only the gateway reads would start every process anew. `!bough.toml` in .boughignore brings it in.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from bough.adapters.blobs import Blobs
from bough.builds.ignore import SECRET, Ignore
from bough.builds.models import Bundle, Entry, Notice, Scan
from bough.builds.rules import check_paths, digest_of, parse_bundle
from bough.builds.sensitive import MAX_BYTES, find_secret
from bough.kernel.errors import Invalid, TooLarge
from bough.kernel.files import write_whole
from bough.kernel.project import FILE_NAME

LIMIT_BYTES = 2 << 30  # more than any source tree with a small model; larger models belong into the registry
LIMIT_FILES = 20_000
LARGEST = 5  # shown to a person who wonders what makes the bundle large
CACHE_FORMAT = 1
# A file written this short a time before it was hashed may change again without its times telling: clocks of file
# systems tick every few milliseconds. Such a file is hashed again next time.
SETTLED_NS = 50_000_000


class _Known(msgspec.Struct, frozen=True, array_like=True):
    """What the cache holds of one file. `secret` is what the search for secrets found; nothing is remembered of it but
    the line and the kind."""

    mtime_ns: int
    ctime_ns: int
    size: int
    inode: int
    digest: str
    secret: tuple[int, str] | None = None


class _Cache(msgspec.Struct, frozen=True, array_like=True):
    format: int
    files: dict[str, _Known]


class _Found(msgspec.Struct):
    path: str
    place: str
    status: os.stat_result


def scan(
    folder: Path, *, cache: Path | None = None, limit_bytes: int = LIMIT_BYTES, limit_files: int = LIMIT_FILES
) -> Scan:
    """The bundle of `folder`; changes nothing but `cache`. Raises `Invalid` (SECRET_IN_BUNDLE, LINK_OUTSIDE, LINK_LOOP,
    SPECIAL_FILE, PATH_UNSAFE, IGNORE_INVALID) or `TooLarge` (BUNDLE_TOO_LARGE)."""
    if not folder.is_dir():
        hint = "check `path` in bough.toml"
        raise Invalid(f"{folder} is not a folder", code="FOLDER_MISSING", hint=hint, path=str(folder))
    ignore = Ignore.of(folder)
    notices: list[Notice] = []
    found = sorted(_Walk(folder, ignore, notices).files(), key=lambda file: file.path)
    _check_limits(found, limit_bytes, limit_files)
    known = _load(cache)
    started_ns = time.time_ns()
    kept: dict[str, _Known] = {}
    entries: list[Entry] = []
    hashed = 0
    for file in found:
        entry = _still_known(known.get(file.path), file.status)
        if entry is None:
            entry = _examine(file)
            hashed += 1
        if entry.secret and not ignore.is_wanted(file.path):
            raise _secret(file.path, *entry.secret)
        kept[file.path] = entry
        if file.path == FILE_NAME and not ignore.is_wanted(file.path):
            continue
        executable = bool(file.status.st_mode & stat.S_IXUSR)
        entries.append(Entry(path=file.path, digest=entry.digest, size=entry.size, executable=executable))
    check_paths(entry.path for entry in entries)
    if cache and (hashed or kept.keys() != known.keys()):
        _save(cache, kept, started_ns)
    bundle = Bundle(entries=tuple(entries))
    return Scan(
        folder=folder, bundle=bundle, digest=digest_of(bundle.manifest), count=len(entries), size=bundle.size,
        largest=tuple(sorted(entries, key=lambda entry: -entry.size)[:LARGEST]), notices=tuple(notices), hashed=hashed,
    )  # fmt: skip


def store(scan: Scan, blobs: Blobs) -> int:
    """Puts the files of a scan that `blobs` does not have, and the manifest last: a manifest that is there stands for
    a bundle that is complete. Returns the bytes written. Raises `Invalid` (DIGEST_MISMATCH) for a file that changed
    since the scan."""
    places = {entry.digest: entry for entry in scan.bundle.entries}
    written = 0
    for digest in blobs.missing(places):
        with (scan.folder / places[digest].path).open("rb") as file:
            blobs.put(file, expect=digest)
        written += places[digest].size
    blobs.put(scan.bundle.manifest, expect=scan.digest)
    return written


def used_by(bundles: Iterable[str], blobs: Blobs) -> Iterator[str]:
    """Every blob of these bundles: their manifests and their files. Raises when a manifest cannot be read."""
    for digest in bundles:
        yield digest
        for entry in parse_bundle(blobs.read(digest)).entries:
            yield entry.digest


class _Walk:
    """The files of a folder that belong to its bundle; what people should know was left out goes to `notices`."""

    def __init__(self, folder: Path, ignore: Ignore, notices: list[Notice]) -> None:
        self._root = os.fspath(folder)
        self._real_root = os.path.realpath(folder)
        self._ignore = ignore
        self._notices = notices

    def files(self) -> Iterator[_Found]:
        return self._folder(self._root, "", (self._real_root,))

    def _folder(self, place: str, prefix: str, above: tuple[str, ...]) -> Iterator[_Found]:
        with os.scandir(place) as listing:
            items = list(listing)
        if prefix and any(item.name == "pyvenv.cfg" for item in items):
            return  # a virtual environment, whatever its name
        for item in items:
            path = prefix + item.name
            if item.is_symlink():
                yield from self._link(item, path, above)
            elif item.is_dir(follow_symlinks=False):
                if self._belongs(path, item.name, is_folder=True):
                    yield from self._folder(item.path, path + "/", (*above, f"{above[-1]}/{item.name}"))
            elif self._belongs(path, item.name, is_folder=False):
                status = item.stat(follow_symlinks=False)
                if not stat.S_ISREG(status.st_mode):
                    raise _special(path)
                yield _Found(path, item.path, status)

    def _link(self, item: os.DirEntry[str], path: str, above: tuple[str, ...]) -> Iterator[_Found]:
        is_folder = item.is_dir()
        if not self._belongs(path, item.name, is_folder=is_folder):
            return
        target = os.path.realpath(item.path)
        if not target.startswith(self._real_root + "/") and target != self._real_root:
            raise _outside(path, os.readlink(item.path))  # noqa: PTH115 - see below
        if not os.path.exists(target):  # noqa: PTH110 - strings throughout: a Path per file doubles the time
            self._notices.append(Notice(path=path, reason="a link to nothing"))
        elif is_folder:
            if target in above:
                raise Invalid(
                    f"the link {path} points to a folder that contains it",
                    code="LINK_LOOP", hint=f"remove it, or add {path} to .boughignore", path=path,
                )  # fmt: skip
            if self._belongs(target[len(self._real_root) + 1 :], os.path.basename(target), is_folder=True):  # noqa: PTH119
                yield from self._folder(item.path, path + "/", (*above, target))
        elif self._belongs(target[len(self._real_root) + 1 :], os.path.basename(target), is_folder=False):  # noqa: PTH119
            status = item.stat()
            if not stat.S_ISREG(status.st_mode):
                raise _special(path)
            yield _Found(path, item.path, status)

    def _belongs(self, path: str, name: str, *, is_folder: bool) -> bool:
        reason = self._ignore.reason(path, name, is_folder=is_folder)
        if reason == SECRET:
            self._notices.append(Notice(path=path, reason=f"{reason}; to ship it, add !{path} to .boughignore"))
        return reason is None


def _examine(file: _Found) -> _Known:
    with open(file.place, "rb") as stream:  # noqa: PTH123 - see _link
        if file.status.st_size <= MAX_BYTES:
            content = stream.read()
            digest, size, secret = digest_of(content), len(content), find_secret(content)
        else:
            digest, secret = hashlib.file_digest(stream, "sha256").hexdigest(), None
            size = stream.tell()
    status = file.status
    # The size of what was read: were the file growing, the entry would still be true of those bytes, and the cache,
    # which is asked with the size of a later `stat`, would not be.
    return _Known(status.st_mtime_ns, status.st_ctime_ns, size, status.st_ino, digest, secret)


def _still_known(known: _Known | None, status: os.stat_result) -> _Known | None:
    if known is None or known.mtime_ns != status.st_mtime_ns or known.ctime_ns != status.st_ctime_ns:
        return None
    return known if known.size == status.st_size and known.inode == status.st_ino else None


def _load(cache: Path | None) -> dict[str, _Known]:
    if cache is None:
        return {}
    try:
        loaded = msgspec.msgpack.decode(cache.read_bytes(), type=_Cache)
    except (OSError, msgspec.DecodeError):
        return {}  # safe: it only costs time
    return loaded.files if loaded.format == CACHE_FORMAT else {}


def _save(cache: Path, kept: dict[str, _Known], started_ns: int) -> None:
    settled = {path: known for path, known in kept.items() if known.ctime_ns < started_ns - SETTLED_NS}
    with contextlib.suppress(OSError):  # safe: without a cache the next scan is slower, nothing else
        write_whole(cache, msgspec.msgpack.encode(_Cache(CACHE_FORMAT, settled)))


def _check_limits(found: list[_Found], limit_bytes: int, limit_files: int) -> None:
    size = sum(file.status.st_size for file in found)
    if size <= limit_bytes and len(found) <= limit_files:
        return
    largest = sorted(found, key=lambda file: -file.status.st_size)[:LARGEST]
    raise TooLarge(
        f"the bundle would have {len(found):,} files and {size / 1e6:,.1f} MB; "
        f"the limit is {limit_files:,} files and {limit_bytes / 1e6:,.1f} MB",
        code="BUNDLE_TOO_LARGE", hint="add what the program does not need to .boughignore, largest first",
        largest=[f"{file.path} ({file.status.st_size / 1e6:,.1f} MB)" for file in largest],
    )  # fmt: skip


def _secret(path: str, line: int, what: str) -> Invalid:
    return Invalid(
        f"{path}:{line} holds {what}; nothing was sent",
        code="SECRET_IN_BUNDLE",
        hint=f"add the line {path} to .boughignore to leave the file out, or !{path} to ship it all the same",
        file=path, line=line, kind=what, ignore=path,
    )  # fmt: skip


def _outside(path: str, target: str) -> Invalid:
    return Invalid(
        f"the link {path} points to {target}, outside the folder",
        code="LINK_OUTSIDE", hint=f"copy what it points to into the folder, or add {path} to .boughignore", path=path,
    )  # fmt: skip


def _special(path: str) -> Invalid:
    return Invalid(
        f"{path} is neither a file nor a folder (a socket, pipe or device)",
        code="SPECIAL_FILE", hint=f"remove it, or add {path} to .boughignore", path=path,
    )  # fmt: skip
