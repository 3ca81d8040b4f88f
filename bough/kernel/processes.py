"""Which process a pid means. A number alone may be somebody else's by now; with its start time it is not."""

from __future__ import annotations

import time
from pathlib import Path

STATE, SESSION, STARTTIME = 0, 3, 19  # positions in /proc/PID/stat after the command's closing parenthesis
BOOT_SLACK_S = 60.0  # a wall clock that was corrected since may move the time of boot by less than this


def stat(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat from the state on (proc(5), field 3); empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return []


def starttime(pid: int) -> int:
    """In clock ticks since boot; 0 when there is no such process, or only its zombie."""
    fields = stat(pid)
    return int(fields[STARTTIME]) if fields and fields[STATE] not in (b"Z", b"X") else 0


def boot_time() -> float:
    """When the machine started, by the wall clock."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
