"""The gateway's process: `run` returns after SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import signal
from pathlib import Path

import uvloop

from bough.adapters.queue.sqlite import SqliteQueues
from bough.entrypoints import processes
from bough.gateway.server import Gateway, Options, Tls
from bough.kernel import platform as settings
from bough.kernel.platform import Home


def run(home: Path, host: str, port: int, options: Options | None = None) -> None:
    """Serves until told to stop. Raises `Unavailable` when it cannot listen."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    _allow_many_connections()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(home, host, port, options or Options(tls=_tls(home))))


async def _serve(home: Path, host: str, port: int, options: Options | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    gateway = Gateway(home, options, lambda: SqliteQueues(Home(home).queues))
    await gateway.start(host, port)
    path = processes.say(Home(home), processes.GATEWAY, gateway.started_at, host, gateway.addresses[0][1])
    await stop.wait()
    await gateway.stop()
    path.unlink(missing_ok=True)


def _tls(home: Path) -> Tls | None:
    platform = settings.load(home)
    if platform.tls_certificate:
        return Tls(port=platform.tls_port, certificate=platform.tls_certificate, key=platform.tls_key)
    return Tls(port=platform.tls_port, certificate=str(Home(home).certificate)) if platform.domains else None


def _allow_many_connections() -> None:
    with contextlib.suppress(ValueError, OSError):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
