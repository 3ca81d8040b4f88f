"""`bough up` leaves a keeper behind: it starts the server, the gateway and the node again when they die.

It may die itself without harm: they run in sessions of their own and go on; the next keeper adopts them from
`run/<name>.json`. Asked to stop (SIGTERM), it leaves them running: `bough down` stops them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

import msgspec

from bough.entrypoints.processes import (
    KEEPER,
    PARTS,
    Presence,
    command,
    environment,
    has_served,
    leave,
    presence,
)
from bough.kernel.errors import Conflict
from bough.kernel.platform import Home
from bough.kernel.processes import boot, starttime

FIRST_DELAY_S, LONGEST_DELAY_S = 0.05, 10.0
LONGEST_AFTER_KILL_S = 0.25  # a gateway needs 0.2 s to start, and is to serve within a second of a kill, however many
LOOK_S = 0.05
STEADY_S = 30.0  # what ends after such a life does not end again and again: pauses begin anew
LOG_BYTES = 16 << 20  # a log that is larger at a start becomes `<name>.log.1`


class Part:
    """One process to keep: living (`pidfd` is open) or due to be started at `due_at`."""

    def __init__(self, name: str, argv: list[str]) -> None:
        self.name, self.argv = name, argv
        self.pid, self.pidfd = 0, -1
        self.since, self.due_at = 0.0, 0.0
        self.ends = self.failures = 0  # see `pause_s`

    def hold(self, pid: int, now: float) -> None:
        self.pid, self.pidfd, self.since = pid, os.pidfd_open(pid), now

    def status(self) -> int:
        """The exit status of what has ended, or minus the signal's number; 0 when it was not our own child."""
        with contextlib.suppress(ChildProcessError):
            return os.waitstatus_to_exitcode(os.waitpid(self.pid, os.WNOHANG)[1])
        return 0

    def ended(self, now: float, *, failed: bool) -> None:
        """Schedules the next start. `failed`: it could not start, for reasons of its own."""
        os.close(self.pidfd)
        self.pid, self.pidfd = 0, -1
        if now - self.since >= STEADY_S:
            self.ends = self.failures = 0
        self.ends += 1
        self.failures = self.failures + 1 if failed else 0
        self.due_at = now + pause_s(self.ends, self.failures)

    def put_off(self, now: float) -> None:
        """It could not even be begun."""
        self.failures += 1
        self.due_at = now + pause_s(self.ends, self.failures)

    def hurry(self) -> None:
        self.due_at, self.ends, self.failures = 0.0, 0, 0


def has_failed(home: Home, part: Part) -> bool:
    """Whether what has ended could not start, for reasons of its own: it neither served, nor ended in order, nor was
    killed. Takes its status from the kernel."""
    return part.status() not in (0, -signal.SIGKILL, -signal.SIGTERM) and not has_served(home, part.name, part.pid)


def pause_s(ends: int, failures: int) -> float:
    """Before the next start of what has ended `ends` times in a row without a steady life; at the last `failures` of
    them it did not get as far as serving, and nobody had killed it."""
    doubled_s = FIRST_DELAY_S * 2.0 ** min((failures or ends) - 1, 20)
    return min(doubled_s, LONGEST_DELAY_S if failures else LONGEST_AFTER_KILL_S)


class Keeper:
    def __init__(self, home: Home, commands: Mapping[str, list[str]] | None = None) -> None:
        self._home = home
        argv = commands or {name: command(home, name) for name in PARTS}
        self._parts = [Part(name, words) for name, words in argv.items()]
        self._stopping = False
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self, until: Callable[[], bool] | None = None) -> None:
        """Keeps them until SIGTERM or SIGINT. SIGHUP starts at once what waits for its next try. `until` is called
        every 50 ms until it says true."""
        with _locked(self._home):
            signal.set_wakeup_fd(self._wake_write)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._stop)
            signal.signal(signal.SIGHUP, self._hurry)
            state = Presence(pid=os.getpid(), starttime=starttime(os.getpid()), started_at=time.time(), boot=boot())
            leave(self._home.run / "keeper.json", msgspec.json.encode(state))
            while not self._stopping:
                self._look(time.monotonic())
                if until is not None and until():
                    until = None
                self._wait(time.monotonic(), LOOK_S if until is not None else None)
            (self._home.run / "keeper.json").unlink(missing_ok=True)

    def _look(self, now: float) -> None:
        for part in self._parts:
            if part.pidfd >= 0 or part.due_at > now:
                continue
            living = presence(self._home, part.name)
            try:
                part.hold(living.pid if living else _spawn(self._home, part.name, part.argv), now)
            except ProcessLookupError:  # adopted one died in this instant
                part.due_at = now
            except OSError as error:  # no room for its log, or for one more process
                part.put_off(now)
                _say(f"{part.name} cannot be started now: {error}")

    def _wait(self, now: float, at_most_s: float | None) -> None:
        poller = select.poll()
        poller.register(self._wake_read, select.POLLIN)
        for part in self._parts:
            if part.pidfd >= 0:
                poller.register(part.pidfd, select.POLLIN)
        due = [part.due_at - now for part in self._parts if part.pidfd < 0]
        due += [at_most_s] if at_most_s is not None else []
        ready = {number for number, _ in poller.poll(max(0.0, min(due)) * 1000 + 1 if due else None)}
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)
        for part in self._parts:
            if part.pidfd in ready:
                _say(f"{part.name} (pid {part.pid}) ended")
                part.ended(time.monotonic(), failed=has_failed(self._home, part))

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _hurry(self, *_: object) -> None:
        for part in self._parts:
            part.hurry()


def start(home: Home) -> None:
    """Leaves a keeper running in a session of its own."""
    _spawn(home, KEEPER, command(home, KEEPER))


def start_part(home: Home, name: str) -> None:
    """Starts one process without a keeper."""
    _spawn(home, name, command(home, name))


def _spawn(home: Home, name: str, argv: list[str]) -> int:
    with _log(home, name) as log:
        started = subprocess.Popen(  # noqa: S603 - our own command
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=home.path, env=environment(),
            start_new_session=True, close_fds=True,
        )  # fmt: skip
    started.returncode = 0  # a pidfd tells of its end, or it outlives us: Popen need not warn that it still runs
    return started.pid


def _say(text: str) -> None:
    """In the keeper's log, if there is room: a disk that is full must not end who starts everything again."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def _log(home: Home, name: str) -> IO[bytes]:
    home.logs.mkdir(parents=True, exist_ok=True)
    path = home.logs / f"{name}.log"
    if path.exists() and path.stat().st_size > LOG_BYTES:
        path.rename(path.with_suffix(".log.1"))
    return path.open("ab")


def _locked(home: Home) -> IO[bytes]:
    lock = (home.run / "keeper.lock").open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise Conflict(
            f"a keeper already looks after {home.path}", code="KEEPER_RUNNING", hint="bough status"
        ) from error
    return lock


def main() -> None:
    """`python -m bough.entrypoints.keeper HOME`"""
    home = Home(Path(sys.argv[1]))
    home.run.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        Keeper(home).run()
    except Conflict as problem:
        sys.exit(problem.message)


if __name__ == "__main__":
    main()
