"""MLflow's own server, and Bough's control plane, as those who run them start them: programs of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.mlflow.servers import PINNED, SETTINGS
from tests.outside import environment
from tests.ports import free_port

START_S = 90.0


def python() -> Path:
    """The interpreter of an environment with MLflow in it."""
    return environment(*PINNED) / "bin/python"


@contextmanager
def mlflow_server(interpreter: Path, home: Path, *, workers: int = 1) -> Iterator[str]:
    port = free_port()
    home.mkdir(exist_ok=True)
    command = [interpreter, "-m", "mlflow", "server", "--port", str(port), "--workers", str(workers)]
    command += ["--backend-store-uri", f"sqlite:///{home}/mlflow.db", "--artifacts-destination", home / "artifacts"]
    with running(command, home, SETTINGS, f"http://127.0.0.1:{port}/health"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def bough_server(home: Path) -> Iterator[tuple[str, str]]:
    """URL and token. The control plane alone: tracking needs neither node nor gateway."""
    port = free_port()
    home.mkdir(parents=True, exist_ok=True)
    code = "import sys, pathlib as p; from bough.entrypoints import server as s"
    code += "; s.run(p.Path(sys.argv[1]), port=int(sys.argv[2]))"
    with running([sys.executable, "-c", code, home, port], home, {}, f"http://127.0.0.1:{port}/healthz"):
        yield f"http://127.0.0.1:{port}", (home / "token").read_text().strip()


@contextmanager
def running(
    command: list[object], folder: Path, settings: dict[str, str], health: str, codes: tuple[int, ...] = (200,)
) -> Iterator[subprocess.Popen[bytes]]:
    """`codes`: what it says of its health when it has begun."""
    around = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "BOUGH_"))}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(each) for each in command], cwd=folder, env=around | settings, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + START_S
            while not _answers(health, codes):
                assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()[-3000:]
                time.sleep(0.1)
            yield process
        finally:
            os.killpg(process.pid, 15)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.wait()


def _answers(url: str, codes: tuple[int, ...]) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status in codes
    except urllib.error.HTTPError as error:
        error.close()
        return error.code in codes
    except OSError:
        return False
