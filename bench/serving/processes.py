"""Peers as process trees: start, watch, weigh, stop.

A peer's processes are found by a mark in their environment (Ray's daemons leave their parent) or by descent from the
one that was started (nginx overwrites its environment), or because their command line names a folder that is the
peer's alone (Bough's units get an environment of their own). Only processes found that way are ever signalled.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
MARK = "BENCH_MARK"


class Memory(NamedTuple):
    rss_mb: float
    pss_mb: float


class Tree:
    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], folder: Path, home: str = "") -> None:
        self.mark = secrets.token_hex(8)
        self.home = home.encode()
        self.log = folder / "output.log"
        self.started = time.perf_counter()
        with self.log.open("wb") as log:
            self.root = subprocess.Popen(
                list(argv), env={**environment, MARK: self.mark}, cwd=folder,
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def pids(self) -> list[int]:
        parents: dict[int, int] = {}
        found: set[int] = {self.root.pid}
        needle = f"{MARK}={self.mark}".encode()
        for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
            try:
                parents[pid] = int(_stat(pid)[1])
                seen = Path(f"/proc/{pid}/environ").read_bytes()
                named = self.home and self.home in Path(f"/proc/{pid}/cmdline").read_bytes()
                if named or needle in seen:
                    found.add(pid)
            except OSError:
                continue  # gone meanwhile, or not ours to read
        while grown := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= grown
        return sorted(found & parents.keys())

    def cpu_s(self) -> dict[int, float]:
        """CPU time of each process alive, user and system, finished children of theirs included."""
        used: dict[int, float] = {}
        for pid in self.pids():
            with contextlib.suppress(OSError):
                used[pid] = sum(map(int, _stat(pid)[11:15])) / TICKS_PER_S
        return used

    def memory(self) -> Memory:
        rss = pss = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Rss:"):
                        rss += int(line.split()[1])
                    elif line.startswith("Pss:"):
                        pss += int(line.split()[1])
        return Memory(rss / 1024, pss / 1024)

    def tail(self, lines: int = 15) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self, grace_s: float = 5.0) -> None:
        """SIGTERM to the one that was started, then SIGKILL to whatever is left after `grace_s`."""
        pids = self.pids()
        with contextlib.suppress(OSError):
            self.root.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while time.monotonic() < deadline and _alive(pids):
            self.root.poll()
            time.sleep(0.02)
        for _ in range(20):  # a process may have started another one meanwhile
            left = {pid for pid in self.pids() if _alive([pid])}
            if not left:
                break
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            self.root.poll()
            time.sleep(0.05)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.root.wait(5)


def cpu_between(before: Mapping[int, float], after: Mapping[int, float]) -> float:
    """Processes that ended in between are left out; a server under steady load ends none."""
    return sum(used - before.get(pid, 0.0) for pid, used in after.items())


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third (state) on: 1 is the parent, 11 to 14 are CPU ticks."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _alive(pids: Sequence[int]) -> bool:
    for pid in pids:
        with contextlib.suppress(OSError):
            if _stat(pid)[0] != "Z":
                return True
    return False
