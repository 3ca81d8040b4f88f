"""What a project asks to have installed, read from its files.

    requirements.txt   with what it includes; taken as a lock when every line is pinned with hashes
    pyproject.toml     `[project] dependencies`; with a uv.lock beside it, that lock
    pylock.toml        a lock (PEP 751)
Only text is looked at here; versions are chosen elsewhere.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bough.kernel.errors import Invalid

NOTHING, RESOLVE, HASHED, PYLOCK, UV_LOCK = "nothing", "resolve", "hashed", "pylock", "uv.lock"

PYPROJECT = "pyproject.toml"
MAX_FILES = 50  # included files; more is a loop or a mistake

_PYLOCK_NAME = re.compile(r"pylock(\.[^./]+)?\.toml")
_INCLUDE = re.compile(r"^(-r|--requirement|-c|--constraint)(?:\s*=\s*|\s+)?(?P<path>\S+)")
_EDITABLE = re.compile(r"^(-e|--editable)\b")
_LOCAL_FOLDER = re.compile(r"^(\.{1,2}(/[^\s]*)?|file:[^\s]*|/[^\s]*)(\[.*\])?\s*$")
_INDEX_OPTION = re.compile(r"^(--index-url|-i|--extra-index-url|--find-links|-f|--no-index|--trusted-host)\b")


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """`kind` says what must be done with `files` (path in the bundle, text), of which `main` are named to uv; `options`
    are lines about where packages come from: needed when installing, kept nowhere."""

    kind: str
    files: tuple[tuple[str, str], ...] = ()
    main: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def find_requirements(folder: Path) -> tuple[str, ...]:
    """The file that says what a project needs, by the usual names; empty when there is none."""
    for name in ("pylock.toml", "requirements.txt", PYPROJECT):
        if (folder / name).is_file() and (name != PYPROJECT or "project" in _toml(folder, name)):
            return (name,)
    return ()


def read_inputs(
    folder: Path, requirements: tuple[str, ...], packages: tuple[str, ...], options: tuple[str, ...] = ()
) -> Inputs:
    """Raises `Invalid`: REQUIREMENTS_MISSING, REQUIREMENTS_INVALID, REQUIREMENTS_UNSUPPORTED, PATH_UNSAFE."""
    for package in packages:
        _check_line("the Dockerfile", 0, package)
    if not requirements:
        return Inputs(kind=RESOLVE if packages else NOTHING, packages=packages, options=options)
    special = [path for path in requirements if path.endswith(".toml")]
    if not special:
        return _requirements_files(folder, requirements, packages, options)
    path = special[0]
    if len(requirements) > 1:
        raise _unsupported(f"{path} cannot be combined with {', '.join(p for p in requirements if p != path)}")
    if path.rpartition("/")[2] == PYPROJECT:
        return msgspec.structs.replace(_project(folder, path, packages), options=options)
    if not _PYLOCK_NAME.fullmatch(path.rpartition("/")[2]):
        raise _unsupported(f"{path} is neither pyproject.toml nor pylock.toml")
    if packages:
        raise _unsupported(f"{path} is a complete lock: nothing can be added to it ({', '.join(packages)})")
    text = _text(folder, path)
    _toml(folder, path)
    return Inputs(kind=PYLOCK, files=((path, text),), main=(path,))


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines of a requirements file without comments and continuations, with the number of their first line."""
    start, whole = 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        start = start or number
        line = re.sub(r"(^|\s)#.*$", "", line)
        if line.endswith("\\"):
            whole += line[:-1] + " "
            continue
        whole += line
        if whole.strip():
            yield start, whole.strip()
        start, whole = 0, ""
    if whole.strip():
        yield start, whole.strip()


