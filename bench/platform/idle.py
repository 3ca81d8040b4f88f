"""What a platform costs that nobody asks anything: processor time, wakeups and disk syncs of a home's processes."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SETTLED_S = 100.0  # the scaling rule gives nothing up in its first minute, and rests after half a minute of silence
MEASURED_S, SYNCS_S = 60.0, 60.0
_SYNCS = "fsync,fdatasync,sync_file_range,syncfs,msync"
_SWITCHES = re.compile(r"^voluntary_ctxt_switches:\s+(\d+)", re.M)


class Used(NamedTuple):
    seconds: float  # of a processor
    wakeups: int


def processes(home: Path) -> Iterator[int]:
    """Those that the home's path leads to."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if str(home).encode() in words:
                yield int(entry.name)


def measured(home: Path) -> dict[str, float]:
    """Percent of one core, wakeups a second, and syncs a minute where strace is there to count them."""
    time.sleep(SETTLED_S)
    pids, before, began = list(processes(home)), {}, time.monotonic()
    for pid in pids:
        before[pid] = _used(pid)
    time.sleep(MEASURED_S)
    passed_s = time.monotonic() - began
    after = {pid: _used(pid) for pid in pids}
    seconds = sum(after[pid].seconds - before[pid].seconds for pid in pids)
    wakeups = sum(after[pid].wakeups - before[pid].wakeups for pid in pids)
    found = {"idle, of a core": 100 * seconds / passed_s, "idle, wakeups a second": wakeups / passed_s}
    return found | ({"idle, disk syncs a minute": _syncs(pids)} if shutil.which("strace") else {})


def _used(pid: int) -> Used:
    """Of its threads, to the nanosecond: /proc/PID/stat counts hundredths of a second. One that has ended: nothing."""
    seconds, wakeups = 0.0, 0
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            seconds += int((thread / "schedstat").read_text().split()[0]) / 1e9
            found = _SWITCHES.search((thread / "status").read_text())
            wakeups += int(found[1]) if found else 0
    except OSError:
        return Used(0.0, 0)
    return Used(seconds, wakeups)


def _syncs(pids: list[int]) -> float:
    with tempfile.NamedTemporaryFile("r") as said:
        words = ["strace", "-f", "-qq", "-e", f"trace={_SYNCS}", "-e", "signal=none", "-o", said.name]
        words += [word for pid in pids for word in ("-p", str(pid))]
        watching = subprocess.Popen(words, stderr=subprocess.DEVNULL)
        time.sleep(SYNCS_S)
        watching.send_signal(signal.SIGINT)
        watching.wait()
        begun = [line for line in said.read().splitlines() if "sync" in line and "resumed>" not in line]
    return len(begun) * 60 / SYNCS_S
