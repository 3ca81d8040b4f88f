"""Runs programs in forks of a process that has imported what takes them long: torch, mostly, which takes seconds.

As a program it is that process. Each line of its input is a list of programs that run at once, each line of its output
the list of their statuses. When one is killed, the others are taken away, as whoever runs them would."""

from __future__ import annotations

import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]


class Forks:
    """Ends with `end`."""

    def __init__(self, *modules: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, *modules], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},  # else the folders would fill
        )  # fmt: skip

    def run(self, programs: list[dict[str, Any]]) -> list[int]:
        """The statuses of what runs at once: `program` in `folder`, with `variables`, what it says in `log`."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(programs) + "\n")
        self._process.stdin.flush()
        return list(json.loads(self._process.stdout.readline()))

    def end(self) -> None:
        self._process.communicate()


def main(modules: list[str]) -> None:
    for name in modules:
        importlib.import_module(name)
    for line in sys.stdin:
        started = [forked(each) for each in json.loads(line)]
        statuses = ended(started)
        print(json.dumps([statuses[each] for each in started]), flush=True)


def ended(started: list[int]) -> dict[int, int]:
    statuses: dict[int, int] = {}
    while len(statuses) < len(started):
        pid, status = os.wait()
        statuses[pid] = os.waitstatus_to_exitcode(status)
        if statuses[pid] < 0:
            for each in set(started) - statuses.keys():
                os.kill(each, signal.SIGKILL)
    return statuses


def forked(asked: dict[str, Any]) -> int:
    if pid := os.fork():
        return pid
    status = 1
    try:
        np.random.seed()  # as in a process of its own, where nothing is the same that nobody made so
        log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for each in (1, 2):
            os.dup2(log, each)
        os.chdir(asked["folder"])
        os.environ |= asked["variables"]
        sys.argv, sys.path[0] = [asked["program"]], str(Path(asked["program"]).parent)
        runpy.run_path(asked["program"], run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


if __name__ == "__main__":
    main(sys.argv[1:])
