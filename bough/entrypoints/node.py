"""`bough node`: the process that starts and stops units on this machine.

It may be killed and started again at any time: units, their output and their ends are kept by shims and files.
"""

from __future__ import annotations

import fcntl
import gc
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import IO

import msgspec

from bough.adapters.accelerators.chosen import accelerators
from bough.adapters.engine import wire
from bough.adapters.engine.local import LocalEngine
from bough.adapters.engine.local_files import read_whole
from bough.entrypoints.node_http import NodeServer
from bough.entrypoints.processes import leave
from bough.kernel.errors import Conflict, Problem
from bough.kernel.files import as_exhausted
from bough.kernel.learning import learn_all
from bough.kernel.processes import boot, starttime
from bough.secrets.vault import Vault

LOOK_S = 3600.0  # whether it is to end: `shutdown` wakes it


def run(home: Path, *, node: str = "local", loader: str = "", zygote_idle_s: float = 600.0) -> None:
    """Serves until SIGTERM or SIGINT; units go on. Raises `Conflict` when a node already serves this home."""
    learn_all()
    run_folder = home / "run"
    with as_exhausted(run_folder):
        run_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(run_folder):
        ended = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: ended.set())
        own = os.getpid()
        state = wire.NodeState(node=node, pid=own, starttime=starttime(own), started_at=time.time(), boot=boot())
        unseal = Vault(home, os.environ).open_text
        engine = LocalEngine(
            home, node=node, loader=loader, zygote_idle_s=zygote_idle_s, unseal=unseal, devices=accelerators().devices
        )
        server = NodeServer(run_folder / "node.sock", engine, state)
        leave(run_folder / "node.json", msgspec.json.encode(state))
        gc.collect()
        gc.freeze()
        threading.Thread(target=server.serve_forever, args=(LOOK_S,), name="node-http", daemon=True).start()
        ended.wait()
        server.shutdown()
        server.server_close()
        server.path.unlink(missing_ok=True)
        (run_folder / "node.json").unlink(missing_ok=True)
        engine.close()


def _locked(run_folder: Path) -> IO[bytes]:
    """The lock belongs to the process: it is free again however the process ends."""
    with as_exhausted(run_folder):
        lock = (run_folder / "node.lock").open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        other = read_whole(run_folder / "node.json", wire.NodeState)
        who = f" (pid {other.pid})" if other else ""
        raise Conflict(
            f"a node already serves {run_folder.parent}{who}", code="NODE_RUNNING",
            hint="use the one that runs (bough status), or stop it first (bough down)",
        ) from error  # fmt: skip
    return lock


def main() -> None:
    """`python -m bough.entrypoints.node HOME [LOADER]`"""
    try:
        run(Path(sys.argv[1]), loader=sys.argv[2] if len(sys.argv) > 2 else "")
    except Problem as problem:
        print(f"bough: {problem.message}\n  try: {problem.hint}", file=sys.stderr)
        sys.exit(problem.exit_code)


if __name__ == "__main__":
    main()
