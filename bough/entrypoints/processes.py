"""Bough's own processes on this machine: who runs, by pid and start time, so that a number that has become somebody
else's is never taken for ours. `run/<name>.json` is written by each process once it serves."""

from __future__ import annotations

import contextlib
import http.client
import os
import select
import signal
import socket
import sys
from pathlib import Path
from typing import TypeVar

import msgspec

from bough.kernel.errors import Detail
from bough.kernel.files import write_whole
from bough.kernel.platform import Home
from bough.kernel.processes import boot, starttime

T = TypeVar("T", bound=msgspec.Struct)

# The order of starting; stopping goes the other way round: the server first, so that nobody asks for new units.
NODE, GATEWAY, SERVER = "node", "gateway", "server"
PARTS = (NODE, GATEWAY, SERVER)
KEEPER = "keeper"

STOP_GRACE_S = 20.0  # the gateway lets requests end for up to 15 s
ANSWER_S = 2.0


class Presence(msgspec.Struct, frozen=True, kw_only=True):
    """What every `run/<name>.json` holds at least. `boot`: of the machine, in which the numbers hold."""

    pid: int
    starttime: int
    started_at: float
    boot: str = ""


class Listening(Presence, frozen=True, kw_only=True):
    """`run/server.json` and `run/gateway.json`: where it listens, too."""

    host: str
    port: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """`run/<name>.failed.json`: why a process could not start."""

    error: Detail
    status: int  # the HTTP status of the error's class, which tells the class


def say(home: Home, name: str, started_at: float, host: str, port: int) -> Path:
    """This process listens as `name`: writes `run/<name>.json`, which its caller takes away when it stops."""
    own = os.getpid()
    state = Listening(pid=own, starttime=starttime(own), started_at=started_at, boot=boot(), host=host, port=port)
    path = home.run / f"{name}.json"
    leave(path, msgspec.json.encode(state))
    return path


def leave(path: Path, content: bytes) -> None:
    """Where a disk is full, in the room that the word of the one before has left: who was killed is there again."""
    try:
        write_whole(path, content)
    except OSError:
        with path.open("r+b") as file:  # who reads it half written takes it for none, and looks again
            file.write(content)
            file.truncate()


def presence(home: Home, name: str) -> Presence | None:
    """The living process that serves as `name`; None when there is none."""
    found = _read(home.run / f"{name}.json", Presence)
    if found is None or found.boot not in ("", boot()):
        return None
    return found if starttime(found.pid) == found.starttime else None


def has_served(home: Home, name: str, pid: int) -> bool:
    """Whether the process of that number got as far as serving, and did not stop in order: it may be dead by now."""
    found = _read(home.run / f"{name}.json", Presence)
    return found is not None and found.pid == pid


def listening(home: Home, name: str) -> Listening | None:
    """Where the server or the gateway that lives listens."""
    return _read(home.run / f"{name}.json", Listening) if presence(home, name) else None


def pid_of(home: Home, name: str) -> int:
    found = presence(home, name)
    return found.pid if found else 0


def answers(home: Home, name: str) -> bool:
    """Whether `name` does its work: not merely that its process is there."""
    try:
        if name == KEEPER:
            return presence(home, KEEPER) is not None
        if name == NODE:
            return _ask_socket(home.node_socket, "/healthz") == 200
        if name == GATEWAY:
            return listening(home, GATEWAY) is not None and _ask_socket(home.gateway_socket, "/state") == 200
        at = listening(home, SERVER)
        return (
            at is not None and _ask(http.client.HTTPConnection(at.host, at.port, timeout=ANSWER_S), "/healthz") == 200
        )
    except (OSError, http.client.HTTPException):
        return False


def failure(home: Home, name: str) -> Report | None:
    return _read(home.run / f"{name}.failed.json", Report)


def stop(home: Home, name: str, grace_s: float = STOP_GRACE_S) -> bool:
    """SIGTERM, and SIGKILL after the grace. Says whether there was anything to stop; returns when it is gone."""
    found = presence(home, name)
    if found is None:
        return False
    try:
        descriptor = os.pidfd_open(found.pid)
    except ProcessLookupError:
        return False
    try:
        if starttime(found.pid) != found.starttime:
            return False
        for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, number)
            if _ended(descriptor, patience_s):
                break
    finally:
        os.close(descriptor)
    (home.run / f"{name}.json").unlink(missing_ok=True)  # a killed process leaves it
    return True


def command(home: Home, name: str) -> list[str]:
    """`-P`: a user's folder full of modules must not become the first place to import from."""
    module = "bough.entrypoints.keeper" if name == KEEPER else "bough.entrypoints.part"
    return [sys.executable, "-P", "-m", module, *([] if name == KEEPER else [name]), str(home.path)]


def environment() -> dict[str, str]:
    """Without what would make every start of Python slower, or mix a user's packages into ours."""
    unwanted = ("PYTHONDONTWRITEBYTECODE", "PYTHONSTARTUP", "PYTHONINSPECT")
    return {key: value for key, value in os.environ.items() if key not in unwanted}


def _ask_socket(path: Path, target: str) -> int:
    connection = http.client.HTTPConnection(path.stem, timeout=ANSWER_S)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(ANSWER_S)
    try:
        connection.sock.connect(str(path))
        return _ask(connection, target)
    finally:
        connection.close()


def _ask(connection: http.client.HTTPConnection, target: str) -> int:
    try:
        connection.request("GET", target)
        return connection.getresponse().status
    finally:
        connection.close()


def _ended(descriptor: int, timeout_s: float) -> bool:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(timeout_s * 1000))


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError):
        return None
