"""Starts `trainer.py`, interrupts it, and reads what it came to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from bough.runtime.checkpoints import manifest
from bough.runtime.checkpoints.checking import VARIABLE, Interruptions
from bough.runtime.checkpoints.progress import read_progress

TRAINER = Path(__file__).with_name("trainer.py")
ROOT = Path(__file__).parents[3]


def start(
    folder: Path, *arguments: object, plan: Interruptions | None = None, stdin: int | None = None,
    stdout: int | None = None, **more: str,
) -> subprocess.Popen[str]:  # fmt: skip
    known = {name: value for name, value in os.environ.items() if not name.startswith("BOUGH_")}
    environment = known | {"BOUGH_CHECKPOINTS": str(folder), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | more
    if plan is not None:
        environment[VARIABLE] = msgspec.json.encode(plan).decode()
    command = [sys.executable, str(TRAINER), *map(str, arguments)]
    stderr = None if stdout else subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdin=stdin, stdout=stdout, stderr=stderr, text=True)


def run(folder: Path, *arguments: object, plan: Interruptions | None = None, **more: str) -> tuple[int, str]:
    """Exit status, and what it said on stderr."""
    process = start(folder, *arguments, plan=plan, **more)
    said = process.communicate(timeout=100)[1]
    return process.returncode, said


class Starts:
    """Starts of the trainer that cost no interpreter and no imports: each is a fork of one that waits."""

    def __init__(self, folder: Path) -> None:
        self._said = folder / "stderr"
        self._process = start(folder, "--starts", stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def run(self, folder: Path, *arguments: object, plan: Interruptions | None = None) -> tuple[int, str]:
        """As `run`, a process of its own that is killed as one."""
        environment = {"BOUGH_CHECKPOINTS": str(folder)}
        if plan is not None:
            environment[VARIABLE] = msgspec.json.encode(plan).decode()
        asked = {"environment": environment, "stderr": str(self._said), "arguments": [*map(str, arguments)]}
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(asked).decode() + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline()), self._said.read_text()

    def __enter__(self) -> Starts:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=100)


def outcome(folder: Path) -> dict[str, Any]:
    """The newest checkpoint, by content: equal exactly when weights, random states and position are."""
    newest = manifest.read(manifest.place(folder, manifest.steps(folder)[0]))
    shard = newest.shards[0]
    arrays = {item.name: item.content for item in shard.items}
    return {"step": newest.step, "plain": shard.plain.digest, "arrays": arrays}


def is_done(folder: Path) -> bool:
    progress = read_progress(folder)
    return progress is not None and progress.done
