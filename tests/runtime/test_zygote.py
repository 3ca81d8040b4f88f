"""A zygote, ordered about without an engine."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bough.runtime import zygote
from bough.runtime.spec import ModelSpec, UnitSpec

ROOT = Path(zygote.__file__).parents[2]
LOADER_FOLDER = ROOT / "tests" / "adapters" / "engine_loader"
_BOOT = "import sys; sys.path[:1] = []; from bough.runtime.zygote import main; main()"


class Warm:
    def __init__(self, folder: Path, reference: str, preload: str = "auto") -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        spec = ModelSpec(reference=reference, folder=str(LOADER_FOLDER), preload=preload)
        (folder / "model.json").write_bytes(msgspec.json.encode(spec))
        self.environment = {
            "PYTHONPATH": f"{ROOT}:{LOADER_FOLDER}", "PYTHONUNBUFFERED": "1", "PATH": os.environ["PATH"]
        }  # fmt: skip
        self.log = (folder / "log").open("wb")
        command = [sys.executable, "-c", _BOOT, str(folder), "engine_loader_module"]
        self.process = subprocess.Popen(command, env=self.environment, stdout=self.log, stderr=self.log)

    def order(self, folder: Path, reference: str = "plain", **environment: str) -> dict[str, Any]:
        folder.mkdir(parents=True, exist_ok=True)
        model = ModelSpec(reference=reference, folder=str(LOADER_FOLDER))
        spec = UnitSpec(unit=folder.name, attempt=1, kind="replica", model=model)
        (folder / "spec.json").write_bytes(msgspec.json.encode(spec))
        order = {"folder": str(folder), "environment": {**self.environment, **environment}}
        return json.loads(self.send(json.dumps(order).encode()))

    def send(self, data: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.folder / "control.sock"))
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            return connection.recv(10_000)

    def wait(self, path: Path) -> Any:
        deadline = time.monotonic() + 60
        while not path.exists():
            assert time.monotonic() < deadline, (path, (self.folder / "log").read_text())
            time.sleep(0.001)
        return json.loads(path.read_bytes())

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.log.close()


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="bz-") as name:
        yield Path(name)


@pytest.fixture
def warm(place: Path) -> Iterator[Warm]:
    started = Warm(place / "z", "plain")
    started.wait(place / "z" / "ready.json")
    yield started
    started.end()


def test_30_replicas_are_forked_and_survive_the_zygotes_death(warm: Warm, place: Path) -> None:
    shims = [warm.order(place / f"r{number}")["pid"] for number in range(30)]
    for number in range(30):
        assert warm.wait(place / f"r{number}" / "ready.json") == {"mode": "item"}
    warm.end()
    for number in range(30):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(place / f"r{number}" / "replica.sock"))
            assert connection.recv(100) == f"r{number}/1".encode()
    for pid in shims:
        os.kill(pid, signal.SIGTERM)
    for number in range(30):
        assert warm.wait(place / f"r{number}" / "exit.json")["reason"] == "stopped"


def test_what_loading_prints_is_said_once_by_the_first_replica_of_each_deployment(warm: Warm, place: Path) -> None:
    units = ["dep_1-0", "dep_1-1", "dep_2-0"]
    said = []
    for unit in units:
        folder = place / unit / "1"
        pid = warm.order(folder)["pid"]
        warm.wait(folder / "ready.json")
        os.kill(pid, signal.SIGTERM)
        warm.wait(folder / "exit.json")
        said.append((folder / f"log.{0:020d}").read_text().splitlines())
    marked = "loading: preparing plain as model"
    assert [lines.count(marked) for lines in said] == [1, 0, 1]
    assert said[0][0] == said[2][0] == marked, "before anything of its own"


def test_much_that_loading_prints_is_cut_and_keeps_no_replica_waiting(place: Path) -> None:
    started = Warm(place / "z", "talks")
    started.wait(place / "z" / "ready.json")
    pid = started.order(place / "dep_1-0" / "1")["pid"]
    started.wait(place / "dep_1-0" / "1" / "ready.json")
    os.kill(pid, signal.SIGTERM)
    started.wait(place / "dep_1-0" / "1" / "exit.json")
    started.end()
    loading, _, own = (place / "dep_1-0" / "1" / f"log.{0:020d}").read_text().partition("loading: (and more)\n")
    assert len(loading) < 65_536 and own.startswith("environment ")


def test_a_replica_has_the_orders_environment_and_none_of_the_zygotes_own(place: Path) -> None:
    os.environ["OF_THE_ZYGOTE"] = "x"
    try:
        started = Warm(place / "z", "plain")
    finally:
        del os.environ["OF_THE_ZYGOTE"]
    started.wait(place / "z" / "ready.json")
    started.environment = {"ONLY": "mine"}
    started.order(place / "r")
    pid = _pid(started, place / "r")
    started.wait(place / "r" / "ready.json")
    os.kill(pid, signal.SIGKILL)
    assert started.wait(place / "r" / "exit.json")["reason"] == "killed"
    said = (place / "r" / f"log.{0:020d}").read_text()
    started.end()
    assert "environment ONLY\n" in said


@pytest.mark.parametrize("order", [b"", b"nonsense", b"{}", b'{"folder": 3}', b"\xff" * 100_000])
def test_5_kinds_of_bad_order_harm_no_later_one(warm: Warm, place: Path, order: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        assert warm.send(order) == b""
    pid = warm.order(place / "r")["pid"]
    warm.wait(place / "r" / "ready.json")
    os.kill(pid, signal.SIGTERM)
    warm.wait(place / "r" / "exit.json")


def test_an_order_for_a_folder_that_is_not_there_harms_no_later_one(warm: Warm, place: Path) -> None:
    warm.send(json.dumps({"folder": str(place / "nowhere"), "environment": {}}).encode())
    pid = warm.order(place / "r")["pid"]
    warm.wait(place / "r" / "ready.json")
    os.kill(pid, signal.SIGTERM)
    warm.wait(place / "r" / "exit.json")


@pytest.mark.parametrize(
    ("preload", "threads_level"), [("auto", "imports"), ("model", "model"), ("imports", "imports"), ("none", "none")]
)
def test_threads_make_it_start_over_unless_the_level_was_chosen(place: Path, preload: str, threads_level: str) -> None:
    started = Warm(place / "z", "threads", preload)
    try:
        ready = started.wait(place / "z" / "ready.json")
        assert ready["preload"] == threads_level
        assert (ready["threads"] > 1) == (threads_level == "model")
        assert ready["pid"] == started.process.pid
    finally:
        started.end()


def test_a_failed_load_is_explained_and_exits_with_1(place: Path) -> None:
    started = Warm(place / "z", "missing")
    assert started.process.wait(60) == 1
    started.end()
    error = json.loads((place / "z" / "error.json").read_bytes())
    assert (error["code"], "no_such_package_at_all" in error["hint"]) == ("MODULE_MISSING", True)
    assert "Traceback" in error["traceback"]


def test_the_second_zygote_of_a_folder_leaves(warm: Warm) -> None:
    command = [sys.executable, "-c", _BOOT, str(warm.folder), "engine_loader_module"]
    assert subprocess.run(command, env=warm.environment, timeout=60, check=False).returncode == 0
    assert warm.process.poll() is None


@pytest.mark.parametrize("reference", ["plain", "numpy"])
def test_a_fork_imports_nothing(place: Path, reference: str) -> None:
    started = Warm(place / "z", reference)
    started.wait(place / "z" / "ready.json")
    started.order(place / "r")
    said = _said(started, place / "r")
    started.end()
    assert "imported since:\n" in said


def test_replicas_draw_different_numbers(place: Path) -> None:
    started = Warm(place / "z", "draws")
    started.wait(place / "z" / "ready.json")
    drawn: set[str] = set()
    for name in ("a", "b"):
        started.order(place / name, reference="draws")
        drawn |= {line for line in _said(started, place / name).splitlines() if line.startswith("drew")}
    started.end()
    assert len(drawn) == 2


def test_a_replica_that_touches_a_byte_takes_a_small_page(warm: Warm, place: Path) -> None:
    warm.order(place / "r")
    pid = _pid(warm, place / "r")
    warm.wait(place / "r" / "ready.json")
    status = Path(f"/proc/{pid}/status").read_text()
    os.kill(pid, signal.SIGTERM)
    warm.wait(place / "r" / "exit.json")
    if "THP_enabled" not in status:
        pytest.skip("this kernel does not say")
    assert "THP_enabled:\t0\n" in status


def _said(warm: Warm, folder: Path) -> str:
    """What a replica prints before it serves."""
    pid = _pid(warm, folder)
    warm.wait(folder / "ready.json")
    os.kill(pid, signal.SIGTERM)
    warm.wait(folder / "exit.json")
    return (folder / f"log.{0:020d}").read_text()


def _pid(warm: Warm, folder: Path) -> int:
    while not (pid := warm.wait(folder / "pid.json")["pid"]):
        time.sleep(0.001)
    return int(pid)
