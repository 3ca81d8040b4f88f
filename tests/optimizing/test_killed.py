"""kill -9 in the middle of an optimization, of what makes and measures or of the server: all of it, once, or nothing.

`BOUGH_KILLS=40` kills the server forty times; the default keeps the suite short.
"""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bough.adapters.engine import EXITED
from bough.kernel.reconcile import LEASE_S
from tests.depth import times
from tests.dying import Doom, in_a_process
from tests.optimizing.conftest import Bench, prepared, run_units

KILLS = times("BOUGH_KILLS", quick=2, deep=4)
COMMITS = 32  # from where a worker is asked for to the version and what is cleared away after it
ASKED = {"model": "digits@champion", "data": "images/test.npz", "label": "digit", "method": "dynamic"}


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a model and data, and beside it what a worker left that was not killed."""
    folder = tmp_path_factory.mktemp("ready")
    bench = prepared(folder)
    started = bench.call("optimize.quantize", **ASKED)
    bench.plane.let_pass(0.2)
    shutil.copytree(folder / "home", folder / "asked")
    run_units(bench.plane)
    shutil.copytree(bench.home / "optimizing" / started.id, folder / "made")
    bench.plane.bough.stop()
    shutil.rmtree(folder / "home")
    return folder


def test_what_makes_and_measures_is_killed_and_made_anew_from_the_beginning(bench: Bench) -> None:
    started = bench.call("optimize.quantize", **ASKED)
    for seen in ("before/model.onnx", "dynamic.onnx"):
        bench.plane.let_pass(0.2)
        kill_a_worker(bench, bench.home / "optimizing" / started.id, seen)
        assert versions(bench) == 1 and bench.plane.call("optimize.show", id=started.id).state == "running"
    found = bench.run(started)
    assert (found.state, found.version, versions(bench)) == ("done", 2, 2), found.said
    assert bench.units() == [] and not list((bench.home / "optimizing").iterdir())


def test_one_that_is_killed_each_time_fails_and_leaves_nothing_and_the_next_works(ready: Path, tmp_path: Path) -> None:
    shutil.copytree(ready / "asked", tmp_path / "home")
    bench = Bench(tmp_path, fresh=False)
    bench.plane.clock.advance(LEASE_S)
    for _ in range(3):
        bench.plane.let_pass(0.6)
        bench.plane.engine.crash(*running(bench))
    bench.plane.let_pass(1)
    (found,) = bench.call("optimize.list")
    assert found.state == "failed" and "ended 3 times (killed)" in found.said and found.version == 0
    assert versions(bench) == 1 and bench.units() == [] and not list((bench.home / "optimizing").iterdir())
    bench.call("optimize.quantize", **ASKED)
    drive(bench, ready / "made")
    assert versions(bench) == 2


@pytest.mark.parametrize("number", range(KILLS))
def test_a_server_killed_at_any_commit_registers_the_result_once(ready: Path, tmp_path: Path, number: int) -> None:
    shutil.copytree(ready / "asked", tmp_path / "home")
    commits = random.Random(f"optimization {number}").randrange(COMMITS)
    killed = in_a_process(lambda: run_and_die(tmp_path, ready / "made", commits))
    assert killed in (0, signal.SIGKILL)

    bench = Bench(tmp_path, fresh=False)
    bench.plane.clock.advance(3600 + LEASE_S)
    (found,) = bench.call("optimize.list")
    assert (found.state, found.version, versions(bench)) in (("running", 0, 1), ("done", 2, 2)), "both or neither"
    drive(bench, ready / "made")
    (found,) = bench.call("optimize.list")
    assert (found.state, found.version, versions(bench)) == ("done", 2, 2), found.said
    (file,) = bench.call("models.files", model="digits/2")
    assert bench.plane.bough.blobs.read(file.digest) == (ready / "made" / "dynamic.onnx").read_bytes()
    bench.call("optimize.quantize", **ASKED)
    drive(bench, ready / "made")
    assert versions(bench) == 3 and not list((bench.home / "optimizing").iterdir())
    bench.plane.bough.stop()


def versions(bench: Bench) -> int:
    return int(bench.call("models.show", name="digits").newest)


def running(bench: Bench) -> list[str]:
    units = [each for each in bench.plane.engine.snapshot() if each.unit.startswith("opt_") and each.state != EXITED]
    return [each.unit for each in units]


def kill_a_worker(bench: Bench, folder: Path, seen: str) -> None:
    """As soon as it has written `seen`."""
    (folder / seen).unlink(missing_ok=True)
    words = [str(each) for each in (bench.home, folder / "request.json", folder / "result.json")]
    started = subprocess.Popen([sys.executable, "-m", "bough.optimizing.worker", *words], stdout=subprocess.DEVNULL)
    while not (folder / seen).exists():
        assert started.poll() is None, "it ended before it was killed"
        time.sleep(0.001)
    started.kill()
    assert started.wait() == -signal.SIGKILL and not (folder / "result.json").exists()
    bench.plane.engine.crash(*running(bench))


def run_and_die(folder: Path, made: Path, commits: int) -> None:
    """Dies before the `commits`th commit."""
    bench = Bench(folder, fresh=False)
    bench.plane.clock.advance(LEASE_S)
    Doom(commits).begin()
    drive(bench, made)


def drive(bench: Bench, made: Path) -> None:
    """Lets workers do in no time what one has done before."""
    for _ in range(10):
        bench.plane.let_pass(0.5)
        for unit in running(bench):
            folder = bench.home / "optimizing" / unit.removesuffix("-optimizing")
            for each in ("dynamic.onnx", "result.json"):
                shutil.copy(made / each, folder / each)
            bench.plane.engine.crash(unit, code=0)
