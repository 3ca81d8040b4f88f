"""Whether the bytes of a version are still those that were registered."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from bough.adapters.blobs import Blobs
from bough.data.models import File
from bough.kernel.errors import NotFound, Problem
from bough.registry.bundles import tampered

CHUNK_BYTES = 1 << 20


def check_bytes(blobs: Blobs, files: Sequence[File], what: str) -> None:
    """Reads all of them. Raises `Invalid` (MODEL_TAMPERED) with the file that differs or is missing."""
    for file in files:
        try:
            whole = _is_whole(blobs, file.digest)
        except (NotFound, FileNotFoundError):
            raise tampered(what, file.path, "is missing") from None
        if not whole:
            raise tampered(what, file.path, "is not the file that was registered")


def _is_whole(blobs: Blobs, digest: str) -> bool:
    if (path := blobs.local_path(digest)) is not None:  # half the price of the stream that checks what it gives out
        with path.open("rb", buffering=0) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == digest
    try:
        with blobs.open(digest) as stream:
            while stream.read(CHUNK_BYTES):
                pass
    except Problem as problem:
        if problem.own_code != "BLOB_DAMAGED":
            raise
        return False
    return True
