"""What `bough db add`, `backup` and `restore` have in common: files of this machine become blobs, and blobs files."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from bough.entrypoints.cli import data_store
from bough.entrypoints.cli.session import Session
from bough.kernel.errors import Conflict, NotFound
from bough.kernel.files import as_exhausted


def sent(session: Session, path: Path | None) -> str:
    """The digest of a file, which the server has then; empty without one."""
    if path is None:
        return ""
    if not path.is_file():
        raise NotFound(f"there is no file {path}", code="NO_SUCH_FILE", hint="name an existing file")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        store = data_store.store(session)
        if store.missing([digest]):
            file.seek(0)
            with store.sending() as sender:
                sender.put(file, path.stat().st_size, digest)
    return digest


def fetched(session: Session, digest: str, size: int, target: Path) -> None:
    """Writes a blob to a file that is not there yet; whole or not at all."""
    if target.exists():
        raise Conflict(f"{target} is there already", code="FILE_EXISTS", hint="choose another name")
    part = target.with_name(f".{target.name}.{os.getpid()}")
    with as_exhausted(target.parent):
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            data_store.store(session).fetch(digest, size, descriptor, 0)
            os.fsync(descriptor)
            part.rename(target)
        finally:
            os.close(descriptor)
            with contextlib.suppress(FileNotFoundError):
                part.unlink()
