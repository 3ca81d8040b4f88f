"""The container contract: what makes a web service at home here and on any other host of containers.

    port          listens on $PORT
    default_port  listens on 8080 when nobody sets PORT
    health        answers its health path below 500
    drain         a request under way when SIGTERM comes is answered to its end
    ends          is gone within its grace after SIGTERM
    exit_status   a start that fails ends with a status other than 0, so that somebody notices

Each promise is tried on the running program, never read from its code. What this machine or the given paths cannot
show is `unproven`, which is no breach.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from bough.builds import ports
from bough.builds.recipe import Recipe

DEFAULT_PORT = 8080
KEPT, BROKEN, UNPROVEN = "kept", "broken", "unproven"
NAMES = ("port", "health", "drain", "ends", "default_port", "exit_status")
_LOOK_S = 0.02
_UNDER_WAY_S = 0.3  # for the program to take the request before it is told to stop
_STOPPED = (0, -signal.SIGTERM, 128 + signal.SIGTERM)  # ended by itself, by the signal, or as a shell says the latter
_TAIL_LINES = 3


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """What to run. `fixed_port` is the port that a Dockerfile's command names in the place of $PORT, 0 when it reads
    the variable; `slow_path` is one whose answer takes a while."""

    argv: list[str]
    cwd: str
    environment: dict[str, str]
    health_path: str = "/"
    slow_path: str = ""
    fixed_port: int = 0
    default_port: int = DEFAULT_PORT
    start_s: float = 60.0
    grace_s: float = 10.0


class Promise(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    state: str  # kept, broken, unproven
    detail: str = ""
    hint: str = ""


def check(program: Program) -> list[Promise]:
    """Starts the program up to three times, on ports of this machine; nothing of it runs afterwards."""
    port = _free_port()
    with _started(program, port) as run:
        found = [_listens(run, port, "port", "read the PORT environment variable")]
        if found[0].state == KEPT:
            found += [_health(run, port), *_stops(run, port)]
    found += [Promise(name=name, state=UNPROVEN, detail="it does not listen") for name in NAMES[len(found) : 4]]
    return [*found, _default_port(program), _exit_status(program)]


def fixed_port(recipe: Recipe) -> int:
    """The port that a Dockerfile's command binds whatever PORT says, and that is replaced here; 0 when it has none."""
    text = " ".join(recipe.argv) or recipe.shell
    if ports.bind_platform_port(text, recipe.port) == text:
        return 0
    return ports.find_port(text) or recipe.port


