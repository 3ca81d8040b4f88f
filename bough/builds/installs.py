"""What a RUN line of a Dockerfile installs.

Nothing is run. Lines that install Python packages are understood, lines that prepare a container are passed over with a
reason, and any other line is refused: leaving out a step that mattered would fail later and less clearly.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import msgspec

# Options of `pip install` and `uv pip install` that take a value.
_WITH_VALUE = frozenset({
    "--timeout", "--default-timeout", "--retries", "--progress-bar", "--root-user-action", "--target", "-t",
    "--prefix",
    "--root", "--src", "--cache-dir", "--platform", "--python-version", "--only-binary", "--no-binary",
    "--upgrade-strategy", "--python", "-p", "--cert", "--proxy", "--link-mode", "--index-strategy", "--config-settings",
    "--log", "--abi",
})  # fmt: skip
_SOURCES = {
    "-i": "--extra-index-url", "--index-url": "--extra-index-url", "--default-index": "--extra-index-url",
    "--index": "--extra-index-url", "--extra-index-url": "--extra-index-url", "-f": "--find-links",
    "--find-links": "--find-links", "--trusted-host": "--trusted-host",
}  # fmt: skip
_TOOLS = frozenset({"pip", "setuptools", "wheel", "uv", "build"})

_HARMLESS = {
    "mkdir": "the program makes its own folders", "chown": "the program runs as the user of Bough",
    "chmod": "file modes come from the project's folder", "useradd": "the program runs as the user of Bough",
    "adduser": "the program runs as the user of Bough", "groupadd": "the program runs as the user of Bough",
    "addgroup": "the program runs as the user of Bough", "usermod": "the program runs as the user of Bough",
    "rm": "there is nothing to tidy", "echo": "prints only", "true": "does nothing", "set": "a setting of the shell",
    "ls": "prints only", "pwd": "prints only",
    ":": "does nothing", "ldconfig": "system libraries come from the machine",
    "update-ca-certificates": "certificates come from the machine", "locale-gen": "locales come from the machine",
    "touch": "the program makes its own files", "cat": "prints only", "which": "prints only",
    "find": "there is nothing to tidy",
}  # fmt: skip
_SYSTEM = {"apt-get": "install", "apt": "install", "apk": "add", "yum": "install", "dnf": "install"}
_QUIET = re.compile(r"\s*(?:[12]|&)?>>?\s*(?:/dev/null|&[12])(?=\s|$|[;&|)])")  # changes what is printed, nothing else


class Installs(msgspec.Struct, frozen=True, kw_only=True):
    requirements: tuple[str, ...] = ()  # paths in the container
    packages: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    project: bool = False  # installs the project itself: its pyproject.toml says what it needs
    system: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()  # why parts of the line have no effect


class NotUnderstood(Exception):
    """A part of the line that could matter and cannot be done; the text says which and what to do."""


def read_run(command: str) -> Installs:
    """What a shell command line installs. Raises `NotUnderstood`."""
    parts = [_simple(part) for part in _split(command)]
    return Installs(
        requirements=tuple(path for part in parts for path in part.requirements),
        packages=tuple(package for part in parts for package in part.packages),
        options=tuple(option for part in parts for option in part.options),
        project=any(part.project for part in parts),
        system=tuple(package for part in parts for package in part.system),
        reasons=tuple(dict.fromkeys(reason for part in parts for reason in part.reasons)),
    )


def _split(command: str) -> list[list[str]]:
    lexer = shlex.shlex(_QUIET.sub("", command), posix=True, punctuation_chars="&|;<>()")
    lexer.commenters = ""
    lexer.whitespace_split = True
    parts: list[list[str]] = [[]]
    try:
        for token in lexer:
            if token in ("&&", ";", "||"):
                parts.append([])
            elif set(token) <= set("&|;<>()"):
                raise NotUnderstood(f"{token!r} is beyond what is read here")
            else:
                parts[-1].append(token)
    except ValueError as error:
        raise NotUnderstood(f"cannot be read: {error}") from error
    return [part for part in parts if part]


def _simple(part: list[str]) -> Installs:
    while part and (re.fullmatch(r"[A-Za-z_]\w*=.*", part[0], re.S) or part[0] in ("sudo", "exec")):
        part = part[1:]
    if not part:
        return Installs(reasons=("sets a variable for one line",))
    program = part[0].rpartition("/")[2]
    if re.fullmatch(r"python[\d.]*", program) and part[1:2] == ["-m"] and len(part) > 2:
        program, part = part[2], part[2:]
    if re.fullmatch(r"pip[\d.]*", program):
        return _pip(part[1:])
    if program == "uv":
        return _uv(part[1:])
    if program in ("venv", "virtualenv", "compileall"):
        return _venv()
    if program in (".", "source") and part[1:] and part[1].endswith("activate"):
        return _venv()
    if program in _SYSTEM:
        return _system(part, _SYSTEM[program])
    if program in _HARMLESS:
        return Installs(reasons=(f"{program}: {_HARMLESS[program]}",))
    if program in ("poetry", "pipenv", "pdm", "conda", "mamba"):
        raise NotUnderstood(f"{program} is not read: export its lock to requirements.txt, and write pip install -r")
    raise NotUnderstood(f"{' '.join(part)[:80]!r} is not run here")


def _pip(words: list[str]) -> Installs:
    verb = words[0] if words else ""
    if verb in ("cache", "config", "list", "check", "freeze", "--version", "show"):
        return Installs(reasons=(f"pip {verb}: has no effect here",))
    if verb not in ("install", "sync"):
        raise NotUnderstood(f"pip {verb} is not run here")
    requirements: list[str] = []
    packages: list[str] = []
    options: list[str] = []
    project = False
    waiting = iter(words[1:])
    for word in waiting:
        name, equals, value = word.partition("=")
        if word in ("-r", "--requirement", "--requirements"):
            requirements.append(_next(waiting, word))
        elif name in ("--requirement", "--requirements") and equals:
            requirements.append(value)
        elif word.startswith("-r") and not word.startswith("--"):
            requirements.append(word[2:])
        elif word in ("-c", "--constraint", "--constraints") or name == "--constraint":
            raise NotUnderstood("a constraints file is not read: put its versions into the requirements")
        elif word in ("-e", "--editable"):
            project = _is_project(_next(waiting, word)) or project
        elif name in _SOURCES:
            options.append(f"{_SOURCES[name]} {value if equals else _next(waiting, word)}")
        elif name in _WITH_VALUE:
            _ = value if equals else _next(waiting, word)
        elif word.startswith("-"):
            continue  # says how to install, not what
        elif word.startswith((".", "/")) and verb == "install":
            project = _is_project(word) or project
        elif verb == "sync":
            requirements.append(word)
        elif re.split(r"[\[<>=!~;@ ]", word)[0].lower() not in _TOOLS:
            packages.append(word)
    nothing = not (requirements or packages or project)
    return Installs(
        requirements=tuple(requirements), packages=tuple(packages), options=tuple(options), project=project,
        reasons=("uv installs packages here, whatever pip's version",) if nothing else (),
    )  # fmt: skip


def _uv(words: list[str]) -> Installs:
    if words[:1] == ["pip"]:
        return _pip(words[1:])
    if words[:1] == ["sync"]:
        return Installs(project=True)
    if words[:1] in (["venv"], ["python"], ["cache"]):
        return _venv()
    raise NotUnderstood(f"uv {' '.join(words[:1])} is not run here")


def _venv() -> Installs:
    return Installs(reasons=("Bough makes the environment itself",))


def _system(part: list[str], verb: str) -> Installs:
    if verb not in part:
        return Installs(reasons=(f"{part[0]}: system packages come from the machine",))
    packages = tuple(word for word in part[part.index(verb) + 1 :] if not word.startswith("-"))
    return Installs(system=packages, reasons=(f"system packages are not installed: {' '.join(packages)}",))


def _is_project(path: str) -> bool:
    if re.sub(r"\[.*\]$", "", path).rstrip("/") in (".", ""):
        return True
    raise NotUnderstood(f"the folder {path!r} cannot be installed: list what it needs in the requirements")


def _next(waiting: Iterator[str], option: str) -> str:
    value = next(waiting, None)
    if value is None:
        raise NotUnderstood(f"{option} has no value")
    return value
