"""What servers of databases need of the system: a folder with a short name for sockets, an ordinary user, and what they
have used."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bough.adapters.sql import Running
from bough.kernel.processes import STARTTIME, WORKED, stat

NOBODY = 65_534
_HERTZ = os.sysconf("SC_CLK_TCK")
SOCKET_BYTES = 90  # of a folder for sockets: the system allows 107 with the socket's own name


def sockets_of(place: Path) -> Path:
    """A folder with a short name, for the sockets of the server that lies in `place`."""
    own = place / "s"
    if len(str(own)) <= SOCKET_BYTES:
        return own
    name = hashlib.sha256(str(place).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"bough-{os.geteuid()}-{name}"


def used_by(pid: int) -> Running | None:
    """What a server has used: it, its children, and those that it has reaped. None of one that is gone."""
    own = stat(pid) if pid else []
    if not own:
        return None
    ticks = sum(_worked(fields) for fields in (own, *map(stat, children(pid))) if fields)
    started = int(own[STARTTIME])
    return Running(
        mark=f"{pid}.{started}",
        seconds=max(time.clock_gettime(time.CLOCK_BOOTTIME) - started / _HERTZ, 0.0),
        cpu_s=ticks / _HERTZ,
    )


def children(pid: int) -> list[int]:
    """None of one that is gone."""
    with contextlib.suppress(OSError):
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _worked(fields: Sequence[bytes]) -> int:
    """Ticks of the processor, for it and for those that it has waited for."""
    return sum(int(each) for each in fields[WORKED])


def as_nobody() -> list[str]:
    """What root puts before a command that is not to run as root: a user namespace in which root is `nobody`. No
    system user is added, and files stay root's."""
    return ["unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "--"]


@functools.cache
def namespaces_allowed() -> bool:
    """Whether `as_nobody` works here."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*as_nobody(), "true"], capture_output=True, check=False).returncode == 0  # noqa: S603
