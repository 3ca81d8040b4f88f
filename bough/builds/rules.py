"""Pure decisions about builds: which paths are safe, and when two builds are the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import msgspec

from bough.builds.ignore import NEVER
from bough.builds.models import BuildRequest, BuildResult, Bundle
from bough.kernel import paths as paths_of
from bough.kernel.errors import Invalid
from bough.runtime.spec import Failure

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
    """Raises `Invalid` (code PATH_UNSAFE) unless these files can be a bundle: see `kernel/paths.py`."""
    paths_of.check_layout(paths, reserved=NEVER, hint="rename the file, or list it in .boughignore")


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
