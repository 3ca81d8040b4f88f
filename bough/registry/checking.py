"""Whether the bytes of a version are still those that were registered."""

from __future__ import annotations

from collections.abc import Sequence

from bough.data.models import File
from bough.kernel.errors import NotFound, Problem
from bough.kernel.trees import Source
from bough.registry.bundles import tampered

CHUNK_BYTES = 1 << 20


def check_bytes(blobs: Source, files: Sequence[File], what: str) -> None:
    """Reads all of them. Raises `Invalid` (MODEL_TAMPERED) with the file that differs or is missing."""
    for file in files:
        try:
            with blobs.open(file.digest) as stream:
                while stream.read(CHUNK_BYTES):
                    pass
        except NotFound:
            raise tampered(what, file.path, "is missing") from None
        except Problem as problem:
            if problem.own_code != "BLOB_DAMAGED":
                raise
            raise tampered(what, file.path, "is not the file that was registered") from problem
