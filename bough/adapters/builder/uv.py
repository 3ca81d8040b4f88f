"""Environments made by uv.

    <home>/locks/<key>.txt       locked requirements with hashes; key: what was asked, the Python, the machine
    <home>/envs/<digest>/        a virtual environment at its final place (so that tracebacks and scripts name the right
                                 files); digest: the lock, the Python, what a replica needs. `envs` may be a link to
                                 a folder that several homes of one user share
    <home>/envs/<digest>/READY   written last. A folder without it is what a killed build left: it is made anew

A lock file per digest is held by Bough and by every uv that it starts: when Bough is killed, the next build waits until
an orphaned uv has ended, and only then clears what it left.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
from uv import find_uv_bin

from bough.adapters.builder import BuiltEnvironment, EnvironmentRequest, Interpreter, Log, Step, bytecode
from bough.adapters.builder import interpreters as pythons
from bough.adapters.builder.complaints import complaint, redact
from bough.adapters.builder.requirements import (
    HASHED,
    NOTHING,
    PYLOCK,
    RESOLVE,
    UV_LOCK,
    Inputs,
    find_requirements,
    logical_lines,
    read_inputs,
)  # fmt: skip
from bough.kernel.files import as_exhausted, locked, locked_at_once, write_whole

FORMAT = 1  # part of every key: raise it when the same input must give another lock or environment
READY = "bough-ready.json"
COMPILED = "bough-compiled"
# What a replica's own code imports; taken from the user's lock when it is there.
RUNTIME_NEEDS = ("msgspec>=0.18.6,<1",)

# pip's settings that have the same meaning in uv; used where uv's own are not set.
_FROM_PIP = {
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX", "PIP_EXTRA_INDEX_URL": "UV_INDEX", "PIP_FIND_LINKS": "UV_FIND_LINKS",
    "PIP_CONSTRAINT": "UV_CONSTRAINT", "PIP_CERT": "SSL_CERT_FILE",
    "PIP_TRUSTED_HOST": "UV_INSECURE_HOST",
}  # fmt: skip
_SAME_AS = {"UV_DEFAULT_INDEX": "UV_INDEX_URL", "UV_INDEX": "UV_EXTRA_INDEX_URL"}
# Variables that would move the environment, weaken the lock, or slow every later start.
_NOT_PASSED_ON = (
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONDONTWRITEBYTECODE",
    "UV_PYTHON",
    "UV_SYSTEM_PYTHON",
    "UV_BREAK_SYSTEM_PACKAGES",
    "UV_PROJECT",
    "UV_PROJECT_ENVIRONMENT",
    "UV_WORKING_DIR",
    "UV_NO_VERIFY_HASHES",
    "UV_REQUIRE_HASHES",
    "UV_COMPILE_BYTECODE",
    "UV_CUSTOM_COMPILE_COMMAND",
    "UV_VENV_SEED",
    "UV_VENV_CLEAR",
)
# Settings that change nothing about which versions are chosen, and differ between machines and days.
_NOT_IN_KEY = re.compile(
    r"UV_(CACHE_DIR|LINK_MODE|CONCURRENT_\w+|HTTP_\w+|OFFLINE|NO_CACHE|NO_PROGRESS|LOG_\w+|\w*(USER|PASS)\w*)"
)


class _Lock(msgspec.Struct, frozen=True, kw_only=True):
    """What gets installed. `file` is given to uv; `digest` stands for its content."""

    digest: str
    file: Path | None
    has_runtime: bool = False
    hashed: bool = True
    options: tuple[str, ...] = ()


class UvBuilder:
    def __init__(self, home: Path, environment: Mapping[str, str] | None = None, uv: str = "") -> None:
        """`environment` stands for the process's own."""
        self._home = home.resolve()
        self._locks = self._home / "locks"
        self._envs = (self._home / "envs").resolve()  # a link: homes of one machine share their environments
        self._uv = uv or find_uv_bin()
        self._environment = uv_environment(os.environ if environment is None else environment, self._home)
        # The one setting of pip's that uv reads from no variable of its own.
        is_set = self._environment.get("PIP_NO_INDEX", "").lower() in ("1", "true", "yes", "on")
        self._no_index = ["--no-index"] if is_set else []

    def build(self, request: EnvironmentRequest, log: Log) -> BuiltEnvironment:
        started = time.perf_counter()
        folder = Path(request.folder)
        python = pythons.find(request.python, self._uv, self._locks)
        names = request.requirements or (() if request.packages else find_requirements(folder))
        inputs = read_inputs(folder, names, request.packages, request.options)
        with as_exhausted(self._home):
            lock, cached = self._lock(inputs, folder, python, request.refresh, log)
            runtime = None if lock.has_runtime else self._runtime_lock(folder, python, log)
            took = time.perf_counter() - started
            source = ", ".join((*inputs.main, *inputs.packages)) or "no requirements"
            note = f"{source}, Python {python.version}"
            log(f"lock: {note}{' (known)' if cached else ''} {took:.2f} s")
            lock_step = Step(name="lock", seconds=took, cached=cached, note=note)
            built = self._environment_for(lock, runtime, folder, python, log)
        return msgspec.structs.replace(built, steps=(lock_step, *built.steps))

    def compile(self, environment: BuiltEnvironment, log: Log) -> None:
        folder, started = Path(environment.folder), time.perf_counter()
        with locked_at_once(self._envs / f".{folder.name}.compiling") as held:
            if held is None or (folder / COMPILED).exists():
                return
            # Exit status 1 only says that some file is no valid Python, as many packages ship for their own tests.
            command = [environment.python, "-m", "compileall", "-q", "-q", "-j", "0", str(folder / "lib")]
            subprocess.run(  # noqa: S603 - the environment's own Python
                command, check=False, env=self._environment, pass_fds=(held,)
            )
            (folder / COMPILED).touch()
        log(f"bytecode: {time.perf_counter() - started:.2f} s")

    def interpreters(self) -> list[Interpreter]:
        return [found for one in pythons.installed(self._uv) if (found := pythons.probe(one.path))]

    # -- locks

    def _lock(self, inputs: Inputs, folder: Path, python: Interpreter, refresh: bool, log: Log) -> tuple[_Lock, bool]:
        if inputs.kind == NOTHING:
            return _Lock(digest=_digest("nothing"), file=None), True
        if inputs.kind in (HASHED, PYLOCK):
            path, text = inputs.files[0]
            has_runtime = _names_msgspec(text, inputs.kind)
            return _Lock(digest=_digest(path, text), file=folder / path, has_runtime=has_runtime), True
        key = self._key(inputs, python)
        file = self._locks / f"{key}.txt"
        cached = file.is_file() and not refresh
        if not cached:
            with locked(self._locks / f".{key}.lock") as held:
                if refresh or not file.is_file():  # another build may have locked it meanwhile
                    write_whole(file, self._resolve(inputs, folder, python, held, log), mode=0o600)
        text = file.read_text("utf-8")
        lines = [line for _, line in logical_lines(text) if not line.startswith("-")]
        lock = _Lock(
            digest=_digest(text), file=file, has_runtime=_names_msgspec(text, inputs.kind), options=inputs.options,
            hashed=all("--hash=" in line for line in lines),
        )  # fmt: skip
        return lock, cached

    def _runtime_lock(self, folder: Path, python: Interpreter, log: Log) -> _Lock:
        inputs = Inputs(kind=RESOLVE, packages=RUNTIME_NEEDS)
        return self._lock(inputs, folder, python, False, log)[0]

    def _resolve(self, inputs: Inputs, folder: Path, python: Interpreter, held: int, log: Log) -> bytes:
        """The text of a lock. uv runs in the bundle's folder: settings for uv that the project has count."""
        typed = "\n".join((*inputs.options, *inputs.packages))
        if inputs.kind == UV_LOCK:
            where = (folder / inputs.main[0]).parent
            command = ["export", "--frozen", "--no-dev", "--no-emit-project", "--format", "requirements-txt"]
        else:
            where = folder
            command = ["pip", "compile", "--generate-hashes", "--no-strip-extras", *self._no_index, *inputs.main]
            if typed:
                command.append("-")
        command += ["--quiet", "--no-annotate", "--no-header", "--python", python.path]
        return self._run(command, where, held, log, typed=typed)

    def _key(self, inputs: Inputs, python: Interpreter) -> str:
        settings = {
            name: value for name, value in self._environment.items()
            if name.startswith(("UV_", "PIP_NO_INDEX")) and not _NOT_IN_KEY.fullmatch(name)
        }  # fmt: skip
        asked = msgspec.json.encode([inputs.files, inputs.packages, inputs.options, settings], order="sorted").decode()
        return _digest(str(FORMAT), inputs.kind, asked, python.version, python.implementation, _machine())

    # -- environments

    def _environment_for(
        self, lock: _Lock, runtime: _Lock | None, folder: Path, python: Interpreter, log: Log
    ) -> BuiltEnvironment:
        started = time.perf_counter()
        digest = _digest(
            str(FORMAT), lock.digest, runtime.digest if runtime else "", python.path, python.version, _machine()
        )
        target = self._envs / digest
        built, cached = _ready(target), True
        if built is None:
            with locked(self._envs / f".{digest}.lock") as held:
                built = _ready(target)
                if built is None:
                    cached = False
                    parts = [part for part in (lock, runtime) if part]
                    built = self._make(target, parts, folder, python, held, log)
        took = time.perf_counter() - started
        note = f"{built.packages} packages, {built.size / 1e6:.0f} MB"
        log(f"environment: {note}{' (known)' if cached else ''} {took:.2f} s")
        return msgspec.structs.replace(built, steps=(Step(name="environment", seconds=took, cached=cached, note=note),))

    def _make(
        self, target: Path, parts: list[_Lock], folder: Path, python: Interpreter, held: int, log: Log
    ) -> BuiltEnvironment:
        warnings = [text for part in parts for text in _warnings(part)]
        for text in warnings:
            log(f"warning: {text}")
        interpreter = target / "bin" / "python"
        if target.exists():
            shutil.rmtree(target)
        try:
            self._run(["venv", "--quiet", "--no-project", "--python", python.path, str(target)], folder, held, log)
            for part in parts:
                if part.file is not None:
                    self._install(part, folder, interpreter, held, log)
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)  # safe: without READY nobody takes it for an environment
            raise
        built = BuiltEnvironment(
            digest=target.name, folder=str(target), python=str(interpreter), version=python.version,
            packages=len(list(target.glob("lib/python*/site-packages/*.dist-info"))), size=_size(target),
            warnings=tuple(warnings),
        )  # fmt: skip
        if borrowed := bytecode.borrow(target, self._neighbours(target)):
            log(f"bytecode: {borrowed} files (known)")
        write_whole(target / READY, msgspec.json.encode(built))
        return built

    def _neighbours(self, target: Path) -> list[Path]:
        """Environments that are ready, the youngest first."""
        ready = [(path.stat().st_mtime, path.parent) for path in self._envs.glob(f"*/{READY}")]
        return [folder for _, folder in sorted(ready, reverse=True) if folder != target][: bytecode.NEIGHBOURS]

    def _install(self, part: _Lock, folder: Path, interpreter: Path, held: int, log: Log) -> None:
        # `pip install --no-deps`, and not `pip sync`: the second part must not remove the first.
        command = ["pip", "install", "--no-deps", "--python", str(interpreter), *self._no_index]
        command += ["--require-hashes"] if part.hashed else []
        # Lines about where packages come from may hold passwords: they go through a pipe and into no file.
        typed = "\n".join(part.options)
        self._run([*command, "-r", str(part.file), *(["-r", "-"] if typed else [])], folder, held, log, typed=typed)

    def _run(self, command: list[str], where: Path, held: int, log: Log, typed: str = "") -> bytes:
        """uv's standard output; what it says on the way goes to `log` line by line."""
        # Unnamed files, not pipes: nobody reads the output or feeds the input while stderr is followed.
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as output:
            given.write(typed.encode())
            given.seek(0)
            process = subprocess.Popen(  # noqa: S603 - uv's own binary; arguments are not read by a shell
                [self._uv, "--color", "never", "--no-progress", "--no-python-downloads", *command],
                stdin=given, stdout=output, stderr=subprocess.PIPE, cwd=where, env=self._environment, pass_fds=(held,),
            )  # fmt: skip
            said: list[str] = []
            with process:
                for raw in process.stderr or ():
                    line = redact(raw.decode("utf-8", "replace").rstrip())
                    said.append(line)
                    if line:
                        log(f"  {line}")
            if process.returncode:
                raise complaint("\n".join(said), self._home)
            output.seek(0)
            return output.read()


