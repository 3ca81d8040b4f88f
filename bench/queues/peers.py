"""Other queues with their real stores: huey on SQLite, dramatiq on Redis, procrastinate on Postgres.

All are durable as Bough is: huey with fsync, Redis with a file synced at every write, Postgres as it comes.
What does not run on a machine is left out and said so."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
SETTLE_S = 2.0  # until a worker has come up


class Absent(Exception):
    """A peer that does not run here."""


def environment(folder: Path) -> Path:
    """A virtual environment with the peers alone."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", HERE / "requirements.txt"], check=True)
    return folder / "bin"


@contextmanager
def store(peer: str, folder: Path, binaries: Path) -> Iterator[str]:
    if peer == "huey":
        yield str(folder / "huey.db")
    elif peer == "dramatiq":
        yield from _redis(folder)
    else:
        yield from _postgres(folder, binaries)


@contextmanager
def working(peer: str, address: str, out: Path, binaries: Path, style: str) -> Iterator[dict[str, str]]:
    """A worker of the peer; its environment, for who puts."""
    variables = os.environ | {"PEER": peer, "STORE": address, "OUT": str(out), "PYTHONPATH": str(HERE)}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    python = binaries / "python"
    command = {
        "huey": [python, binaries / "huey_consumer", "jobs.huey", *style.split()],
        "dramatiq": [python, "-m", "dramatiq", "jobs", *style.split()],
        "procrastinate": [python, HERE / "jobs.py", "work"],
    }[peer]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, env=variables, cwd=HERE, start_new_session=True, **quiet)  # type: ignore[call-overload]
    try:
        time.sleep(SETTLE_S)
        if process.poll() is not None:
            raise Absent(f"the worker of {peer} ended with {process.returncode}")
        yield variables
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _redis(folder: Path) -> Iterator[str]:
    server = shutil.which("redis-server")
    if server is None:
        raise Absent("there is no redis-server")
    port = _port()
    options = [
        "--port",
        str(port),
        "--dir",
        str(folder),
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
        "--save",
        "",
    ]
    process = subprocess.Popen([server, *options], stdout=subprocess.DEVNULL)
    try:
        time.sleep(0.5)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait()


def _postgres(folder: Path, binaries: Path) -> Iterator[str]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if Path("/usr/lib/postgresql").exists() else []
    if not found:
        raise Absent("there is no Postgres")
    tools, data, port = found[-1], folder / "data", _port()
    as_user: list[str] = []
    if os.geteuid() == 0:  # Postgres does not run as root
        as_user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        data.mkdir()
        os.chown(data, 65534, 65534)
        folder.chmod(0o755)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([*as_user, tools / "initdb", "-D", data, "-U", "bench", "-A", "trust"], check=True, **quiet)  # type: ignore[call-overload]
    options = ["-p", str(port), "-k", "", "-h", "127.0.0.1"]
    process = subprocess.Popen([*as_user, tools / "postgres", "-D", data, *options], **quiet)  # type: ignore[call-overload]
    address = f"host=127.0.0.1 port={port} user=bench dbname=postgres"
    try:
        time.sleep(2.0)
        variables = os.environ | {"PEER": "procrastinate", "STORE": address, "PYTHONPATH": str(HERE)}
        command = [binaries / "procrastinate", "--app=jobs.worker_app", "schema", "--apply"]
        subprocess.run(command, env=variables, cwd=HERE, check=True, **quiet)  # type: ignore[call-overload]
        yield address
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def _port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
