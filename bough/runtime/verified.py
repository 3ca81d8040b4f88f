"""Whether the files of a registered model are those that were registered: looked at before anything loads them.

The digest comes with the unit's specification, from the release; the list of files lies beside the files and is only
believed when it has that digest. So whoever changes a file, its list, or both, is noticed by whoever loads it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from bough.runtime.buffers import aligned
from bough.runtime.failures import LoadError
from bough.runtime.spec import RegisteredModel

LIST_NAME = "files.json"  # beside the folder with the files
_CHUNK_BYTES = 256 << 10  # stays in the cache of a core between reading and hashing


class _File(msgspec.Struct):
    path: str
    digest: str
    size: int


def check(model: RegisteredModel) -> None:
    """Reads every file of it. Raises `LoadError` (MODEL_TAMPERED) with the file that differs, is missing or odd."""
    folder = Path(model.folder)
    there = {place.relative_to(folder).as_posix(): place for place in folder.rglob("*") if not _is_folder(place)}
    for file in _listed(model, folder.with_name(LIST_NAME)):
        place = there.pop(file.path, None)
        if place is None:
            raise _tampered(model, file.path, "is missing")
        if digest_of(place) != file.digest:
            raise _tampered(model, file.path, "is not the file that was registered")
    if there:
        raise _tampered(model, min(there), "was not registered with it")


def digest_of(place: Path) -> str:
    hasher, buffer = hashlib.sha256(), aligned(_CHUNK_BYTES)
    with place.open("rb", buffering=0) as stream:
        while size := stream.readinto(buffer):
            hasher.update(buffer[:size])
    return hasher.hexdigest()


def _listed(model: RegisteredModel, place: Path) -> list[_File]:
    content = place.read_bytes() if place.exists() else b""
    if hashlib.sha256(content).hexdigest() != model.digest:
        raise _tampered(model, LIST_NAME, "is not the list of files that was registered")
    return msgspec.json.decode(content, type=list[_File])


def _is_folder(place: Path) -> bool:
    return place.is_dir() and not place.is_symlink()


def _tampered(model: RegisteredModel, path: str, why: str) -> LoadError:
    hint = f"bough models verify {model.reference}; bough data verify"
    return LoadError("MODEL_TAMPERED", f"{path} of {model.reference} {why}", hint)
