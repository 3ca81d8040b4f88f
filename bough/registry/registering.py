"""From what somebody sends to a version: everything slow and everything that may be refused, before the transaction."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from bough.adapters.blobs import Blobs
from bough.data.models import File
from bough.kernel.errors import Invalid
from bough.registry import rules
from bough.registry.models import Draft, Facts, ModelSignature
from bough.registry.signatures import read_signature

SHOWN = 100  # of what is missing, in an error


def listed(blobs: Blobs, files: list[File], digest: str) -> list[File]:
    """The files of a request, with those whose list was sent as a blob."""
    if not digest:
        return files
    try:
        return files + msgspec.json.decode(blobs.read(digest), type=list[File])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Invalid(f"the list of files cannot be read: {error}", code="FILE_INVALID") from error


def prepare(
    blobs: Blobs, files: list[File], *, facts: Facts, signature: ModelSignature | None, card: str, source: str,
    description: str, tags: dict[str, str], aliases: list[str],
) -> Draft:  # fmt: skip
    """Checks files that were sent, and keeps their list. No byte of theirs is read but the head of an ONNX file and
    `MLmodel`, when no signature was given. Raises `Invalid` (BLOBS_MISSING, FILE_INVALID, PATH_UNSAFE)."""
    rules.check(files, tags)
    if not files and not source:
        raise Invalid("a version has files", code="MODEL_EMPTY", hint="bough models register NAME FOLDER")
    check_sent(blobs, files)
    manifest = rules.manifest_of(files)
    return Draft(
        digest=blobs.put(manifest), files=len(files), bytes=sum(each.size for each in files),
        signature=signature or read_signature(blobs, files), facts=facts, card=card or _readme(blobs, files),
        source=source, description=description, tags=tags, aliases=aliases,
    )  # fmt: skip


def check_sent(blobs: Blobs, files: list[File], others: Iterable[str] = ()) -> None:
    """Asking makes the blobs count as used: what is referred to from now on is not collected meanwhile."""
    wanted = [*(each.digest for each in files), *others]
    if lacking := blobs.missing(wanted):
        raise Invalid(
            f"{len(lacking)} files of the version have not been sent",
            code="BLOBS_MISSING", hint="run the same bough models register again", digests=lacking[:SHOWN],
        )  # fmt: skip
    for each in files:
        if (size := blobs.size(each.digest)) != each.size:
            raise Invalid(f"{each.path!r} has {size} bytes, not {each.size}", code="FILE_INVALID", path=each.path)


def _readme(blobs: Blobs, files: list[File]) -> str:
    """The text of README.md or MODEL_CARD.md, as model hubs have it."""
    for name in ("MODEL_CARD.md", "README.md"):
        for each in files:
            if each.path == name and each.size <= 1 << 20:
                return blobs.read(each.digest).decode("utf-8", "replace")
    return ""
