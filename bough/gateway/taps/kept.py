"""Requests that a service lets the gateway keep, to be replayed elsewhere: lines of two files per service, of which the
older one goes when the newer one is full. What the service names is left out, or replaced by a keyed digest, before a
byte of it is written."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from bough.kernel.files import write_whole

KEY_NAME, KEY_BYTES, DIGEST_DIGITS = "kept.key", 32, 24
DAY_S = 86_400.0


class Keep(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`requests` at least are kept, twice that at most; fields of any depth by their name."""

    requests: int
    days: float
    drop: list[str] = []
    hash: list[str] = []


class Kept(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`body` and `answer` are JSON where they can be, else base64 (`raw`)."""

    at: float
    id: str
    api: str
    status: int
    seconds: float
    body: msgspec.Raw = msgspec.Raw(b"null")
    answer: msgspec.Raw = msgspec.Raw(b"null")
    raw: bool = False
    meta: str = ""
    release: int = 0

    def sent(self) -> bytes:
        return base64.b64decode(msgspec.json.decode(self.body)) if self.raw else bytes(self.body)

    def answered(self) -> bytes:
        return base64.b64decode(msgspec.json.decode(self.answer)) if self.raw else bytes(self.answer)


_decoder = msgspec.json.Decoder(Kept)


def file_of(folder: Path, project: str, environment: str, service: str) -> Path:
    """Names are labels of DNS, so they can be names of folders."""
    return folder / project / environment / f"{service}.jsonl"


def older(path: Path) -> Path:
    return path.with_name(path.name + ".1")


def read(path: Path, last: int, now: float, days: float) -> list[Kept]:
    """The newest `last` requests, oldest first, none older than `days`."""
    found = [each for file in (older(path), path) for each in _lines(file) if each.at > now - days * DAY_S]
    return found[-last:]


def prune(folder: Path, days: Mapping[tuple[str, str, str], float], now: float) -> list[str]:
    """Removes what is older than its service lets it be, and all of services that keep nothing any more; the names of
    the files. `days` by project, environment and service."""
    gone = []
    for path in sorted(folder.glob("*/*/*.jsonl*")):
        place = (*path.relative_to(folder).parts[:2], path.name.partition(".")[0])
        allowed = days.get((place[0], place[1], place[2]))
        newest = path.stat().st_mtime  # of the lines in it
        if allowed is None or newest < now - allowed * DAY_S:
            path.unlink(missing_ok=True)
            gone.append(str(path.relative_to(folder)))
    return gone


def forget(folder: Path, project: str, names: Callable[[bytes], bool], *, dry_run: bool = False) -> dict[str, int]:
    """Takes out the requests of a project that name somebody; how many, by file. In place, so that the bytes are
    overwritten; cut off by a kill it leaves lines that the next call removes."""
    found = {}
    for path in sorted((folder / project).glob("*/*.jsonl*")):
        with path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            lines = file.readlines()
            kept = [line for line in lines if not names(line)]
            if len(kept) == len(lines):
                continue
            found[str(path.relative_to(folder))] = len(lines) - len(kept)
            if not dry_run:
                file.seek(0)
                file.writelines(kept)
                file.truncate()
                file.flush()
                os.fsync(file.fileno())
    return found


def key(folder: Path) -> bytes:
    """What digests are made with: this home's own, so that equal values stay equal and tell nothing elsewhere."""
    path = folder / KEY_NAME
    try:
        return path.read_bytes()
    except FileNotFoundError:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(path, secrets.token_bytes(KEY_BYTES), mode=0o600)
        return path.read_bytes()


def made(
    keep: Keep, secret: bytes, *, at: float, id: str, api: str, meta: str, release: int, status: int, seconds: float,
    body: bytes, answer: bytes,
) -> bytes:  # fmt: skip
    """The line, minimized. A body that is no JSON has no fields to leave out: where some are named, it is not kept."""
    raw, parts = False, []
    for each in (body, answer):
        try:
            parts.append(msgspec.json.encode(_minimal(keep, secret, msgspec.json.decode(each))) if each else b"null")
        except msgspec.DecodeError:
            raw = True
    if raw:
        if keep.drop or keep.hash:
            return b""
        parts = [msgspec.json.encode(base64.b64encode(each).decode()) for each in (body, answer)]
    line = Kept(
        at=at, id=id, api=api, meta=meta, release=release, status=status, seconds=seconds, raw=raw,
        body=msgspec.Raw(parts[0]), answer=msgspec.Raw(parts[1]),
    )  # fmt: skip
    return msgspec.json.encode(line) + b"\n"


class KeptFile:
    """Appends to the file of one service and turns it over; used by one thread."""

    def __init__(self, path: Path) -> None:
        self._path, self._lines = path, -1
        self._since = 0.0

    def write(self, lines: list[bytes], keep: Keep, now: float) -> None:
        """Raises OSError; what was there before stays."""
        if self._lines < 0:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lines, self._since = _count(self._path), now
        full = self._lines + len(lines) > keep.requests or now - self._since > keep.days * DAY_S
        if full and self._lines:
            self._path.replace(older(self._path))
            self._lines, self._since = 0, now
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # an erasure may be writing the file anew
            os.write(descriptor, b"".join(lines))
        finally:
            os.close(descriptor)
        self._lines += len(lines)


def _minimal(keep: Keep, secret: bytes, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            name: _digest(secret, inner) if name in keep.hash else _minimal(keep, secret, inner)
            for name, inner in value.items()
            if name not in keep.drop
        }
    return [_minimal(keep, secret, each) for each in value] if isinstance(value, list) else value


def _digest(secret: bytes, value: Any) -> Any:
    """Of a text; of anything else nothing stays, for a digest would be of another type."""
    if not isinstance(value, str):
        return None
    return hmac.new(secret, value.encode(), hashlib.sha256).hexdigest()[:DIGEST_DIGITS]


def _lines(path: Path) -> Iterator[Kept]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    for line in content.splitlines(keepends=True):
        if line.endswith(b"\n"):
            try:
                yield _decoder.decode(line)
            except msgspec.DecodeError:  # cut off by a full disk
                continue


def _count(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0
