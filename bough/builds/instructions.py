"""The text of a Dockerfile as instructions: parser directives, comments, continuations, variables."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import msgspec

from bough.builds.recipe import unsupported
from bough.kernel.errors import Invalid

_DIRECTIVE = re.compile(r"^#\s*([A-Za-z]+)\s*=\s*(.*?)\s*$")
_HEREDOC = re.compile(r"(?:^|\s)<<-?\s*[\"']?[A-Za-z_]\w*[\"']?")
_WORD = re.compile(r"^([A-Za-z]+)(?:\s+(.*))?$", re.S)
_VARIABLE = re.compile(r"\\\$|\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?:(:?[-+])((?:[^{}\\]|\\.)*))?\})")
_FLAG = re.compile(r"^--([a-z][a-z-]*)(?:=(\S*))?(?:\s+|$)")
MAX_TEXT = 1 << 20


class Instruction(msgspec.Struct, frozen=True, kw_only=True):
    """`line` is where it starts; `flags` are the leading `--name=value` words, in order."""

    line: int
    word: str
    rest: str
    flags: tuple[tuple[str, str], ...] = ()

    def flag(self, name: str) -> str | None:
        return next((value for key, value in self.flags if key == name), None)


def parse(text: str, name: str) -> list[Instruction]:
    """Raises `Invalid`: DOCKERFILE_UNSUPPORTED (a heredoc) or DOCKERFILE_INVALID."""
    if len(text) > MAX_TEXT or "\0" in text:
        raise Invalid(f"{name} is not a Dockerfile: too long, or not text", code="DOCKERFILE_INVALID", file=name)
    lines = text.removeprefix("\ufeff").split("\n")
    escape = _escape(lines)
    result: list[Instruction] = []
    whole, start = "", 0
    for number, line in enumerate((*lines, ""), 1):
        line = line.rstrip("\r")
        if line.lstrip().startswith("#") or (whole and not line.strip() and number <= len(lines)):
            continue  # comments and empty lines inside a continuation do not end it
        start = start or number
        stripped = line.rstrip()
        if stripped.endswith(escape):
            whole += stripped[:-1]
            continue
        whole += line
        if whole.strip():
            result.append(_instruction(whole.strip(), start, name))
        whole, start = "", 0
    return result


def words(rest: str) -> list[str] | None:
    """The words of an instruction's JSON (exec) form; None when it is not written so."""
    if not rest.lstrip().startswith("["):
        return None
    try:
        value = json.loads(rest)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) and all(isinstance(word, str) for word in value) else None


def expand(text: str, values: Mapping[str, str]) -> str:
    """`text` with `$NAME`, `${NAME}`, `${NAME:-other}` and `${NAME:+other}` replaced; unknown names become empty."""

    def one(match: re.Match[str]) -> str:
        if match[0] == "\\$":
            return "$"
        value, sign = values.get(match[1] or match[2]), match[3] or ""
        is_set = value is not None and (value != "" or not sign.startswith(":"))
        if sign.endswith("-"):
            return value or "" if is_set else expand(match[4], values)
        if sign.endswith("+"):
            return expand(match[4], values) if is_set else ""
        return value or ""

    return _VARIABLE.sub(one, text)


def _escape(lines: list[str]) -> str:
    for line in lines:  # directives stand before everything else, comments included
        directive = _DIRECTIVE.match(line.strip())
        if not directive:
            break
        if directive[1].lower() == "escape":
            return "`" if directive[2] == "`" else "\\"
    return "\\"


def _instruction(text: str, line: int, name: str) -> Instruction:
    match = _WORD.match(text)
    if not match:
        what = f"{name}:{line}: {text[:60]!r} is not an instruction"
        raise Invalid(what, code="DOCKERFILE_INVALID", hint=f"edit {name}, line {line}", file=name, line=line)
    word, rest = match[1].upper(), (match[2] or "").strip()
    if word in ("RUN", "COPY", "ADD") and _HEREDOC.search(rest):
        raise unsupported(name, line, word, "a heredoc (<<) is not read")
    flags: list[tuple[str, str]] = []
    while word not in ("CMD", "ENTRYPOINT", "LABEL", "ENV") and (flag := _FLAG.match(rest)):
        flags.append((flag[1], flag[2] or ""))
        rest = rest[flag.end() :]
    return Instruction(line=line, word=word, rest=rest, flags=tuple(flags))
