"""A plain Dockerfile, read as what it asks for, without Docker.

What is understood: FROM python (also several stages of Python), WORKDIR, ENV, ARG with defaults, COPY and ADD of local
files, RUN that installs Python packages, EXPOSE, CMD, ENTRYPOINT, HEALTHCHECK with a URL. What has no meaning outside a
container is passed over with a reason. Everything else is refused by line, because a program that starts without a
step that its author relied on is worse than one that does not start.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Callable, Mapping

import msgspec

from bough.builds.installs import NotUnderstood, read_run
from bough.builds.instructions import Instruction, expand, parse, words
from bough.builds.layout import place_in_context
from bough.builds.recipe import Copy, Ignored, Recipe, unsupported
from bough.kernel.errors import Invalid

_VERSION = re.compile(r"^(3(?:\.\d+)?)(\.\d+)?(?![\w.])")
_URL = re.compile(r"https?://(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1?\])(?::[^/\s\"']*)?(/[^\s\"'|;)]*)?")
_ARCHIVE = re.compile(r"\.(tar|tgz|tbz2?|txz)(\.\w+)?$")
_PAIR = re.compile(r"""([A-Za-z_][\w.-]*)=((?:"(?:[^"\\]|\\.)*"|'[^']*'|\\.|[^\s"'\\])*)""", re.S)
# Folders that hold installed packages: copying them from another stage copies its environment.
_ENVIRONMENT = re.compile(
    r"(^|/)(site-packages|\.?venv|virtualenv|\.local|bin)(/|$)|^/(usr/local|install|opt/[^/]+|wheels)/?$"
)

# Variables of a container's Python that would harm here.
_DROPPED = {
    "PATH": "the environment's programs come first on PATH already",
    "VIRTUAL_ENV": "Bough makes the environment itself",
    "PYTHONDONTWRITEBYTECODE": "every start would compile all packages again",
    "PYTHONHOME": "the interpreter knows its place",
}
_NO_EFFECT = {
    "USER": "the program runs as the user of Bough", "LABEL": "labels are for images",
    "MAINTAINER": "labels are for images", "VOLUME": "folders of the machine are used as they are",
    "STOPSIGNAL": "programs are stopped with SIGTERM",
}  # fmt: skip


class _Stage(msgspec.Struct):
    """A stage while it is read. `foreign` names an image that is not Python: only an error once it is needed."""

    line: int
    name: str
    foreign: str = ""
    python: str = ""
    workdir: str = "/"
    environment: dict[str, str] = {}
    arguments: dict[str, str] = {}
    requirements: list[str] = []
    packages: list[str] = []
    options: list[str] = []
    system: list[str] = []
    port: int = 0
    exposed: bool = False  # by EXPOSE, which counts more than ENV PORT
    cmd: tuple[list[str] | None, str] = (None, "")
    entrypoint: tuple[list[str] | None, str] = (None, "")
    health: str = ""
    copies: list[Copy] = []
    ignored: list[Ignored] = []


def read_dockerfile(text: str, name: str = "Dockerfile", arguments: Mapping[str, str] | None = None) -> Recipe:
    """The recipe of the last stage. `arguments` stand for `--build-arg`. Raises `Invalid`: DOCKERFILE_UNSUPPORTED or
    DOCKERFILE_INVALID, with file, line and instruction."""
    reader = _Reader(name, arguments or {})
    for instruction in parse(text, name):
        reader.take(instruction)
    return reader.recipe()