def uv_environment(environment: Mapping[str, str], home: Path) -> dict[str, str]:
    """The variables for uv: the user's own settings, pip's where uv's are not set, and ours."""
    result = {name: value for name, value in environment.items() if name not in _NOT_PASSED_ON}
    for pip, uv in _FROM_PIP.items():
        if (value := result.get(pip)) and uv not in result and _SAME_AS.get(uv, uv) not in result:
            result[uv] = ("," if uv == "UV_FIND_LINKS" else " ").join(value.split())
    result.setdefault("UV_LINK_MODE", "hardlink")
    result.setdefault("UV_PYTHON_DOWNLOADS", "never")
    if "UV_CACHE_DIR" not in result and not _same_disk(home, _default_cache(result)):
        result["UV_CACHE_DIR"] = str(home / "cache" / "uv")  # links cannot cross disks; a copy each time costs more
    return result


def _ready(target: Path) -> BuiltEnvironment | None:
    try:
        built = msgspec.json.decode((target / READY).read_bytes(), type=BuiltEnvironment)
    except (OSError, msgspec.DecodeError):
        return None
    # The home may have been moved, and the Python it rests on removed.
    return built if built.folder == str(target) and Path(built.python).exists() else None


def _warnings(part: _Lock) -> Iterator[str]:
    if part.file is None:
        return
    text = part.file.read_text("utf-8")
    if not part.hashed:
        yield "some requirements come from a repository and cannot be checked by hash; their commit is fixed"
    if re.search(r"^nvidia-|name = \"nvidia-", text, re.M) and not Path("/proc/driver/nvidia").exists():
        yield (
            "torch brings its CUDA parts, several gigabytes, and this machine has no NVIDIA GPU; for the CPU build put "
            "--extra-index-url https://download.pytorch.org/whl/cpu on the first line of requirements.txt and write "
            "torch==VERSION+cpu"
        )


def _names_msgspec(text: str, kind: str) -> bool:
    pattern = r'^name = "msgspec"' if kind == PYLOCK else r"^msgspec(\[.*\])?\s*(==|@)"
    return bool(re.search(pattern, text, re.M))


def _machine() -> str:
    libc = "-".join(platform.libc_ver())
    return f"{platform.system()}-{platform.machine()}-{libc}".lower()


def _default_cache(environment: Mapping[str, str]) -> Path:
    base = environment.get("XDG_CACHE_HOME") or str(Path(environment.get("HOME") or "/") / ".cache")
    return Path(base) / "uv"


def _same_disk(one: Path, other: Path) -> bool:
    return _device(one) == _device(other)


def _device(path: Path) -> int:
    """Of the folder, or of the nearest one above it that exists."""
    return next((place.stat().st_dev for place in (path, *path.parents) if place.exists()), 0)


def _size(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            total += os.lstat(f"{place}/{name}").st_size
    return total


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
