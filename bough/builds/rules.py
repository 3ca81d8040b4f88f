"""Pure decisions about builds: which paths are safe, and when two builds are the same."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping

import msgspec

from bough.builds.ignore import NEVER
from bough.builds.models import BuildRequest, BuildResult, Bundle
from bough.kernel.errors import Invalid
from bough.runtime.spec import Failure

MAX_PART_BYTES = 255  # of every file system in use
MAX_PATH_BYTES = 1024  # leaves room for the folder that it is unpacked into

# Raise it when the same request must give another result than before: old results are then not taken again.
BUILD_FORMAT = 1


class _Failed(msgspec.Struct, frozen=True):
    failure: Failure | None = None


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def parse_bundle(manifest: bytes) -> Bundle:
    """The bundle of a manifest that came from elsewhere, with every path, digest and size checked."""
    try:
        bundle = msgspec.json.decode(manifest, type=Bundle)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"the bundle's manifest cannot be read: {error}", code="MANIFEST_INVALID") from error
    if bundle.manifest != manifest:
        raise Invalid("the bundle's manifest is not in canonical form", code="MANIFEST_INVALID")
    for entry in bundle.entries:
        if entry.size < 0 or len(entry.digest) != 64 or not set(entry.digest) <= set("0123456789abcdef"):
            what = f"the bundle's manifest has no valid size and digest for {entry.path!r}"
            raise Invalid(what, code="MANIFEST_INVALID")
    check_paths(entry.path for entry in bundle.entries)
    return bundle


def check_paths(paths: Iterable[str]) -> None:
    """Raises `Invalid` (code PATH_UNSAFE) unless these files can be laid out below one folder on any usual file
    system: nothing outside it, no two that meet by case or Unicode form, no file that is also a folder."""
    spellings: dict[str, str] = {}  # folded path of each file and folder -> as written
    files: set[str] = set()
    for path in paths:
        _check_one(path)
        parts = path.split("/")
        for depth in range(1, len(parts) + 1):
            prefix = "/".join(parts[:depth])
            other = spellings.setdefault(_fold(prefix), prefix)
            if other != prefix:
                raise _unsafe(path, f"meets {other!r} where case or accents are not told apart")
            if prefix in files:
                raise _unsafe(path, f"{prefix!r} is listed twice" if depth == len(parts) else f"{prefix!r} is a file")
        files.add(path)
    folders = {path[:at] for path in files for at in _slashes(path)}
    if both := folders & files:
        raise _unsafe(min(both), "is both a file and a folder")


def request_digest(request: BuildRequest, *, platform: str) -> str:
    """What makes two builds the same: all of the request but the service's name, on one kind of machine. `platform`
    names the machine's system and processor and the Python that runs Bough."""
    same = msgspec.structs.replace(request, service="", refresh=False)
    whole = {"format": BUILD_FORMAT, "platform": platform, "request": same}
    return digest_of(msgspec.json.encode(whole, order="sorted"))


def parse_result(content: bytes) -> BuildResult | Failure:
    """What a build has written into its result file."""
    failed = msgspec.json.decode(content, type=_Failed).failure
    return msgspec.json.decode(content, type=BuildResult) if failed is None else failed


def relocate(text: str, places: Mapping[str, str]) -> str:
    """`text` with absolute paths below the keys of `places` moved below their values; the longest key wins. Only whole
    path parts count: with `/app`, `/app/model.onnx` moves and `/application` does not."""
    for old in sorted(places, key=len, reverse=True):
        text = _replace_path(text, old.rstrip("/"), places[old])
    return text


def _replace_path(text: str, old: str, new: str) -> str:
    if not old:  # the root folder: everything absolute would move
        return text
    done, at = "", 0
    while (found := text.find(old, at)) >= 0:
        end = found + len(old)
        starts = found == 0 or text[found - 1] in " =:,;\"'([{<>@\t\n"
        ends = end == len(text) or text[end] in "/ :,;\"')]}<>\t\n"
        done += text[at:found] + (new if starts and ends else old)
        at = end
    return done + text[at:]


def _check_one(path: str) -> None:
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        raise _unsafe(path, "is not valid UTF-8") from None
    if not path or size > MAX_PATH_BYTES:
        raise _unsafe(path, "is empty" if not path else f"is longer than {MAX_PATH_BYTES} bytes")
    if path.startswith("/"):
        raise _unsafe(path, "is absolute")
    if "\\" in path:
        raise _unsafe(path, "has a backslash, which is a folder's end on some systems")
    if not path.isprintable() and any(ord(char) < 32 or ord(char) == 127 for char in path):
        raise _unsafe(path, "has a control character")
    for part in path.split("/"):
        if part in ("", ".", ".."):
            raise _unsafe(path, f"has the part {part!r}")
        if part.casefold() in NEVER:
            raise _unsafe(path, f"{part!r} is reserved")
        if len(part.encode()) > MAX_PART_BYTES:
            raise _unsafe(path, f"has a part of more than {MAX_PART_BYTES} bytes")


def _fold(path: str) -> str:
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKD", path).casefold())


def _slashes(path: str) -> list[int]:
    return [at for at, char in enumerate(path) if char == "/"]


def _unsafe(path: str, why: str) -> Invalid:
    shown = ascii(path[:200])[1:-1]
    return Invalid(
        f"the path '{shown}' {why}",
        code="PATH_UNSAFE", hint="rename the file, or list it in .boughignore", path=shown,
    )  # fmt: skip
