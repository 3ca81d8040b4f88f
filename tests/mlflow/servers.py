"""MLflow's own server, and Bough, each with an empty home; and the Python environment that MLflow's client is in."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.outside import environment
from tests.ports import free_port

# Together, and not the newest of each: these have been seen to work with one another.
PINNED = (
    *("mlflow==3.17.2", "mlflow-skinny==3.17.2", "mlflow-tracing==3.17.2", "scikit-learn==1.9.1", "onnx==1.23.2"),
    *("onnxruntime==1.32.0", "skl2onnx==1.20.0", "torch==2.13.0"),
)
PINNED_2 = (  # it does not start with a later SQLAlchemy, and traces nothing with later ones of OpenTelemetry
    *("mlflow==2.22.1", "sqlalchemy<2.1", "opentelemetry-api==1.33.1", "opentelemetry-sdk==1.33.1"),
)
START_S = 90.0


def python() -> Path:
    """The interpreter of an environment with MLflow in it."""
    return environment(*PINNED) / "bin/python"


def python_with_mlflow_2() -> Path:
    return environment(*PINNED_2) / "bin/python"


@contextmanager
def mlflow_server(interpreter: Path, home: Path, *, workers: int = 1) -> Iterator[str]:
    port = free_port()
    command = [interpreter, "-m", "mlflow", "server", "--port", str(port), "--workers", str(workers)]
    command += ["--backend-store-uri", f"sqlite:///{home}/mlflow.db", "--artifacts-destination", home / "artifacts"]
    settings = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with running(command, home, settings, f"http://127.0.0.1:{port}/health") as process:
        assert process.poll() is None
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
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "BOUGH_"))}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(each) for each in command], cwd=folder, env=environment | settings, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        try:
            _wait_until(lambda: _answers(health, codes), process, folder / "log")
            yield process
        finally:
            os.killpg(process.pid, 15)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.wait()


def _wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while not ready():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text("utf-8", "replace")[-3000:]
        time.sleep(0.1)


def _answers(url: str, codes: tuple[int, ...]) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status in codes
    except urllib.error.HTTPError as error:
        error.close()
        return error.code in codes
    except OSError:
        return False
