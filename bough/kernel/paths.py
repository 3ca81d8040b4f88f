"""Which paths may name a file below a folder of somebody else's machine: nothing that leads outside it, and no two that
meet on a usual file system."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from bough.kernel.errors import Invalid

MAX_PART_BYTES = 255  # of every file system in use
MAX_PATH_BYTES = 1024  # leaves room for the folder that it is laid out in


def check_layout(paths: Iterable[str], *, reserved: frozenset[str] = frozenset(), hint: str = "") -> None:
    """Raises `Invalid` (code PATH_UNSAFE) unless these files can be laid out below one folder on any usual file
    system: nothing outside it, no two that meet by case or Unicode form, no file that is also a folder."""
    spellings: dict[str, str] = {}  # folded path of each file and folder -> as written
    files: set[str] = set()
    for path in paths:
        check_path(path, reserved=reserved, hint=hint)
        parts = path.split("/")
        for depth in range(1, len(parts) + 1):
            prefix = "/".join(parts[:depth])
            other = spellings.setdefault(_fold(prefix), prefix)
            if other != prefix:
                raise unsafe(path, f"meets {other!r} where case or accents are not told apart", hint)
            if prefix in files:
                why = f"{prefix!r} is listed twice" if depth == len(parts) else f"{prefix!r} is a file"
                raise unsafe(path, why, hint)
        files.add(path)
    folders = {each for path in files for each in folders_of(path)}
    if both := folders & files:
        raise unsafe(min(both), "is both a file and a folder", hint)


def check_path(path: str, *, reserved: frozenset[str] = frozenset(), hint: str = "") -> None:
    """The same for one path by itself."""
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        raise unsafe(path, "is not valid UTF-8", hint) from None
    if not path or size > MAX_PATH_BYTES:
        raise unsafe(path, "is empty" if not path else f"is longer than {MAX_PATH_BYTES} bytes", hint)
    if path.startswith("/"):
        raise unsafe(path, "is absolute", hint)
    if "\\" in path:
        raise unsafe(path, "has a backslash, which is a folder's end on some systems", hint)
    if not path.isprintable() and any(ord(char) < 32 or ord(char) == 127 for char in path):
        raise unsafe(path, "has a control character", hint)
    for part in path.split("/"):
        if part in ("", ".", ".."):
            raise unsafe(path, f"has the part {part!r}", hint)
        if reserved and part.casefold() in reserved:
            raise unsafe(path, f"{part!r} is reserved", hint)
        if size > MAX_PART_BYTES and len(part.encode()) > MAX_PART_BYTES:
            raise unsafe(path, f"has a part of more than {MAX_PART_BYTES} bytes", hint)


def folders_of(path: str) -> list[str]:
    """Every folder above a file, the outermost first."""
    return [path[:at] for at, char in enumerate(path) if char == "/"]


def unsafe(path: str, why: str, hint: str = "") -> Invalid:
    shown = ascii(path[:200])[1:-1]
    return Invalid(f"the path '{shown}' {why}", code="PATH_UNSAFE", hint=hint or "rename the file", path=shown)


def _fold(path: str) -> str:
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKD", path).casefold())
