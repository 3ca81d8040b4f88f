"""Which process a pid means. A number alone may be somebody else's by now; with its start time it is not."""

from __future__ import annotations

import os
import time
from functools import cache
from pathlib import Path

STATE, SESSION, FLAGS, STARTTIME = 0, 3, 6, 19  # positions in /proc/PID/stat after the command's closing parenthesis
WORKED = slice(11, 15)  # utime and stime, its own and of children that it has waited for, in clock ticks
SET_S = 2.0  # a clock that differs by more from what has passed was set; less is rounding, and its own correction
_PF_EXITING = 0x4  # of the flags: on its way out, and its files may be closed already


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


def has_ended(pid: int, started: int) -> bool:
    """Whether the process `pid` that began at tick `started` has ended, or is about to."""
    fields = stat(pid)
    if not fields or fields[STATE] in (b"Z", b"X") or int(fields[FLAGS]) & _PF_EXITING:
        return True
    return int(fields[STARTTIME]) != started


def began_at(starttime: int, said: float) -> float:
    """When a process began that started at that tick of this boot, by the clock as it is set now: `said`, which is what
    the clock said then, unless it was set meanwhile. So the time that a process has had is what has passed."""
    ticks_s = starttime / os.sysconf("SC_CLK_TCK")
    found = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks_s
    return found if abs(found - said) > SET_S else said


def mark() -> str:
    """This process, written so that another one on its machine can tell whether it still lives."""
    own = os.getpid()
    return f"{_place()}:{own}:{starttime(own)}"


def is_gone(mark: str) -> bool:
    """Whether the process that a mark means has ended. False as well when that cannot be told from here: the mark of
    another machine, of another container, of before a reboot, or no mark at all."""
    place, _, rest = mark.partition(":")
    pid, _, started = rest.partition(":")
    if place != _place() or not pid.isdigit() or not started.isdigit():
        return False
    return starttime(int(pid)) != int(started)


def _place() -> str:
    """Where a pid means the same: one boot of one machine, one namespace."""
    return f"{boot()}-{os.stat('/proc/self/ns/pid').st_ino}"  # noqa: PTH116 - a link that leads to no path


@cache
def boot() -> str:
    """Which start of the machine this is: pids and start times are of one. Nothing that a clock says, for it may be
    set."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
