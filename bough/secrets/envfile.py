"""Files of variables, as `.env`: NAME=value, one a line.

`export`, comments, blank lines, single quotes (as they stand) and double quotes (with backslashes as in C) are known,
both over several lines. Nothing is expanded: a `$` is a `$`. Messages name a line, never what stands in it.
"""

from __future__ import annotations

import re

from bough.kernel.errors import Invalid

_NAME = re.compile(r"\s*(?:export\s+)?(?P<name>[A-Za-z_][\w.-]*)[ \t]*=[ \t]*")
_SINGLE = re.compile(r"'(?P<value>[^']*)'")
_DOUBLE = re.compile(r'"(?P<value>(?:[^"\\]|\\.)*)"', re.DOTALL)
_BARE = re.compile(r"(?P<value>[^\n]*)")
_REST = re.compile(r"[ \t]*(#[^\n]*)?(?:\r?\n|\Z)")
_BLANK = re.compile(r"[ \t]*(#[^\n]*)?(\r?\n|\Z)")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


def parse(text: str, name: str) -> dict[str, str]:
    """Values by name, empty ones included; the later of two lines wins. `name` is the file's, for messages."""
    found: dict[str, str] = {}
    at, text = 0, text.removeprefix("\ufeff")
    while at < len(text):
        if blank := _BLANK.match(text, at):
            at = max(blank.end(), at + 1)
            continue
        head = _NAME.match(text, at)
        if head is None:
            raise _wrong(name, text, at, "is not NAME=value")
        value, at = _value(text, head.end(), name)
        found[head["name"]] = value
    return found


def _value(text: str, at: int, name: str) -> tuple[str, int]:
    """The value that begins at `at`, and where the next line does."""
    quote = text[at : at + 1]
    if quote in ("'", '"') and quote:
        found = (_SINGLE if quote == "'" else _DOUBLE).match(text, at)
        if found is None:
            raise _wrong(name, text, at, "begins a quotation that has no end")
        rest = _REST.match(text, found.end())
        if rest is None:
            raise _wrong(name, text, at, "goes on after the closing quote")
        value = found["value"] if quote == "'" else re.sub(r"\\(.)", _escaped, found["value"], flags=re.DOTALL)
        return value, rest.end()
    bare = _BARE.match(text, at)
    assert bare is not None  # noqa: S101 - it matches nothing as well
    value = re.split(r"\s#", " " + bare["value"], maxsplit=1)[0].strip()
    return value, bare.end() + 1


def _escaped(found: re.Match[str]) -> str:
    return _ESCAPES.get(found[1], found[1] if found[1] in "\"\\$'" else found[0])


def _wrong(name: str, text: str, at: int, what: str) -> Invalid:
    line = text.count("\n", 0, at) + 1
    return Invalid(f"{name}:{line}: {what}", code="ENV_FILE_INVALID", hint=f"edit {name}, line {line}", line=line)
