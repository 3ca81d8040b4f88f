"""`bough server`: the control plane's process. It may be killed at any time: everything it knows is in the database."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import logging
import signal
import socket
import time
from pathlib import Path
from types import FrameType
from typing import IO

import msgspec
import uvicorn

from bough.app import Bough
from bough.entrypoints import processes
from bough.entrypoints.http.app import build
from bough.entrypoints.http.dated import Dated
from bough.entrypoints.http.streams import Streams
from bough.gateway import portholder
from bough.kernel import platform as settings
from bough.kernel.errors import Conflict
from bough.kernel.files import as_exhausted
from bough.kernel.platform import Home

GRACE_S = 5  # for requests under way when asked to stop
BACKLOG = 1024


def run(home: Path, host: str = "", port: int = 0) -> None:
    """Serves until SIGTERM or SIGINT. `host` and `port` default to the home's settings; port 0 takes a free one.
    Raises `Conflict` when a server already serves this home, `Unavailable` when the port is taken."""
    place, platform = Home(home), settings.load(home)
    host, port = host or platform.api_host, port or platform.api_port
    with as_exhausted(home):
        place.run.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(place):
        listening = _listen(host, port)
        host, port = listening.getsockname()[:2]
        bough = Bough(home, msgspec.structs.replace(platform, api_host=host, api_port=port))
        bough.start()
        state_file = place.run / f"{processes.SERVER}.json"
        try:
            processes.say(place, processes.SERVER, time.time(), host, port)
            gc.collect()
            gc.freeze()
            _serve(bough, listening)
        finally:
            bough.stop()
            state_file.unlink(missing_ok=True)


class _Server(uvicorn.Server):
    """Ends the open streams as soon as it is asked to stop: they would hold it up for as long as they like. Waits for
    that: uvicorn's own loop would look ten times a second."""

    streams: Streams
    bough: Bough
    loop: asyncio.AbstractEventLoop | None = None

    async def main_loop(self) -> None:
        self.loop, self.asked = asyncio.get_running_loop(), asyncio.Event()
        if not self.should_exit:
            await self.asked.wait()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.streams.stop()
        self.bough.pushes.stop()
        super().handle_exit(sig, frame)
        if self.loop is not None:
            self.loop.call_soon_threadsafe(self.asked.set)


def _serve(bough: Bough, listening: socket.socket) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    streams = Streams()
    config = uvicorn.Config(
        Dated(build(bough, streams, bough.pushes, bough.webhooks)), loop="uvloop", http="httptools", ws="none",
        lifespan="off", log_config=None, access_log=False, server_header=False, date_header=False,
        timeout_graceful_shutdown=GRACE_S, backlog=BACKLOG, h11_max_incomplete_event_size=64 << 10,
    )  # fmt: skip
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    server = _Server(config)
    server.streams, server.bough = streams, bough
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    server.run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise portholder.problem(host, port, error, "bough up --api-port PORT") from error
    return listening


def _locked(place: Home) -> IO[bytes]:
    """The lock belongs to the process: it is free again however the process ends."""
    with as_exhausted(place.run):
        lock = (place.run / "server.lock").open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        other = processes.pid_of(place, "server")
        raise Conflict(
            f"a server already serves {place.path}" + (f" (pid {other})" if other else ""),
            code="SERVER_RUNNING",
            hint="use the one that runs (bough status), or stop it first (bough down)",
        ) from error
    return lock
