"""`python -m bough.entrypoints.part NAME HOME`: runs one of Bough's processes, and leaves word when it cannot start."""

from __future__ import annotations

import contextlib
import gc
import importlib
import sys
from pathlib import Path

import msgspec

from bough.entrypoints.processes import GATEWAY, NODE, SERVER, Report
from bough.kernel import platform as settings
from bough.kernel.errors import Problem
from bough.kernel.files import write_whole
from bough.kernel.platform import Home


def main() -> None:
    name, home = sys.argv[1], Path(sys.argv[2])
    report = Home(home).run / f"{name}.failed.json"
    report.unlink(missing_ok=True)
    try:
        run(name, home)
    except Problem as problem:
        print(f"bough {name}: {problem.message}\n  try: {problem.hint}", file=sys.stderr, flush=True)
        _leave_word(report, problem)
        sys.exit(problem.exit_code)
    except Exception as error:  # `bough up` waits for it and has to say why
        _leave_word(report, Problem(f"the {name} failed: {type(error).__name__}: {error}", hint=f"see logs/{name}.log"))
        raise


def run(name: str, home: Path) -> None:
    # Only the one that is wanted is imported: the three share a machine with models and should stay small. Nothing of
    # it is ever garbage, and to look for some while it loads is a tenth of a server's start.
    gc.disable()
    module = importlib.import_module(f"bough.entrypoints.{name}")
    gc.freeze()
    gc.enable()
    if name == NODE:
        module.run(home)
    elif name == GATEWAY:
        platform = settings.load(home)
        module.run(home, platform.gateway_host, platform.gateway_port)
    elif name == SERVER:
        module.run(home)
    else:
        raise SystemExit(f"there is no process {name!r}")


def _leave_word(report: Path, problem: Problem) -> None:
    with contextlib.suppress(OSError):  # the disk may be what failed
        write_whole(report, msgspec.json.encode(Report(error=problem.detail(), status=problem.http_status)))


if __name__ == "__main__":
    main()
