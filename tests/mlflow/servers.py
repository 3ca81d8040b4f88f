"""MLflow's own server, and Bough, each with an empty home; and the Python environment that MLflow's client is in."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import cache
from pathlib import Path

from tests.outside import environment
from tests.ports import free_port
from tests.programs import Programs, control_plane

# Together, and not the newest of each: these have been seen to work with one another.
PINNED = (
    *("mlflow==3.17.2", "mlflow-skinny==3.17.2", "mlflow-tracing==3.17.2", "scikit-learn==1.9.1", "onnx==1.23.2"),
    *("onnxruntime==1.32.0", "skl2onnx==1.20.0", "torch==2.13.0"),
)
PINNED_2 = (  # it does not start with a later SQLAlchemy, and traces nothing with later ones of OpenTelemetry
    *("mlflow==2.22.1", "sqlalchemy<2.1", "opentelemetry-api==1.33.1", "opentelemetry-sdk==1.33.1"),
)
SETTINGS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
START_S = 300.0  # of a machine that has much else to do

# The command `mlflow server`, which would start uvicorn in a process of its own and load all of MLflow once more.
SERVER = """
import os, sys
import uvicorn.main
from mlflow import cli, server

os.dup2(2, 1)  # nobody reads what it prints

def run(command, extra_env, **how):
    os.environ.update(extra_env)
    uvicorn.main.main(command[command.index("uvicorn") + 1 :])

server._exec_cmd = run
cli.cli(["server", *sys.argv[1:]])
"""

SERVER_2 = """
import os, sys
from mlflow import cli, server

os.dup2(2, 1)

def run(command, extra_env, **how):
    os.environ.update(extra_env)
    server.app.run(port=int(sys.argv[sys.argv.index("--port") + 1]), threaded=True)

server._exec_cmd = run
cli.cli(["server", *sys.argv[1:]])
"""


@cache
def mlflow() -> Programs:
    """Programs with MLflow in memory: its import takes longer than what most of them do."""
    loaded = "import uvicorn, mlflow.server.fastapi_app, mlflow.cli"  # first uvicorn: so it knows that it is a server
    return Programs(loaded, python=environment(*PINNED) / "bin/python", PYTHONWARNINGS="ignore", **SETTINGS)


@cache
def mlflow_2() -> Programs:
    python = environment(*PINNED_2) / "bin/python"
    return Programs("import mlflow.cli, mlflow.server", python=python, PYTHONWARNINGS="ignore", **SETTINGS)


def client_says(script: str, *words: object, of: Programs | None = None, **settings: str) -> str:
    """What a program prints that uses MLflow's client: a file beside this one, or code. It must end well."""
    file = Path(__file__).with_name(script) if script.endswith(".py") else None
    code = f"import runpy, sys; sys.path.insert(0, {str(Path(__file__).parent)!r})"
    code += f"; runpy.run_path({str(file)!r}, run_name='__main__')"
    with tempfile.TemporaryFile() as complaints, tempfile.TemporaryDirectory() as folder:
        program = (of or mlflow()).start(
            code if file else script, *words, settings=settings, folder=Path(folder), stderr=complaints.fileno()
        )
        status, text = program.wait()
        complaints.seek(0)
        assert status == 0, complaints.read().decode("utf-8", "replace")[-3000:]
    return text


def mlflow_server(home: Path) -> AbstractContextManager[str]:
    return _server(mlflow(), SERVER, home, environment(*PINNED) / "empty.db")


def mlflow_2_server(home: Path) -> AbstractContextManager[str]:
    return _server(mlflow_2(), SERVER_2, home, environment(*PINNED_2) / "empty.db")


@contextmanager
def _server(programs: Programs, code: str, home: Path, empty: Path) -> Iterator[str]:
    """`empty`: where the first server leaves the database that it has made, for the next ones to begin with: most of
    a first start is MLflow's migrations."""
    home.mkdir()
    port, database = free_port(), home / "mlflow.db"
    if empty.exists():
        shutil.copyfile(empty, database)
    with (home / "log").open("wb") as log:
        server = programs.start(code, *_words(home, port), folder=home, stderr=log.fileno())
        try:
            _wait_until(lambda: _answers(f"http://127.0.0.1:{port}/health"), lambda: server.ended(0), home / "log")
            if not empty.exists():
                _keep(database, empty)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()
            server.wait()


def _keep(database: Path, copy: Path) -> None:
    whole = copy.with_name(f"{copy.name}.{os.getpid()}")
    with closing(sqlite3.connect(database)) as found, closing(sqlite3.connect(whole)) as made:
        found.backup(made)
    whole.replace(copy)


def _words(home: Path, port: int) -> list[str]:
    stores = ["--backend-store-uri", f"sqlite:///{home}/mlflow.db", "--artifacts-destination", str(home / "artifacts")]
    return ["--port", str(port), "--workers", "1", *stores]


@contextmanager
def bough_server(home: Path) -> Iterator[tuple[str, str]]:
    """URL and token. The control plane alone: tracking needs neither node nor gateway."""
    port = free_port()
    home.mkdir(parents=True, exist_ok=True)
    with (home / "log").open("wb") as log:
        server = control_plane(home, port, stderr=log.fileno())
        try:
            _wait_until(lambda: _answers(f"http://127.0.0.1:{port}/healthz"), lambda: server.ended(0), home / "log")
            yield f"http://127.0.0.1:{port}", (home / "token").read_text().strip()
        finally:
            server.kill()
            server.wait()


def _wait_until(ready: Callable[[], bool], ended: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while not ready():
        assert not ended() and time.monotonic() < deadline, log.read_text("utf-8", "replace")[-3000:]
        time.sleep(0.1)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
