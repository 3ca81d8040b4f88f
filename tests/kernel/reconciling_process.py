"""A process that runs the loop, for tests that kill it.

    python reconciling_process.py DATABASE HANDLER_FILE until-idle|workers=N [argument …]

The handler file is Python that defines `handlers(database, arguments)`: other code in the same file name is what a new
release of Bough would be. Prints "ready" once the loop runs; ends at end of input.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from bough.adapters.database.sqlite import SqliteDatabase
from bough.kernel.clock import SystemClock
from bough.kernel.reconcile import Loop


def main(path: str, handler_file: str, how: str, *arguments: str) -> None:
    database = SqliteDatabase(Path(path))
    loop = Loop(database, SystemClock(), runpy.run_path(handler_file)["handlers"](database, arguments))
    if how == "until-idle":
        loop.run_until_idle()
        return
    database.on_commit(loop.poke)
    loop.start(workers=int(how.removeprefix("workers=")))
    print("ready", flush=True)
    sys.stdin.read()
    loop.stop()


main(*sys.argv[1:])