def _requirements_files(
    folder: Path, requirements: tuple[str, ...], packages: tuple[str, ...], given: tuple[str, ...]
) -> Inputs:
    files: dict[str, str] = {}
    options = list(given)
    waiting = list(requirements)
    hashed = bool(len(requirements) == 1 and not packages)
    while waiting:
        path = waiting.pop(0)
        if path in files:
            continue
        if len(files) >= MAX_FILES:
            raise _unsupported(f"{path}: more than {MAX_FILES} files include each other")
        files[path] = _text(folder, path)
        for number, line in logical_lines(files[path]):
            if included := _INCLUDE.match(line):
                waiting.append(_inside(folder, path, number, included["path"]))
                hashed = False
            elif _INDEX_OPTION.match(line):
                options.append(line)
            elif not line.startswith("--"):
                _check_line(path, number, line)
                hashed = hashed and "--hash=" in line
    hashed = hashed and any("--hash=" in text for text in files.values())
    return Inputs(
        kind=HASHED if hashed else RESOLVE, files=tuple(files.items()), main=requirements, packages=packages,
        options=tuple(options),
    )  # fmt: skip


def _project(folder: Path, path: str, packages: tuple[str, ...]) -> Inputs:
    data = _toml(folder, path)
    project = data.get("project")
    if not isinstance(project, dict):
        uses_poetry = "poetry" in _table(data.get("tool"))
        hint = "poetry export -o requirements.txt" if uses_poetry else "add a [project] table"
        raise _unsupported(f"{path} has no [project] table with dependencies (PEP 621)", hint)
    if "dependencies" in project.get("dynamic", ()):
        raise _unsupported(
            f"{path} computes its dependencies when the project is built", "list them under [project] dependencies"
        )
    files = [(path, _text(folder, path))]
    lock = path.removesuffix(PYPROJECT) + "uv.lock"
    if not packages and (folder / lock).is_file():
        return Inputs(kind=UV_LOCK, files=(*files, (lock, _text(folder, lock))), main=(path,))
    return Inputs(kind=RESOLVE, files=tuple(files), main=(path,), packages=packages)


def _check_line(path: str, number: int, line: str) -> None:
    where = f"{path}:{number}" if number else path
    is_archive = line.split()[0].endswith((".whl", ".gz", ".zip"))
    if _EDITABLE.match(line) or (_LOCAL_FOLDER.match(line.split(" ;")[0]) and not is_archive):
        raise _unsupported(
            f"{where}: {line!r} installs a folder, which cannot be locked",
            'the bundle\'s folder is importable as it is: list what it needs, or set requirements = "pyproject.toml"',
        )


def _inside(folder: Path, path: str, number: int, included: str) -> str:
    if "://" in included:
        raise _unsupported(f"{path}:{number}: {included!r} is fetched from elsewhere", "copy it into the project")
    target = (folder / path).parent.joinpath(included)
    try:
        return target.resolve().relative_to(folder.resolve()).as_posix()
    except ValueError:
        raise Invalid(
            f"{path}:{number}: {included!r} lies outside the project's folder", code="PATH_UNSAFE", path=included
        ) from None


def _text(folder: Path, path: str) -> str:
    try:
        if not (folder / path).resolve().is_relative_to(folder.resolve()):
            raise Invalid(f"{path!r} lies outside the project's folder", code="PATH_UNSAFE", path=path)
        return (folder / path).read_text("utf-8-sig")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise Invalid(
            f"there is no file {path} in the bundle", code="REQUIREMENTS_MISSING",
            hint="check `requirements` in bough.toml, and that .boughignore does not leave the file out", file=path,
        ) from None  # fmt: skip
    except (UnicodeDecodeError, ValueError) as error:
        raise Invalid(f"{path!r} is not UTF-8 text: {error}", code="REQUIREMENTS_INVALID", file=path) from error


def _toml(folder: Path, path: str) -> dict[str, object]:
    try:
        return tomllib.loads(_text(folder, path))
    except tomllib.TOMLDecodeError as error:
        what = f"{path} is not valid TOML: {error}"
        raise Invalid(what, code="REQUIREMENTS_INVALID", hint=f"edit {path}", file=path) from error


def _table(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _unsupported(what: str, hint: str = "set `requirements` in bough.toml to one file") -> Invalid:
    return Invalid(what, code="REQUIREMENTS_UNSUPPORTED", hint=hint)
