"""Bough as a peer: the whole platform, or its data plane alone; and what only Bough is asked: waking from nothing."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import load
import processes
from errors import CannotRun
from peers import HERE, Item, Launch, Peer, Setup

ROOT = HERE.parents[1]
KEY = "bough_key_of_the_benchmark"  # of the data plane alone; the platform makes its own
LIVED_LONG_S = 10.5  # a replica that dies younger is restarted only after a pause, as one that fails
SERVICES = 20  # woken in turn, so that each has lived long when it is its turn again
_MODEL_FILES = {"logistic": ("logistic.joblib",), "minilm": ("minilm/model.onnx", "minilm/tokenizer.json")}


def project(setup: Setup) -> Path:
    """A folder as a person would deploy it: the class, the model's files, pinned requirements."""
    folder = setup.folder / "project"
    folder.mkdir()
    shutil.copy(HERE / "servers" / "bough_service.py", folder / "service.py")
    for name in ("models.py", "minilm.py"):
        shutil.copy(HERE / name, folder)
    shutil.copy(HERE / "requirements" / "bough.txt", folder / "requirements.txt")
    for name in _MODEL_FILES.get(setup.workload, ()):
        (folder / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(setup.data / name, folder / "data" / name)
    (folder / "bough.toml").write_text(
        f'name = "bench"\n\n[services.bench-0]\nmodel = "service:{setup.workload.capitalize()}"\n'
        f'replicas = {setup.workers}\naccess = "key"\n'
    )
    return folder


def project_of_file(setup: Setup) -> Path:
    """A folder with the model's file and no code at all."""
    folder = setup.folder / "project"
    folder.mkdir()
    shutil.copy(setup.data / "logistic.joblib", folder)
    shutil.copy(HERE / "requirements" / "bough.txt", folder / "requirements.txt")
    (folder / "bough.toml").write_text(
        'name = "bench"\n\n[services.bench-0]\nfile = "logistic.joblib"\ntrust = true\n'
        f'replicas = {setup.workers}\naccess = "key"\n'
    )
    return folder


def _row(_: Setup, item: Item) -> Any:
    return item["features"]


def _chance(_: Setup, answer: Any) -> Any:
    return {"probability": answer["probabilities"][1], "label": answer["label"]}


def wake_times(setup: Setup, tree: processes.Tree, body: bytes, count: int) -> Iterator[float]:
    """Milliseconds from killing a service's only replica to the answer of a request sent right then."""
    started = time.monotonic()
    for number in range(count):
        service = number % SERVICES
        if not service and number:
            time.sleep(max(0.0, LIVED_LONG_S - (time.monotonic() - started)))
            started = time.monotonic()
        yield _killed_and_asked(setup, tree, f"bench-{service}", body, zygote=False)


def cold_times(setup: Setup, tree: processes.Tree, body: bytes, count: int) -> Iterator[float]:
    """The same with the zygote killed as well: a new Python has to import and load."""
    time.sleep(LIVED_LONG_S)
    for number in range(min(count, SERVICES)):
        yield _killed_and_asked(setup, tree, f"bench-{number}", body, zygote=True)


def _killed_and_asked(setup: Setup, tree: processes.Tree, service: str, body: bytes, *, zygote: bool) -> float:
    home = setup.folder / "h"
    attempts = sorted((home / "units" / f"{service}-0").iterdir(), key=lambda path: int(path.name))
    victims = [_pid(attempts[-1] / "pid.json")]
    if zygote:
        victims += [_pid(path) for path in (home / "zygotes").glob("*/ready.json")]
    ours = set(tree.pids())
    started = time.perf_counter()
    for pid in victims:
        if pid in ours:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    status, answer = load.post(setup.port, f"/v1/{service}/predict", body, KEY)
    if status >= 300:
        raise CannotRun(f"a wake was answered with {status}: {answer[:200]!r}")
    return (time.perf_counter() - started) * 1e3


def _pid(path: Path) -> int:
    return int(json.loads(path.read_bytes())["pid"])


def _plane(setup: Setup) -> Launch:
    home = setup.folder / "h"
    argv = [sys.executable, str(HERE / "servers/bough_plane.py"), str(home), str(project(setup)), setup.bin("bough")]
    own = {"BENCH_KEY": KEY, "BENCH_SERVICES": str(setup.services), "PYTHONPATH": str(ROOT)}
    return Launch(argv=argv, environment=own, home=str(home))


def _platform(setup: Setup) -> Launch:
    return _whole(setup, project(setup))


def _platform_of_file(setup: Setup) -> Launch:
    return _whole(setup, project_of_file(setup))


def _whole(setup: Setup, folder: Path) -> Launch:
    home = setup.folder / "h"
    argv = [sys.executable, str(HERE / "servers/bough_platform.py"), str(folder)]
    # The cache of packages stays warm over starts, as on a machine that has deployed before.
    # Its builds fetch packages, so they need what the machine says about that.
    network = {key: value for key, value in os.environ.items() if key.startswith(("UV_", "PIP_", "SSL_"))}
    own = {"BOUGH_HOME": str(home), "BENCH_KEY_FILE": str(_key_file(setup)), "PYTHONPATH": str(ROOT), **network}
    return Launch(argv=argv, environment=own, home=str(home))


def _key_file(setup: Setup) -> Path:
    return setup.folder / "key"


def _platform_key(setup: Setup) -> str:
    return _key_file(setup).read_text() if _key_file(setup).exists() else ""


def _missing(*needed: str) -> str:
    gone = []
    for name in needed:
        with contextlib.suppress(ModuleNotFoundError):
            if importlib.util.find_spec(name) is not None:
                continue
        gone.append(name)
    return f"{sys.executable} has no {', '.join(gone)}; run this with a Python that has Bough installed" if gone else ""


def _path(_: Setup) -> str:
    return "/v1/bench-0/predict"


BOUGHS: tuple[Peer, ...] = (
    Peer(
        name="bough", kind="bough", launch=_platform, env="bough", key=_platform_key, path=_path,
        missing=lambda: _missing("bough.entrypoints.cli.main", "uvloop"), start_limit_s=300.0,
        note="bough up, bough deploy: everything on, key authentication included",
    ),
    Peer(
        name="bough-file", kind="bough", workloads=("logistic",), launch=_platform_of_file, env="bough",
        key=_platform_key, path=_path, wrap=_row, unwrap=_chance,
        missing=lambda: _missing("bough.entrypoints.cli.main", "uvloop"), start_limit_s=300.0,
        note="the same, given the model's file instead of the class",
    ),
    Peer(
        name="bough-plane", kind="bough", launch=_plane, env="bough", key=lambda _: KEY, path=_path,
        missing=lambda: _missing("bough.entrypoints.node", "uvloop"), wake=wake_times, cold=cold_times,
        services_to_wake=SERVICES,
        note="Bough's gateway, node and replicas, without its control plane",
    ),
)  # fmt: skip
