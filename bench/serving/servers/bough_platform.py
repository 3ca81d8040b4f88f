"""All of Bough as a person starts it: `bough up`, `bough deploy` of a project folder, an API key; then it watches until
told to stop and takes everything down again.

    python bough_platform.py PROJECT_FOLDER          BOUGH_HOME, BENCH_PORT and BENCH_KEY_FILE in the environment
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any


def main() -> None:
    project, port = sys.argv[1], int(os.environ["BENCH_PORT"])
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        _bough("up", "--gateway-port", str(port), "--api-port", str(port + 1))
        _bough("deploy", folder=project)
        key = _bough("keys", "create", "--project", "bench")["secret"]
        _wait_for_bytecode()
        partial = Path(os.environ["BENCH_KEY_FILE"]).with_suffix(".partial")
        partial.write_text(key)
        partial.rename(os.environ["BENCH_KEY_FILE"])
        stop.wait()
    finally:
        _bough("down", "--all")


def _wait_for_bytecode() -> None:
    """A build goes on compiling after its service answers; all peers are measured with bytecode compiled."""
    home = os.environ["BOUGH_HOME"].encode()
    for _ in range(600):
        running = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
                if b"bough.builds.worker" in words and home in words:
                    running.append(entry.name)
        if not running:
            return
        time.sleep(0.1)
    sys.exit("the build did not end within a minute")


def _bough(*words: str, folder: str | None = None) -> Any:
    command = [sys.executable, "-m", "bough.entrypoints.cli.main", *words, "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"bough {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


if __name__ == "__main__":
    main()
