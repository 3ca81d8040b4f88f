"""What data speaks of, as frozen data."""

from __future__ import annotations

import msgspec


class File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One file. `path` is relative to its dataset, with `/`, in Unicode's composed form (NFC)."""

    path: str
    digest: str
    size: int
    executable: bool = False


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a listing: a dataset, a folder or a file. `files` and `bytes` count all below it."""

    path: str
    kind: str
    files: int
    bytes: int
    digest: str = ""
    executable: bool = False


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a tree: files by path; `change` is the last one that it shows."""

    files: list[File]
    change: int


class Committed(msgspec.Struct, frozen=True, kw_only=True):
    """What a change did. `same` counts files that were so already; a change of nothing has the number 0."""

    change: int
    written: int
    removed: int
    same: int
    bytes: int


class FileChange(msgspec.Struct, frozen=True, kw_only=True):
    """One change as far as it touched the files asked about; `digest` when that was one file."""

    change: int
    changed_at: float
    by: str
    why: str
    written: int
    removed: int
    digest: str = ""


class FileDifference(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    action: str  # add, change, remove
    before: str = ""  # digests
    after: str = ""
    before_bytes: int = 0
    after_bytes: int = 0


class Tag(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    environment: str
    change: int
    created_at: float
    by: str


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset or a table of a view. `bytes` of a table are those of its data files."""

    name: str
    kind: str
    files: int
    bytes: int


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What an environment shows. `exclusive_bytes` are in no other environment: discarding it would free them, once no
    tag and no history keeps them."""

    project: str
    environment: str
    blobs: int
    total_bytes: int
    shared_bytes: int
    exclusive_bytes: int


class Verified(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Progress, or with `path` a file that is damaged or missing: `problem` says which."""

    files: int
    bytes: int
    total_files: int
    total_bytes: int
    path: str = ""
    digest: str = ""
    problem: str = ""
