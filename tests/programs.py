"""Python programs in forks of a process that has in memory what takes them long to import: each does the same as in an
interpreter of its own. For programs that are started often: those that are killed, and `bough`. That the latter is the
same in an interpreter of its own, tests/entrypoints show, and the pages that are run word for word.

As a program it is that process, in any Python. A program to run comes with files for what it reads, prints and
complains of, and one end of a line on which its words come and its exit status goes back.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parents[1]
FILES = 4  # with each program: what it reads, what it prints, what it complains of, its line
Files = tuple[int, int, int]  # the first three of them


class Program:
    """One under way; what it prints is on `stdout`. It is waited for with `wait`, once."""

    def __init__(self, stdout: int, line: socket.socket) -> None:
        self.stdout = os.fdopen(stdout, encoding="utf-8")
        self._line, self._process = line, socket.recv_fds(line, 1, 1)[1][0]

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process, signal.SIGKILL)

    def ended(self, timeout_s: float) -> bool:
        """Whether it has ended, within so long."""
        watched = select.poll()
        watched.register(self._process, select.POLLIN)
        return bool(watched.poll(timeout_s * 1000))

    def wait(self) -> tuple[int, str]:
        """How it ended, and what it printed that nobody has read; -9 where it was killed."""
        code, rest = b"", self.stdout.read()
        self.ended(100)
        with contextlib.suppress(ConnectionResetError):  # killed before it had read its words
            code = self._line.recv(100)
        self.stdout.close()
        self._line.close()
        os.close(self._process)
        return int(code or -signal.SIGKILL), rest


class Programs:
    """The process that forks: begins with the first program, and ends when the tests do. `loaded`: code that it runs
    first, whose imports all programs find in memory. `settings`: environment variables that all programs have."""

    def __init__(self, loaded: str, *, python: Path = Path(sys.executable), **settings: str) -> None:
        self._command = [str(python), __file__, loaded]
        unwanted = ("BOUGH_", "MLFLOW_", "PYTHONDONTWRITEBYTECODE")
        self._settings = {key: value for key, value in os.environ.items() if not key.startswith(unwanted)} | settings
        self._lock = threading.Lock()
        self._asking: socket.socket | None = None

    def start(
        self, code: str, *words: object, settings: dict[str, str] | None = None, folder: Path = ROOT, stderr: int = 2
    ) -> Program:
        """`settings`: environment variables beside those that all have."""
        read, write = os.pipe()
        with Path(os.devnull).open() as given:
            files = (given.fileno(), write, stderr)
            line = self._ask(code, words, self._settings | (settings or {}), folder, files)
        os.close(write)
        return Program(read, line)

    def run(
        self, code: str, *words: object, environment: dict[str, str], folder: Path, timeout_s: float, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """A program to its end; it has these environment variables and no others."""
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            given.write(stdin.encode())
            given.seek(0)
            line = self._ask(code, words, environment, folder, (given.fileno(), out.fileno(), err.fileno()))
            program = Program(os.dup(out.fileno()), line)
            in_time = program.ended(timeout_s)
            program.kill()
            program.stdout.seek(0)
            status, said = program.wait()
            if not in_time:
                raise subprocess.TimeoutExpired([*map(str, words)], timeout_s)
            err.seek(0)
            return subprocess.CompletedProcess([*map(str, words)], status, said, err.read().decode())

    def _ask(
        self, code: str, words: tuple[object, ...], environment: dict[str, str], folder: Path, files: Files
    ) -> socket.socket:
        """The line of a program that has begun."""
        line, its = socket.socketpair()
        with its, self._lock:
            socket.send_fds(self._started(), [b"."], [*files, its.fileno()])
        asked = {"code": code, "words": [*map(str, words)], "environment": environment, "folder": str(folder)}
        line.sendall(json.dumps(asked).encode() + b"\n")
        return line

    def _started(self) -> socket.socket:
        if self._asking is None:
            self._asking, asked = socket.socketpair()
            with asked:
                process = subprocess.Popen(self._command, stdin=asked, cwd=ROOT, env=self._settings)
            atexit.register(self._end, process)
        return self._asking

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        if self._asking is not None:
            self._asking.close()
        process.wait()


OURS = Programs("import bough.entrypoints.server, bough.adapters.engine.fake", PYTHONPATH=str(ROOT))


def control_plane(home: Path, port: int, *, stderr: int = 2, **settings: str) -> Program:
    """Serves this home, without node and gateway, until it is killed."""
    code = "import sys, pathlib as p; from bough.entrypoints import server as s"
    code += "; s.run(p.Path(sys.argv[1]), port=int(sys.argv[2]))"
    return OURS.start(code, home, port, settings=settings, stderr=stderr)


def main(loaded: str) -> None:
    exec(compile(loaded, "loaded", "exec"), {})
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whoever asked for a program waits for it
    asked = socket.socket(fileno=0)
    while files := socket.recv_fds(asked, 1, FILES)[1]:
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _end(_run(*files))
        for each in files:
            os.close(each)


def _run(given: int, out: int, err: int, line: int) -> int:
    """One program, in a process of its own; its exit status."""
    code = 1
    with socket.socket(fileno=line) as told:
        try:
            socket.send_fds(told, [b"."], [os.pidfd_open(os.getpid())])
            with told.makefile() as said:
                asked = json.loads(said.readline())
            os.dup2(given, 0)
            os.dup2(out, 1)
            os.dup2(err, 2)
            for each in (given, out, err):
                os.close(each)
            os.chdir(asked["folder"])
            os.environ.clear()
            os.environ.update(asked["environment"])
            random.seed()  # as in a process that nobody else was forked from
            sys.argv = ["program", *asked["words"]]
            names: dict[str, Any] = {"__name__": "__main__"}
            exec(compile(asked["code"], "program", "exec"), names)
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1 if end.code else 0
        except BaseException:
            traceback.print_exc()
        told.sendall(str(code).encode())
    return code


def _end(code: int) -> NoReturn:
    """As any interpreter ends, but that what it has in memory stays there: to take that apart, module by module, copies
    the pages of the process that it was forked from, and takes longer than most commands."""
    threading._shutdown()
    atexit._run_exitfuncs()
    for each in (sys.stdout, sys.stderr):
        each.flush()
    os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1])
