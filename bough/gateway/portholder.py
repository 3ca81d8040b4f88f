"""Who holds a port: found in /proc, so that "address already in use" can be acted upon."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path

from bough.kernel.errors import Problem, Unavailable

_LISTEN = "0A"


def problem(host: str, port: int, error: OSError, setting: str) -> Problem:
    """Why listening failed, and what to change."""
    if error.errno == errno.EADDRINUSE:
        holder = describe(port)
        return Unavailable(
            f"port {port} on {host} is in use" + (f" by {holder}" if holder else ""), code="PORT_IN_USE",
            hint=f"stop that process, or choose another port ({setting})", port=port, holder=holder,
        )  # fmt: skip
    if error.errno in (errno.EACCES, errno.EPERM):
        return Unavailable(
            f"this user may not listen on port {port}",
            code="PORT_FORBIDDEN",
            hint=f"choose one above 1023 ({setting})",
            port=port,
        )
    return Unavailable(
        f"cannot listen on {host}:{port}: {error}", code="LISTEN_FAILED", hint=f"change {setting}", port=port
    )


def describe(port: int) -> str:
    """`nginx (pid 123)`, or empty when /proc does not tell (another user's process)."""
    inodes = _inodes(port)
    for process in Path("/proc").iterdir() if inodes else ():
        if not process.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if str(descriptor.readlink()) in inodes:
                        return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
    return ""


def _inodes(port: int) -> set[str]:
    found = set()
    for name in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(name).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    found.add(f"socket:[{fields[9]}]")
    return found