class _Run:
    def __init__(self, program: Program, process: subprocess.Popen[bytes], output: Path) -> None:
        self.program, self._process, self._output = program, process, output

    def wait(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Whether `until` came true in time; False at once when the program ends."""
        deadline = time.monotonic() + seconds
        while not until():
            if self.status is not None or time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_S)
        return True

    @property
    def status(self) -> int | None:
        return self._process.poll()

    def terminate(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def last_words(self) -> str:
        lines = self._output.read_text("utf-8", "replace").splitlines()[-_TAIL_LINES:]
        return f"; it printed: {' / '.join(lines)}" if lines else ""

    def listens_on(self) -> list[int]:
        """The ports on which processes of the program's session listen."""
        inodes = {inode: port for inode, port in _listening_sockets()}
        found = {inodes[link] for pid in _session(self._process.pid) for link in _sockets(pid) if link in inodes}
        return sorted(found)


@contextlib.contextmanager
def _started(program: Program, port: int | None) -> Iterator[_Run]:
    environment = {name: value for name, value in program.environment.items() if name != "PORT"}
    if port is not None:
        environment["PORT"] = str(port)
    with tempfile.NamedTemporaryFile(prefix="bough-check-") as output:
        process = subprocess.Popen(  # noqa: S603 - the user's own program
            program.argv, cwd=program.cwd, env=environment, stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            yield _Run(program, process, Path(output.name))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _listens(run: _Run, port: int, name: str, hint: str) -> Promise:
    began = time.monotonic()
    if run.wait(run.program.start_s, lambda: _connects(port)):
        return Promise(name=name, state=KEPT, detail=f"port {port} after {time.monotonic() - began:.1f} s")
    if run.status is not None:
        detail = f"it ended with status {run.status} before it listened{run.last_words()}"
        return Promise(name=name, state=BROKEN, detail=detail, hint=f"correct what it printed; else {hint}")
    others = ", ".join(map(str, run.listens_on()))
    instead = f"it listens on {others} instead" if others else f"it listens nowhere{run.last_words()}"
    detail = f"nothing on port {port} within {run.program.start_s:g} s: {instead}"
    return Promise(name=name, state=BROKEN, detail=detail, hint=hint)


def _health(run: _Run, port: int) -> Promise:
    path, seen = run.program.health_path, [""]

    def healthy() -> bool:
        seen[0] = _ask(port, path)
        return seen[0].isdigit() and int(seen[0]) < 500

    if run.wait(run.program.start_s, healthy):
        return Promise(name="health", state=KEPT, detail=f"GET {path} answers {seen[0]}")
    hint = "answer it below 500 once requests can be taken, or name another path: health in bough.toml"
    return Promise(name="health", state=BROKEN, detail=f"GET {path}: {seen[0]}{run.last_words()}", hint=hint)


def _stops(run: _Run, port: int) -> list[Promise]:
    grace_s, path = run.program.grace_s, run.program.slow_path
    if path:
        drain, told_at = _drain(run, port, path)
    else:
        run.terminate()
        drain, told_at = _unproven_drain("no path was named whose answer takes a while"), time.monotonic()
    run.wait(max(0.0, told_at + grace_s - time.monotonic()))
    took = f"{time.monotonic() - told_at:.1f} s after SIGTERM"
    hint = "end on SIGTERM; a shell script hands it on with: exec PROGRAM"
    if run.status is None:
        return [drain, Promise(name="ends", state=BROKEN, detail=f"it still ran {took}", hint=hint)]
    if run.status not in _STOPPED:
        detail = f"it ended with status {run.status}, {took}{run.last_words()}"
        return [drain, Promise(name="ends", state=BROKEN, detail=detail, hint="end with 0 when asked to stop")]
    return [drain, Promise(name="ends", state=KEPT, detail=f"status {run.status}, {took}")]


def _drain(run: _Run, port: int, path: str) -> tuple[Promise, float]:
    asked = _Asked(port, path, run.program.grace_s + 1)
    asked.ended.wait(_UNDER_WAY_S)
    early, told_at = asked.ended.is_set(), time.monotonic()
    run.terminate()
    asked.join()
    lasted = f"{time.monotonic() - told_at:.2f} s after SIGTERM"
    if asked.problem:
        hint = "let requests that are under way end before the program does"
        detail = f"GET {path} got no whole answer: {asked.problem}, {lasted}"
        return Promise(name="drain", state=BROKEN, detail=detail, hint=hint), told_at
    if early:
        return _unproven_drain(f"GET {path} was answered before SIGTERM came"), told_at
    return Promise(name="drain", state=KEPT, detail=f"GET {path} was answered to its end, {lasted}"), told_at


class _Asked(threading.Thread):
    """A request under way. `ended`: its answer is whole, or there is a `problem`."""

    def __init__(self, port: int, path: str, timeout_s: float) -> None:
        super().__init__(daemon=True)
        self._port, self._path, self._timeout_s = port, path, timeout_s
        self.ended, self.problem = threading.Event(), ""
        self.start()

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=self._timeout_s)
        try:
            with contextlib.closing(connection):
                connection.request("GET", self._path)
                connection.getresponse().read()
        except (OSError, http.client.HTTPException) as error:
            self.problem = str(error) or type(error).__name__
        self.ended.set()


def _unproven_drain(why: str) -> Promise:
    return Promise(name="drain", state=UNPROVEN, detail=why, hint="name one that takes a second: --slow PATH")


def _default_port(program: Program) -> Promise:
    port = program.default_port
    hint = f"bind ${{PORT:-{port}}}, or read PORT with {port} as its default"
    if program.fixed_port:
        detail = f"the Dockerfile's command binds {program.fixed_port}; here $PORT is put in its place"
        kept = program.fixed_port == port
        return Promise(name="default_port", state=KEPT if kept else BROKEN, detail=detail, hint="" if kept else hint)
    if _connects(port):
        detail = f"port {port} of this machine is in use"
        return Promise(name="default_port", state=UNPROVEN, detail=detail, hint=f"ss -ltnp 'sport = :{port}'")
    with _started(program, None) as run:
        return _listens(run, port, "default_port", hint)


def _exit_status(program: Program) -> Promise:
    """Its port is taken, which no program can mend: it has to give up, and say so."""
    hint = "end with a status other than 0 when the program cannot listen"
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))  # noqa: S104 - every address, so that none is left for the program
        taken.listen()
        with _started(program, taken.getsockname()[1]) as run:
            run.wait(program.start_s)
            status = run.status
    if status is None:
        detail = f"it still ran {program.start_s:g} s after a start whose port was taken"
        return Promise(name="exit_status", state=BROKEN, detail=detail, hint=hint)
    state, detail = (KEPT if status else BROKEN), f"status {status} when its port was taken"
    return Promise(name="exit_status", state=state, detail=detail, hint="" if status else hint)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _connects(port: int) -> bool:
    with socket.socket() as tried:
        tried.settimeout(1.0)
        return tried.connect_ex(("127.0.0.1", port)) == 0


def _ask(port: int, path: str) -> str:
    """The status, or what was seen instead."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2.0)
    with contextlib.closing(connection):
        try:
            connection.request("GET", path)
            return str(connection.getresponse().status)
        except (OSError, http.client.HTTPException) as error:
            return str(error) or type(error).__name__


def _listening_sockets() -> Iterator[tuple[str, int]]:
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path("/proc/net", name).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A":
                    yield f"socket:[{fields[9]}]", int(fields[1].rpartition(":")[2], 16)


def _session(leader: int) -> Iterator[int]:
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError, IndexError):
            if process.name.isdigit() and os.getsid(int(process.name)) == leader:
                yield int(process.name)


def _sockets(pid: int) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                yield str(descriptor.readlink())