class _Reader:
    def __init__(self, name: str, given: Mapping[str, str]) -> None:
        self._name = name
        self._given = given
        self._global: dict[str, str] = {}
        self._stages: list[_Stage] = []
        self._known: dict[str, Callable[[_Stage, Instruction], None]] = {
            "ARG": self._arg, "ENV": self._env, "WORKDIR": self._workdir, "COPY": self._copy, "ADD": self._add,
            "RUN": self._run, "EXPOSE": self._expose, "CMD": self._cmd, "ENTRYPOINT": self._entrypoint,
            "HEALTHCHECK": self._health, "SHELL": self._shell,
        }  # fmt: skip

    def take(self, instruction: Instruction) -> None:
        if instruction.word == "FROM":
            self._stages.append(self._from(instruction))
        elif not self._stages:
            if instruction.word != "ARG":
                raise self._invalid(instruction, "stands before FROM")
            self._declare(self._global, instruction, {})
        elif self._stages[-1].foreign:
            return
        elif reason := _NO_EFFECT.get(instruction.word):
            self._ignore(self._stages[-1], instruction, reason)
        elif instruction.word in self._known:
            self._known[instruction.word](self._stages[-1], instruction)
        else:
            raise self._unsupported(instruction, "this instruction is not read")

    def recipe(self) -> Recipe:
        if not self._stages:
            raise Invalid(f"{self._name} has no FROM", code="DOCKERFILE_INVALID", file=self._name)
        stage = self._stages[-1]
        if stage.foreign:
            raise unsupported(self._name, stage.line, "FROM", f"{stage.foreign} is not a Python image")
        argv, shell = _command(stage.entrypoint, stage.cmd)
        return Recipe(
            python=stage.python, workdir=stage.workdir, environment=dict(stage.environment),
            requirements=tuple(dict.fromkeys(stage.requirements)), packages=tuple(dict.fromkeys(stage.packages)),
            options=tuple(dict.fromkeys(stage.options)), system_packages=tuple(dict.fromkeys(stage.system)),
            port=stage.port, argv=tuple(argv), shell=shell, health_path=stage.health, copies=tuple(stage.copies),
            ignored=tuple(stage.ignored),
        )  # fmt: skip

    def _from(self, instruction: Instruction) -> _Stage:
        parts = expand(instruction.rest, self._global).split()
        if len(parts) not in (1, 3) or (len(parts) == 3 and parts[1].upper() != "AS"):
            raise self._invalid(instruction, "must be FROM image [AS name]")
        image, name = parts[0], parts[2].lower() if len(parts) == 3 else ""
        if base := self._stage(image):
            # A deep copy: the two go on separately.
            stage = msgspec.convert(msgspec.to_builtins(base), _Stage)
            stage.line, stage.name, stage.arguments = instruction.line, name, {}
            return stage
        stage = _Stage(line=instruction.line, name=name)
        tag = _python_tag(image)
        if tag is None:
            stage.foreign = image
        elif version := _VERSION.match(tag):
            stage.python = version[1]
            if version[2]:
                self._ignore(stage, instruction, f"any Python {version[1]} is taken for {version[1]}{version[2]}")
        return stage

    def _stage(self, name: str) -> _Stage | None:
        named = next((stage for stage in reversed(self._stages) if stage.name and stage.name == name.lower()), None)
        if named is None and name.isascii() and name.isdigit() and int(name[:9]) < len(self._stages):
            return self._stages[int(name[:9])]
        return named

    def _arg(self, stage: _Stage, instruction: Instruction) -> None:
        self._declare(stage.arguments, instruction, {**self._global, **_values(stage)})

    def _declare(self, into: dict[str, str], instruction: Instruction, values: Mapping[str, str]) -> None:
        for name, equals, default in (word.partition("=") for word in self._split(instruction)):
            if name in self._given:
                into[name] = self._given[name]
            elif equals:
                into[name] = expand(default, {**into, **values})
            elif name in self._global:
                into[name] = self._global[name]

    def _env(self, stage: _Stage, instruction: Instruction) -> None:
        first, *others = instruction.rest.split(None, 1) or [""]
        if "=" in first:
            pairs = [(found[1], _unquote(found[2])) for found in _PAIR.finditer(instruction.rest)]
        else:  # the old form: ENV NAME value with spaces
            pairs = [(first, _unquote(others[0]))] if others else []
        if not pairs:
            raise self._invalid(instruction, "must be ENV NAME=value")
        values = _values(stage)
        for name, written in pairs:
            if reason := _DROPPED.get(name):
                self._ignore(stage, instruction, f"{name}: {reason}")
                continue
            value = expand(written, values)
            if name == "PORT":  # the platform sets it; what stood there is the port that the program expects
                stage.port = int(value) if _is_port(value) and not stage.port else stage.port
                self._ignore(stage, instruction, "PORT: the platform sets it")
                stage.arguments["PORT"] = value
            else:
                stage.environment[name] = value

    def _workdir(self, stage: _Stage, instruction: Instruction) -> None:
        path = expand(_unquote(instruction.rest), _values(stage))
        stage.workdir = _normal(posixpath.join(stage.workdir, path))

    def _copy(self, stage: _Stage, instruction: Instruction) -> None:
        source = instruction.flag("from")
        *paths, target = self._paths(stage, instruction)
        if source is not None:
            for path in paths:
                self._copy_from(stage, instruction, source, path, target, len(paths) > 1)
            return
        stage.copies += self._copies(stage, instruction, paths, target)

    def _add(self, stage: _Stage, instruction: Instruction) -> None:
        *paths, target = self._paths(stage, instruction)
        for path in paths:
            if "://" in path or path.startswith("git@"):
                raise self._unsupported(instruction, f"{path.split('?')[0]} is fetched from elsewhere")
            if _ARCHIVE.search(path):
                raise self._unsupported(instruction, f"{path} would be unpacked; unpack it in the project")
        stage.copies += self._copies(stage, instruction, paths, target)

    def _paths(self, stage: _Stage, instruction: Instruction) -> list[str]:
        listed = words(instruction.rest)
        paths = [expand(path, _values(stage)) for path in (self._split(instruction) if listed is None else listed)]
        if len(paths) < 2 or not all(paths):
            raise self._invalid(instruction, f"must be {instruction.word} source… target")
        return paths

    def _copies(self, stage: _Stage, instruction: Instruction, paths: list[str], target: str) -> list[Copy]:
        place = _normal(posixpath.join(stage.workdir, target))
        # A target that exists as a folder takes the source into it; WORKDIR makes its folder.
        into = target.endswith("/") or len(paths) > 1 or f"{stage.workdir}/".startswith(place.rstrip("/") + "/")
        result = []
        for path in paths:
            source = posixpath.normpath(path.lstrip("/") or ".")
            if source.startswith(".."):
                raise self._unsupported(instruction, f"{path} lies outside the project's folder")
            result.append(Copy(source=source, target=place, into=into, line=instruction.line))
        return result

    def _copy_from(  # noqa: PLR0913, RUF100 - one COPY, taken apart
        self, stage: _Stage, instruction: Instruction, source: str, path: str, target: str, many: bool
    ) -> None:
        origin = self._stage(source)
        if origin is None and "astral-sh/uv" in source:
            self._ignore(stage, instruction, "uv is used anyway")
        elif origin is None or origin.foreign:
            image = origin.foreign if origin else source
            raise self._unsupported(instruction, f"{path} comes from {image}, which is not Python")
        elif found := place_in_context(_normal(posixpath.join("/", path)), origin.copies):
            stage.copies += self._copies(stage, instruction, [found], target + ("/" if many else ""))
        elif _ENVIRONMENT.search(path.rstrip("/")):
            stage.requirements += origin.requirements
            stage.packages += origin.packages
            stage.options += origin.options
        else:
            raise self._unsupported(instruction, f"{path} is made by a step of another stage")

    def _run(self, stage: _Stage, instruction: Instruction) -> None:
        listed = words(instruction.rest)
        command = shlex.join(listed) if listed else instruction.rest
        if listed and len(listed) == 3 and listed[1] == "-c":
            command = listed[2]
        try:
            installs = read_run(expand(command, _values(stage)))
        except NotUnderstood as error:
            raise self._unsupported(instruction, str(error)) from error
        present = stage.copies + self._mounts(stage, instruction)
        paths = [*installs.requirements, *(["pyproject.toml"] if installs.project else [])]
        for path in paths:
            found = place_in_context(_normal(posixpath.join(stage.workdir, path)), present)
            if found is None:
                raise self._unsupported(instruction, f"{path} has not been copied before this line")
            stage.requirements.append(found)
        stage.packages += installs.packages
        stage.options += installs.options
        stage.system += installs.system
        for reason in installs.reasons:
            self._ignore(stage, instruction, reason)

    def _mounts(self, stage: _Stage, instruction: Instruction) -> list[Copy]:
        result: list[Copy] = []
        for name, value in instruction.flags:
            settings = dict(part.partition("=")[::2] for part in value.split(","))
            source = settings.get("source", settings.get("src", "."))
            target = settings.get("target", settings.get("dst", settings.get("destination", "")))
            if name == "mount" and settings.get("type", "bind") == "bind" and target and "from" not in settings:
                place = _normal(posixpath.join(stage.workdir, target))
                path = posixpath.normpath(source.lstrip("/") or ".")
                result.append(Copy(source=path, target=place, into=False, line=instruction.line))
        return result

    def _expose(self, stage: _Stage, instruction: Instruction) -> None:
        for word in expand(instruction.rest, _values(stage)).split():
            number, _, protocol = word.partition("/")
            if not _is_port(number) or protocol not in ("", "tcp", "udp"):
                raise self._invalid(instruction, f"{word!r} is not a port")
            if protocol != "udp" and not stage.exposed:
                stage.port, stage.exposed = int(number), True

    def _cmd(self, stage: _Stage, instruction: Instruction) -> None:
        stage.cmd = self._command(instruction)

    def _entrypoint(self, stage: _Stage, instruction: Instruction) -> None:
        stage.entrypoint = self._command(instruction)

    def _command(self, instruction: Instruction) -> tuple[list[str] | None, str]:
        listed = words(instruction.rest)
        if listed is None and not instruction.rest:
            raise self._invalid(instruction, "has no command")
        return (listed, "") if listed is not None else (None, instruction.rest)

    def _health(self, stage: _Stage, instruction: Instruction) -> None:
        if instruction.rest.strip().upper() == "NONE":
            stage.health = ""
        elif url := _URL.search(expand(instruction.rest, _values(stage))):
            stage.health = (url[1] or "/").split("#")[0]
        else:
            self._ignore(stage, instruction, "no URL in it: the service is ready once `health` of bough.toml answers")

    def _shell(self, stage: _Stage, instruction: Instruction) -> None:
        listed = words(instruction.rest)
        if not listed or listed[0].rpartition("/")[2] not in ("sh", "bash", "dash", "ash"):
            raise self._unsupported(instruction, "commands are run by /bin/sh")
        self._ignore(stage, instruction, "commands are run by /bin/sh")

    def _split(self, instruction: Instruction) -> list[str]:
        try:
            return shlex.split(instruction.rest)
        except ValueError as error:
            raise self._invalid(instruction, str(error)) from error

    def _ignore(self, stage: _Stage, instruction: Instruction, reason: str) -> None:
        stage.ignored.append(Ignored(line=instruction.line, instruction=instruction.word, reason=reason))

    def _unsupported(self, instruction: Instruction, why: str) -> Invalid:
        return unsupported(self._name, instruction.line, instruction.word, why)

    def _invalid(self, instruction: Instruction, why: str) -> Invalid:
        return Invalid(
            f"{self._name}:{instruction.line}: {instruction.word}: {why}", code="DOCKERFILE_INVALID",
            hint=f"edit {self._name}, line {instruction.line}", file=self._name, line=instruction.line,
        )  # fmt: skip


