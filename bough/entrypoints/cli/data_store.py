"""Where `bough data` finds blobs: in the home of this machine if there is one, else behind the server. And what these
commands have in common."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import click
import msgspec

from bough.adapters.blobs.directory import DirectoryBlobs
from bough.client import Client
from bough.data import rules
from bough.data.models import File
from bough.data.transfer import Counters, Direct, Progress, Sender, Store
from bough.entrypoints.cli.drawing import size as drawn
from bough.entrypoints.cli.session import Session, project_name
from bough.kernel.errors import Invalid, Problem
from bough.kernel.moments import ABOUT_POINTS

LISTED_FROM = 10_000  # files in one change, from which on their list travels as a blob: a request has at most 8 MB
DIGESTS_AT_ONCE = 20_000  # in one question, which stays far below the largest body that is taken


def store(session: Session) -> Store:
    """The blobs themselves where this user may write to them: the same checks, and no second copy through a socket."""
    home = session.home
    if not session.remote and os.access(home.path, os.W_OK | os.X_OK):
        return Direct(DirectoryBlobs(home.blobs))
    return Remote(session.client())


def blobs_here(session: Session) -> DirectoryBlobs:
    return DirectoryBlobs(session.home.blobs)


PACKED_BYTES = 1 << 20  # files up to here go in packs
PACK_BYTES = 16 << 20


class Remote:
    """The blobs behind a server."""

    hashes_first = True

    def __init__(self, client: Client) -> None:
        self._client, self._lock = client, threading.Lock()
        self._pack: list[tuple[str, bytes]] = []
        self._packed_bytes = 0

    def missing(self, digests: list[str]) -> list[str]:
        return [
            digest
            for at in range(0, len(digests), DIGESTS_AT_ONCE)
            for digest in self._client.blobs.missing(digests=digests[at : at + DIGESTS_AT_ONCE])
        ]

    @contextlib.contextmanager
    def sending(self) -> Iterator[Sender]:
        yield self
        self._flush()

    def put(self, content: BinaryIO, size: int, digest: str) -> str:
        """Small files wait for each other and go together."""
        if size > PACKED_BYTES:
            with self._lock:
                self._client.upload(digest, content, size)
            return digest
        read = content.read()
        with self._lock:
            self._pack.append((digest, read))
            self._packed_bytes += len(read)
            if self._packed_bytes >= PACK_BYTES:
                self._flush()
        return digest

    def _flush(self) -> None:
        if self._pack:
            self._client.upload_many(self._pack)
            self._pack, self._packed_bytes = [], 0

    def fetch(self, digest: str, size: int, descriptor: int, there: int) -> None:
        held, there = there, there if there < size else 0
        seen = hashlib.sha256()
        with os.fdopen(os.dup(descriptor), "rb") as written:
            seen.update(written.read(there))
        if held:
            os.ftruncate(descriptor, there)
        os.lseek(descriptor, there, os.SEEK_SET)
        if there < size:
            with self._lock:
                for piece in self._client.download(digest, there):
                    seen.update(piece)
                    _write(descriptor, piece)
        if seen.hexdigest() != digest:
            os.ftruncate(descriptor, 0)  # nothing to go on from
            raise Problem(
                f"blob {digest} arrived damaged",
                code="BLOB_DAMAGED",
                hint="run it again; bough data verify",
                digest=digest,
            )


def tree(session: Session, project: str, target: str, environment: str, at: str) -> tuple[list[File], int]:
    """Every file of a dataset or below a path of it, with whole keys as paths, and the change that they are from."""
    files: list[File] = []
    change = 0
    for page in session.client().files.tree(project=project, path=target, environment=environment, at=at):
        files += [File(**each) for each in page.files]
        change = page.change
    return files, change


def content(session: Session, changed: list[File]) -> dict[str, Any]:
    """Files of one change, as fields of `files.commit`."""
    if len(changed) < LISTED_FROM:
        return {"files": [msgspec.to_builtins(each) for each in changed]}
    listed = msgspec.json.encode(changed)
    digest = hashlib.sha256(listed).hexdigest()
    session.client().put(listed, digest)
    return {"listed": digest}


def progress(session: Session, what: str, files: int, size: int) -> Progress:
    def say(counters: Counters, total_files: int, total_bytes: int) -> None:
        count = f"{counters.files:,} of {total_files:,} files"
        session.note(f"  {what}: {drawn(counters.bytes)} of {drawn(total_bytes)}, {count}, {counters.mb_per_s:g} MB/s")

    return Progress(files, size, say)


def answer(session: Session, done: Counters, text: str, **more: Any) -> None:
    counted = {
        "files": done.files, "bytes": done.bytes, "cached_files": done.cached_files, "cached_bytes": done.cached_bytes,
        "seconds": done.seconds, "mb_per_s": done.mb_per_s,
    }  # fmt: skip
    cached = f", {drawn(done.cached_bytes)} of it already there" if done.cached_bytes else ""
    line = f"{text}: {done.files:,} files, {drawn(done.bytes)}{cached} in {done.seconds:.1f} s ({done.mb_per_s:g} MB/s)"
    session.answer(more | counted, text=line)


def target(text: str) -> tuple[str, str]:
    """DATASET[/PATH]; raises what is wrong with it before anything is read."""
    if not text.strip("/"):
        raise Invalid("a dataset has a name", code="NAME_INVALID", hint="bough data put FOLDER images")
    return rules.split(text)


def project_of(project: str) -> str:
    return project or project_name()


def common(*, at: bool = False) -> list[click.Parameter]:
    found: list[click.Parameter] = [
        click.Option(["--project"], default="", metavar="NAME", help="Project; that of the nearest bough.toml."),
        click.Option(["--environment", "-e"], default="main", show_default=True, metavar="NAME",
                     help="Environment; main is production."),
    ]  # fmt: skip
    if at:
        about = f"{ABOUT_POINTS[0].upper()}{ABOUT_POINTS[1:]}; now without it."
        found.append(click.Option(["--at"], default="", metavar="POINT", help=about))
    return found


def local(name: str, about: str) -> click.Argument:
    return click.Argument([name], metavar=name.upper(), type=click.Path(path_type=Path), help=about)


def _write(descriptor: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(descriptor, view) :]
