"""`bough` in forks of a process that has it in memory: a command does the same, and is not loaded each time. That an
interpreter of its own makes no difference shows where `bough` is a program: tests/entrypoints, and the pages that are
run word for word.

As a program it is that process. A command comes as two files for what it says, and one end of a line on which its
words come and its exit status goes back.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FILES = 3  # with each command: what it says, what it complains of, its line


class Commands:
    """Begins with the first command, and ends with this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asking: socket.socket | None = None

    def run(
        self, words: list[str], *, cwd: Path, environment: dict[str, str], timeout_s: float
    ) -> subprocess.CompletedProcess[str]:
        mine, its = socket.socketpair()
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, mine:
            with self._lock, its:
                socket.send_fds(self._started(), [b"."], [out.fileno(), err.fileno(), its.fileno()])
            mine.sendall(json.dumps({"words": words, "cwd": str(cwd), "environment": environment}).encode() + b"\n")
            with mine.makefile() as line:
                pid = int(line.readline())
                mine.settimeout(timeout_s)
                try:
                    code = line.readline()
                except TimeoutError:
                    os.kill(pid, signal.SIGKILL)
                    raise subprocess.TimeoutExpired(words, timeout_s) from None
            for each in (out, err):
                each.seek(0)
            said, complained = out.read().decode(), err.read().decode()
            return subprocess.CompletedProcess(words, int(code or -signal.SIGKILL), said, complained)

    def _started(self) -> socket.socket:
        if self._asking is None:
            self._asking, asked = socket.socketpair()
            with asked:
                process = subprocess.Popen(
                    [sys.executable, __file__, str(asked.fileno())], pass_fds=[asked.fileno()], cwd=ROOT,
                    env={key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"},
                )  # fmt: skip
            atexit.register(self._end, process)
        return self._asking

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        if self._asking is not None:
            self._asking.close()
        process.wait()


def main(asked: socket.socket) -> None:
    from bough.client.contract import contract
    from bough.entrypoints.cli import main as cli

    contract()
    for name in cli.HAND_WRITTEN:
        importlib.import_module(f"bough.entrypoints.cli.{name}")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    while files := _received(asked):
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            asked.close()
            _run(cli.run, *files)
        for each in files:
            os.close(each)


def _received(asked: socket.socket) -> list[int]:
    return socket.recv_fds(asked, 1, FILES)[1]


def _run(bough: Any, out: int, err: int, line: int) -> None:
    """One command, in a process of its own; never returns."""
    code = 1
    try:
        with socket.socket(fileno=line) as told, told.makefile("rw") as both:
            both.write(f"{os.getpid()}\n")
            both.flush()
            command = json.loads(both.readline())
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(out, 1)
            os.dup2(err, 2)
            os.chdir(command["cwd"])
            os.environ.clear()
            os.environ.update(command["environment"])
            random.seed()  # as in a process that nobody else was forked from
            code = bough(command["words"])
            sys.stdout.flush()
            sys.stderr.flush()
            both.write(f"{code}\n")
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
