"""A server that is handed over before the disk is sure of it: it answers at once, and its commits wait until it is.

A promotion syncs some twenty files one after the other, which is most of its time. So a follower never syncs. As soon
as it is a database it syncs like any other (`sync_from_now`), before anybody else knows where it is: a process that
serves somebody has never been one that does not sync, however long its first statement takes. What was written before
is synced beside whoever already reads (`settle`). Until then nothing that is committed is acknowledged: PostgreSQL
waits for a synchronous standby that does not exist. A machine that goes down in that time takes the database with it
and no commit that anybody was told of; the file below, which is on the disk long before, names the boot, so that such a
database is found to be lost rather than opened. Who kills processes loses nothing: what they wrote is in the kernel.

    <root>/<id>/unsettled.conf      read by the server's own configuration; gone once it is settled
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from bough.adapters.sql.postgres_server import Server
from bough.kernel.errors import Problem
from bough.kernel.files import locked, sync_path, write_whole

UNSETTLED = "unsettled.conf"
SOON_S = 0.02  # whoever connects first is not to wait for the disk
_INCLUDED = f"include_if_exists '../{UNSETTLED}'\n"
_FAST, _WAIT = "fsync = off\n", "synchronous_standby_names = 'settled'\nautovacuum = off\n"
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def prepare(server: Server) -> None:
    """Before it is started: from then on it syncs nothing and acknowledges no commit. Where the system does not tell
    one boot from another it syncs as ever."""
    settings = server.data / "postgresql.conf"
    said = [each for each in settings.read_text().splitlines(keepends=True) if each.strip() and each[0] != "#"]
    settings.write_text("".join(each for each in said if each != _INCLUDED) + _INCLUDED)  # short: all processes read it
    write_whole(server.place / UNSETTLED, f"# {_boot()}\n{_FAST if _boot() else ''}{_WAIT}".encode())
    sync_path(server.place)


def is_lost(server: Server) -> bool:
    """Whether the machine was started anew before it was settled."""
    with contextlib.suppress(FileNotFoundError):
        return _boot() not in (server.place / UNSETTLED).read_text()
    return False


def sync_from_now(server: Server) -> None:
    """When it has become a database, before anybody is told of it. Its first process takes the signal before it lets
    the next caller in, so all that begin from now on sync; those that are there read it as they come to it, and none of
    them serves anybody."""
    write_whole(server.place / UNSETTLED, f"# {_boot()}\n{_WAIT}".encode(), synced=False)
    server.reload()


def settle(server: Server) -> None:
    """What it wrote reaches the disk; then its commits are acknowledged. Idempotent; one that does not run is settled
    when it does. Raises OSError when the disk fails, and commits wait on."""
    with locked(server.place / "settling"):
        if not (server.place / UNSETTLED).exists() or is_lost(server) or not server.pid():
            return
        server.ask("CHECKPOINT")  # one that syncs: the one that a promotion begins may not have
        sync(server.data)
        (server.place / UNSETTLED).unlink()
        sync_path(server.place)
        sync_path(server.place.parent)
        server.reload()


def settle_soon(server: Server) -> None:
    """For a thread of its own. What fails is tried again by the next `settle`."""
    time.sleep(SOON_S)
    with contextlib.suppress(Problem, OSError):
        settle(server)


def sync(folder: Path) -> None:
    """All files in it."""
    for place, _, names in os.walk(folder):
        for name in (*names, "."):
            with contextlib.suppress(FileNotFoundError):  # a segment that was recycled, a temporary file
                sync_path(Path(place) / name)


def _boot() -> str:
    return _BOOT.read_text().strip() if _BOOT.exists() else ""
