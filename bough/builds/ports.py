"""A command that binds a fixed port, made to bind the port that the platform gives.

In a container a fixed port is free for sure; here several run at once. `--port 8080`, `--bind 0.0.0.0:8080` and their
like are replaced whatever the number, since they can mean nothing else; a lone `8080` or `host:8080` only when it is
the port that the Dockerfile exposes.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping

_HOST = r"(?:[A-Za-z0-9_.*-]*|\[[0-9A-Fa-f:]*\])"
_ANY_ADDRESS = r"(?:|\*|0\.0\.0\.0|127\.0\.0\.1|localhost|\[::1?\])"  # what one binds, and no other machine
_OPTION = r"(?:--[\w.-]*port|-p|-P|--http|--listen-port)"
_BIND = r"(?:--bind|-b|--listen|--http-socket|--http|--addr|--address|-l)"
# Group 1 is kept, group 2 is the port.
_STRONG = re.compile(
    rf"((?<![^\s\"'])(?:{_OPTION}(?:\s+|\s*=\s*|(?<=-[pP]))[\"']?|{_BIND}(?:\s+|\s*=\s*|(?<=-[bl]))[\"']?(?:tcp://|http://)?{_HOST}:))"
    r"(\d{2,5})(?![\w.:])"
)
_SHELLS = frozenset({"sh", "bash", "dash", "ash"})
_COMPOUND = re.compile(r"[;&|\n`(){}<>]|^\s*(?:exec|cd|if|for|while|set|export|\.|source)\b|^\s*\w+=")


def find_port(text: str) -> int:
    """The port that a command line names in a way that can mean nothing else; 0 when it names none."""
    found = _STRONG.search(text)
    return int(found[2]) if found and 0 < int(found[2]) < 65536 else 0


def bind_platform_port(text: str, exposed: int = 0) -> str:
    """A shell command with `$PORT` where it had a fixed port; unchanged when it has none, or reads PORT already."""
    spans = [found.span(2) for found in _STRONG.finditer(text)]
    if exposed:
        lone = rf"(?<![^\s\"'=])({_ANY_ADDRESS}:)?({exposed})(?![\w.:-])"
        spans += [found.span(2) for found in re.finditer(lone, text) if _is_bound(text, found)]
    for start, end in sorted(set(spans), reverse=True):
        variable = "'\"$PORT\"'" if _in_single_quotes(text, start) else "$PORT"
        text = text[:start] + variable + text[end:]
    return text


def argv_with_platform_port(argv: Iterable[str], exposed: int = 0) -> tuple[list[str], str]:
    """The same for a command given as words: (words, "") when nothing changed, else ([], shell command), because only
    a shell reads `$PORT`."""
    words = list(argv)
    if len(words) == 3 and words[0].rpartition("/")[2] in _SHELLS and words[1] in ("-c", "-ec", "-lc"):
        return [*words[:2], bind_platform_port(words[2], exposed)], ""
    text = shlex.join(words)
    changed = bind_platform_port(text, exposed)
    return ([], f"exec {changed}") if changed != text else (words, "")


def exports(environment: Mapping[str, str], exposed: int) -> tuple[dict[str, str], str]:
    """Variables such as UVICORN_PORT=8000 become `export UVICORN_PORT=$PORT; `: (the others, the shell's prefix)."""
    if not exposed:
        return dict(environment), ""
    moved = [name for name, value in environment.items() if name.endswith("_PORT") and value == str(exposed)]
    rest = {name: value for name, value in environment.items() if name not in moved}
    return rest, "".join(f"export {name}=$PORT; " for name in moved)


def replace_shell(command: str) -> str:
    """`exec` before a simple command: signals then reach the program and not a shell that waits for it."""
    return command if _COMPOUND.search(command) else f"exec {command.strip()}"


def _is_bound(text: str, found: re.Match[str]) -> bool:
    """A lone number is a port unless it is the value of an option that is not about ports."""
    if found[1] or text[found.start() - 1 : found.start()] == "=":
        return bool(found[1]) or "port" in text[: found.start()].rpartition(" ")[2].lower()
    before = text[: found.start()].split()
    return bool(before) and not before[-1].startswith("-")


def _in_single_quotes(text: str, position: int) -> bool:
    quote = ""
    escaped = False
    for char in text[:position]:
        if escaped:
            escaped = False
        elif char == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
    return quote == "'"
