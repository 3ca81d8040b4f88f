"""A folder on its way to the server: only what it does not have, small files together, large ones resumable."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from bough.kernel.errors import Invalid, NotFound

PACKED_BYTES = 1 << 20  # files up to here go in packs
PACK_BYTES = 16 << 20
DIGESTS_AT_ONCE = 20_000  # in one question


class Sends(Protocol):
    def call(self, name: str, /, **fields: Any) -> Any: ...

    def upload(self, digest: str, content: BinaryIO, size: int) -> None: ...

    def upload_many(self, blobs: Sequence[tuple[str, bytes]]) -> None: ...


def send_folder(client: Sends, root: Path) -> list[dict[str, Any]]:
    """Raises `NotFound` (PATH_NOT_FOUND), `Invalid` (LINK_OUTSIDE)."""
    places = dict(_files(root))
    files: list[dict[str, Any]] = []
    by_digest: dict[str, Path] = {}
    for path, place in sorted(places.items()):
        with place.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            size = stream.tell()
        by_digest[digest] = place
        executable = bool(place.stat().st_mode & 0o100)
        files.append({"path": path, "digest": digest, "size": size, "executable": executable})
    wanted = list(by_digest)
    missing = [
        digest
        for at in range(0, len(wanted), DIGESTS_AT_ONCE)
        for digest in client.call("blobs.missing", digests=wanted[at : at + DIGESTS_AT_ONCE])
    ]
    _send(client, {digest: by_digest[digest] for digest in missing})
    return files


def installed_packages() -> dict[str, str]:
    """Name to version of every distribution that this process could import."""
    from importlib import metadata  # brings the whole of email along

    return {each.metadata["Name"]: each.version for each in metadata.distributions() if each.metadata["Name"]}


def _files(root: Path) -> list[tuple[str, Path]]:
    if not root.exists():
        raise NotFound(f"there is no {root}", code="PATH_NOT_FOUND", hint="ls", path=str(root))
    if root.is_file():
        return [(_composed(root.name), root)]
    real, found = root.resolve(), []
    for place in root.rglob("*"):
        if place.is_symlink() and not place.resolve().is_relative_to(real):
            raise Invalid(f"the link {place} leads outside {root}", code="LINK_OUTSIDE", hint="copy what it points to")
        if place.is_file():
            found.append((_composed(place.relative_to(root).as_posix()), place))
    return found


def _send(client: Sends, missing: dict[str, Path]) -> None:
    pack: list[tuple[str, bytes]] = []
    for digest, place in missing.items():
        size = place.stat().st_size
        if size > PACKED_BYTES:
            with place.open("rb") as content:
                client.upload(digest, content, size)
            continue
        pack.append((digest, place.read_bytes()))
        if sum(len(content) for _, content in pack) >= PACK_BYTES:
            client.upload_many(pack)
            pack = []
    if pack:
        client.upload_many(pack)


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
