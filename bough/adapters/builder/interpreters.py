"""The Pythons of this machine.

The one that runs Bough is known without asking; for another version uv's list and pyenv's folders are read, the best
match is started once to make sure that it works, and remembered until its file changes.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec

from bough.adapters.builder import Interpreter
from bough.kernel.errors import Invalid, WorkloadFailed
from bough.kernel.files import write_whole
from bough.kernel.pythons import OLDEST, numbers, wrong

PROBE_S = 10.0

_PROBE = (
    "import sys, platform; print(getattr(sys, '_base_executable', sys.executable));"
    "print(platform.python_version()); print(sys.implementation.name)"
)


class _Memo(msgspec.Struct, frozen=True):
    interpreter: Interpreter
    mtime_ns: int


def find(request: str, uv: str, memory: Path) -> Interpreter:
    """The Python for `request`. Raises `Invalid` (PYTHON_INVALID) or `WorkloadFailed` (PYTHON_NOT_FOUND)."""
    if said := wrong(request):
        raise Invalid(said, code="PYTHON_INVALID", hint='write python = "3.11"')
    own = running()
    if matches(own.version, request):
        return own
    memo = memory / f"python-{request}.json"
    if (known := _recall(memo)) is not None:
        return known
    candidates = installed(uv)
    for candidate in candidates:
        if matches(candidate.version, request) and (found := probe(candidate.path)) and matches(found.version, request):
            if numbers(found.version) < OLDEST:
                break
            stamp = Path(found.path).stat().st_mtime_ns
            write_whole(memo, msgspec.json.encode(_Memo(found, stamp)))
            return found
    usable = [f"{c.version} ({c.path})" for c in candidates if numbers(c.version) >= OLDEST]
    raise WorkloadFailed(
        f"Python {request} is not installed on this machine; there is {', '.join(usable)}",
        code="PYTHON_NOT_FOUND",
        hint=f'write python = "{_minor(own.version)}" in bough.toml, or install it: uv python install {request}',
        python=request, installed=usable,
    )  # fmt: skip


def running() -> Interpreter:
    """The Python that runs Bough, outside any virtual environment."""
    path = getattr(sys, "_base_executable", "") or sys.executable
    return Interpreter(
        path=os.path.realpath(path), version=platform.python_version(), implementation=sys.implementation.name
    )


def installed(uv: str) -> list[Interpreter]:
    """Newest first, one per version, none started: what is listed but does not run is found out by `probe`."""
    listed = {own.version: own for own in [running()]}
    for found in (*_uv_list(uv), *_pyenv_list()):
        listed.setdefault(found.version, found)
    return sorted(listed.values(), key=lambda one: numbers(one.version), reverse=True)


def probe(path: str) -> Interpreter | None:
    """The interpreter at `path` as it describes itself; None when it does not run."""
    try:
        done = subprocess.run(  # noqa: S603 - a path from the machine's own lists
            [path, "-I", "-c", _PROBE], capture_output=True, text=True, timeout=PROBE_S, check=True
        )
        real, version, implementation = done.stdout.split("\n")[:3]
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Interpreter(path=os.path.realpath(real), version=version, implementation=implementation)


def matches(version: str, request: str) -> bool:
    """Whether 3.11.7 is what 3, 3.11, 3.11.7 or nothing in particular asks for."""
    return not request or version == request or version.startswith(request + ".")


def _recall(memo: Path) -> Interpreter | None:
    try:
        known = msgspec.json.decode(memo.read_bytes(), type=_Memo)
        return known.interpreter if Path(known.interpreter.path).stat().st_mtime_ns == known.mtime_ns else None
    except (OSError, msgspec.DecodeError):
        return None


def _uv_list(uv: str) -> Iterable[Interpreter]:
    command = [uv, "python", "list", "--only-installed", "--no-python-downloads", "--output-format", "json"]
    folders = os.environ.get("PATH", "").split(os.pathsep)
    shims = str(_pyenv() / "shims")  # each is a shell script that looks for versions, time and again, and then refuses
    environment = os.environ | {"PATH": os.pathsep.join(each for each in folders if each.rstrip("/") != shims)}
    try:
        done = subprocess.run(  # noqa: S603 - uv's own binary
            command, capture_output=True, timeout=60, check=True, env=environment
        )
        rows = json.loads(done.stdout)
        return [
            Interpreter(path=row["path"], version=row["version"], implementation=row["implementation"])
            for row in rows
            if row["implementation"] == "cpython" and row["variant"] == "default"
        ]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        return []


def _pyenv_list() -> Iterable[Interpreter]:
    """pyenv's shims refuse versions that are not selected; the versions themselves run."""
    for path in _pyenv().glob("versions/3.*/bin/python3"):
        if re.fullmatch(r"3\.\d+\.\d+", version := path.parent.parent.name):
            yield Interpreter(path=str(path), version=version)


def _pyenv() -> Path:
    return Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])
