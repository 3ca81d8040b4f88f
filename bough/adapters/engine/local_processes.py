"""Processes by pid and start time, so that a number that has become somebody else's is never signalled."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from pathlib import Path

from bough.kernel.processes import SESSION, STATE, boot, starttime, stat

_LEFTOVERS_S = 2.0  # killed processes are gone within this, or are stuck in the kernel


class Handle:
    """A process that can be signalled and waited for without a race; `alive` is False once it has ended."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self._poller = select.poll()
        self._poller.register(pidfd, select.POLLIN)

    def alive(self) -> bool:
        return self.pidfd >= 0 and not self._poller.poll(0)

    def signal(self, number: signal.Signals) -> None:
        if self.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, number)

    def close(self) -> None:
        """Also takes the exit status from the kernel when the process is our own child."""
        if self.pidfd < 0:
            return
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)
        os.close(self.pidfd)
        self.pidfd = -1


def hold(pid: int, begun: int = 0, of_boot: str = "") -> Handle | None:
    """The process `pid` that began at tick `begun` (0: whoever has that number now) of that boot (empty: of this one);
    None when it has ended."""
    if of_boot and of_boot != boot():
        return None
    try:
        handle = Handle(pid, os.pidfd_open(pid))
    except OSError:
        return None
    if begun and starttime(pid) != begun:
        handle.close()
        return None
    return handle


def kill_leftovers(folder: Path, session: int) -> int:
    """Kills what is left of a unit whose shim vanished: its own session, and whoever inherited its environment.
    Returns how many there were."""
    mark = b"BOUGH_FOLDER=" + os.fsencode(folder)
    killed: set[int] = set()
    deadline = time.monotonic() + _LEFTOVERS_S
    while time.monotonic() < deadline:
        found = [pid for pid in _pids() if _belongs(pid, mark, session)]
        if not found:
            break
        for pid in found:
            killed.add(pid)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)
    return len(killed)


def _belongs(pid: int, mark: bytes, session: int) -> bool:
    fields = stat(pid)
    if not fields or fields[STATE] in (b"Z", b"X"):
        return False
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False  # gone, or another user's
    if mark in environment:
        return True
    # A forked replica shows its zygote's environment; the session's number alone could have been given out again.
    return session > 0 and int(fields[SESSION]) == session and b"BOUGH_ZYGOTE=1" in environment


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - names only, much faster
