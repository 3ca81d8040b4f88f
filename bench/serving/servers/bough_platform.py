"""All of Bough as a person starts it: `bough up`, an API key, `bough deploy` of a project folder; then it watches until
told to stop and takes everything down again.

    python bough_platform.py PROJECT_FOLDER          BOUGH_HOME, BENCH_PORT and BENCH_KEY_FILE in the environment
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any


def main() -> None:
    project, port = sys.argv[1], int(os.environ["BENCH_PORT"])
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        _bough("up", "--gateway-port", str(port), "--api-port", str(port + 1))
        key = _bough("keys", "create", "--project", "bench")["secret"]
        _bough("deploy", folder=project)
        partial = Path(os.environ["BENCH_KEY_FILE"]).with_suffix(".partial")
        partial.write_text(key)
        partial.rename(os.environ["BENCH_KEY_FILE"])
        stop.wait()
    finally:
        _bough("down", "--all")


def _bough(*words: str, folder: str | None = None) -> Any:
    command = [sys.executable, "-m", "bough.entrypoints.cli.main", *words, "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"bough {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


if __name__ == "__main__":
    main()