def _command(entrypoint: tuple[list[str] | None, str], cmd: tuple[list[str] | None, str]) -> tuple[list[str], str]:
    """How Docker puts the two together: (words, "") or ([], shell command)."""
    words_first, shell_first = entrypoint
    words_then, shell_then = cmd
    if shell_first:
        return [], shell_first
    if words_first:
        return [*words_first, *(words_then or ()), *(["/bin/sh", "-c", shell_then] if shell_then else [])], ""
    return (words_then, "") if words_then else ([], shell_then)


def _python_tag(image: str) -> str | None:
    """The tag of a Python image; None for any other image."""
    name, _, tag = image.partition("@")[0].rpartition("/")[2].partition(":")
    if name == "python":
        return tag
    if name == "uv" and tag.startswith("python"):
        return tag.removeprefix("python")
    return None


def _values(stage: _Stage) -> dict[str, str]:
    return {**stage.arguments, **stage.environment}


def _normal(path: str) -> str:
    """An absolute path without `.`, `..` and doubled slashes."""
    return "/" + posixpath.normpath(path).lstrip("/").removeprefix(".")


def _unquote(value: str) -> str:
    """`value` without its quotes; a `$` that is not to be filled in stays behind a backslash, for `expand`."""
    done, quote, at = "", "", 0
    while at < len(value):
        char, then = value[at], value[at + 1 : at + 2]
        at += 1
        if char == "\\" and quote != "'" and then and (not quote or then in '"\\$'):
            done += "\\$" if then == "$" else then
            at += 1
        elif char == quote or (not quote and char in "'\""):
            quote = "" if quote else char
        else:
            done += "\\$" if char == "$" and quote == "'" else char
    return done


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text[:6]) < 65536
