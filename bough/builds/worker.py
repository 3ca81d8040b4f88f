"""`python -m bough.builds.worker HOME REQUEST.json RESULT.json [--no-bytecode]`: one build as a process of its own.

Runs as a unit of the engine with the Python that runs Bough, so that a build can be watched, limited and killed like
any other. Standard output is the build's log. RESULT.json appears whole, as soon as the service can start: a
`BuildResult`, or `{"failure": …}` and exit status 1. After that it compiles the environment's bytecode at the lowest
priority; killing it there costs nothing but the next start's speed. With `--no-bytecode` it ends instead: for somebody
who waits for its end, and whose program compiles what it imports.

As the main function of a process, this file names technologies, as `bough/composition/` does for the server.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import time
import traceback
from pathlib import Path

import msgspec

from bough.adapters.blobs.directory import DirectoryBlobs
from bough.adapters.builder.container import CommandLineContainers
from bough.adapters.builder.uv import UvBuilder
from bough.builds.models import BuildRequest
from bough.builds.steps import Build
from bough.kernel.errors import Problem
from bough.kernel.files import write_whole
from bough.runtime.spec import Failure

NO_BYTECODE = "--no-bytecode"


def main(arguments: list[str]) -> int:
    if len(arguments) not in (3, 4) or arguments[3:] not in ([], [NO_BYTECODE]):
        print(f"usage: python -m bough.builds.worker HOME REQUEST.json RESULT.json [{NO_BYTECODE}]", file=sys.stderr)
        return 2
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    home, request_path, result_path = (Path(argument) for argument in arguments[:3])
    started = time.perf_counter()
    builder = UvBuilder(home)
    try:
        request = msgspec.json.decode(request_path.read_bytes(), type=BuildRequest)
        build = Build(request, home, DirectoryBlobs(home / "blobs"), builder, CommandLineContainers(), log)
        result = build.run()
        write_whole(result_path, msgspec.json.encode(result))
    except Problem as problem:
        return _fail(result_path, Failure(code=problem.own_code, message=problem.message, hint=problem.hint))
    except Exception as error:  # the last stop of a process: whatever it is, whoever waits must read why
        text = f"the build itself failed: {type(error).__name__}: {error}"
        return _fail(result_path, Failure(code="BUILD_CRASHED", message=text, traceback=traceback.format_exc()))
    log(f"built {request.service} in {time.perf_counter() - started:.2f} s")
    if build.environment is not None and NO_BYTECODE not in arguments:
        _stand_back()
        builder.compile(build.environment, log)
    return 0


def log(line: str) -> None:
    print(line, flush=True)


def _stand_back() -> None:
    """From here on nobody waits for us. Where the scheduler groups processes by session, a nice value only counts among
    those of one session: then the whole group has to be nice (sched(7), "The autogroup feature")."""
    os.nice(19)
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text("19")


def _fail(result_path: Path, failure: Failure) -> int:
    log(f"failed: {failure.message}")
    if failure.hint:
        log(f"try: {failure.hint}")
    if failure.traceback:
        log(failure.traceback)
    write_whole(result_path, msgspec.json.encode({"failure": failure}))
    return 1


if __name__ == "__main__":
    status = main(sys.argv[1:])
    gc.freeze()  # else the interpreter looks for garbage in all of it once more as it ends: a fifth of a short build
    sys.exit(status)
