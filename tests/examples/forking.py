"""Runs programs in forks of a process that has imported what takes them long: torch, mostly, which takes seconds.

Each line of its input is a list of programs that run at once, each line of its output the list of their statuses."""

from __future__ import annotations

import importlib
import json
import os
import runpy
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np


def main(modules: list[str]) -> None:
    for name in modules:
        importlib.import_module(name)
    for line in sys.stdin:
        started = [forked(each) for each in json.loads(line)]
        statuses = [os.waitstatus_to_exitcode(os.waitpid(each, 0)[1]) for each in started]
        print(json.dumps(statuses), flush=True)


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
