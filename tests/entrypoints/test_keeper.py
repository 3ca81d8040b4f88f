"""The keeper: starts again what dies, adopts what lives, and may die itself. With small programs instead of Bough's."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bough.entrypoints.keeper import FIRST_DELAY_S, LONGEST_AFTER_KILL_S, LONGEST_DELAY_S, STEADY_S, Part, has_failed
from bough.entrypoints.processes import Presence, presence, stop
from bough.kernel.platform import Home
from bough.kernel.processes import boot, starttime

# A part: writes who it is, then sleeps; `stubborn` takes no notice of SIGTERM; `failing` ends at once.
PART = """
import json, os, signal, sys, time
name, home, how = sys.argv[1:4]
open(home + f"/{name}.starts", "a").write("x")
if how == "failing":
    sys.exit(1)
if how == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
begun = int(open("/proc/self/stat").read().rpartition(")")[2].split()[19])
path = f"{home}/run/{name}.json"
with open(path + ".new", "w") as file:
    json.dump({"pid": os.getpid(), "starttime": begun, "started_at": time.time()}, file)
os.rename(path + ".new", path)
time.sleep(600)
"""
KEEPER = """
import sys
from pathlib import Path
from bough.entrypoints.keeper import Keeper
from bough.kernel.platform import Home
home = Path(sys.argv[1])
how = dict(word.split("=") for word in sys.argv[2:])
words = {name: [sys.executable, "-S", str(home / "part.py"), name, str(home), how[name]] for name in how}
Keeper(Home(home), words).run()
"""


class Bench:
    def __init__(self, folder: Path) -> None:
        self.home = Home(folder)
        self.home.run.mkdir()
        (folder / "part.py").write_text(PART)
        self.keepers: list[subprocess.Popen[bytes]] = []

    def keep(self, *, log: str = os.devnull, **how: str) -> subprocess.Popen[bytes]:
        words = [f"{name}={value}" for name, value in how.items()]
        command = [sys.executable, "-c", KEEPER, str(self.home.path), *words]
        with Path(log).open("wb") as stderr:
            self.keepers.append(subprocess.Popen(command, stderr=stderr))
        return self.keepers[-1]

    def pid(self, name: str) -> int:
        found: list[Presence] = []

        def there() -> bool:
            found[:] = [each] if (each := presence(self.home, name)) else []
            return bool(found)

        wait_until(there)
        return found[0].pid

    def starts(self, name: str) -> int:
        path = self.home.path / f"{name}.starts"
        return len(path.read_text()) if path.exists() else 0

    def close(self) -> None:
        for keeper in self.keepers:
            keeper.kill()
            keeper.wait()
        for name in ("one", "two", "three"):
            stop(self.home, name, grace_s=0.0)


@pytest.fixture
def bench() -> Iterator[Bench]:
    folder = Path(tempfile.mkdtemp(prefix="bk-", dir="/tmp"))
    made = Bench(folder)
    yield made
    made.close()
    shutil.rmtree(folder)


def wait_until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    ends = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends, "still not"
        time.sleep(0.005)


def test_a_part_that_is_killed_is_started_again(bench: Bench) -> None:
    bench.keep(one="well", two="well")
    other = bench.pid("two")
    for _ in range(3):
        before = bench.pid("one")
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: bench.pid("one") != before)  # noqa: B023
    assert bench.starts("one") == 4
    assert bench.pid("two") == other


def test_a_full_disk_does_not_end_the_keeper(bench: Bench) -> None:
    """It can write no log then, nor may there be room for its parts' own."""
    keeper = bench.keep(log="/dev/full", one="well")
    first = bench.pid("one")
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: bench.starts("one") == 2)
    second = bench.pid("one")
    shutil.rmtree(bench.home.logs)
    bench.home.logs.write_text("in place of the folder")
    os.kill(second, signal.SIGKILL)
    wait_until(lambda: presence(bench.home, "one") is None)
    time.sleep(3 * FIRST_DELAY_S)
    assert keeper.poll() is None
    bench.home.logs.unlink()
    wait_until(lambda: bench.starts("one") == 3)


def test_a_keeper_that_is_killed_stops_nothing_and_the_next_one_adopts(bench: Bench) -> None:
    keeper = bench.keep(one="well", two="well")
    one, two = bench.pid("one"), bench.pid("two")
    keeper.kill()
    keeper.wait()
    os.kill(two, signal.SIGKILL)
    bench.keep(one="well", two="well")
    wait_until(lambda: bench.pid("two") != two)
    assert bench.pid("one") == one
    assert (bench.starts("one"), bench.starts("two")) == (1, 2)
    os.kill(one, signal.SIGKILL)  # not its child, and watched all the same
    wait_until(lambda: bench.pid("one") != one)


def test_a_keeper_that_is_asked_to_stop_leaves_its_parts_running(bench: Bench) -> None:
    keeper = bench.keep(one="well")
    one = bench.pid("one")
    keeper.terminate()
    assert keeper.wait(60) == 0
    assert presence(bench.home, "one") is not None
    assert presence(bench.home, "keeper") is None
    assert bench.pid("one") == one


def test_a_second_keeper_gives_way(bench: Bench) -> None:
    bench.keep(one="well")
    bench.pid("one")
    second = bench.keep(one="well")
    assert second.wait(60) != 0
    assert bench.starts("one") == 1


def test_a_part_that_cannot_start_is_tried_at_growing_intervals_and_at_once_on_sighup(bench: Bench) -> None:
    keeper = bench.keep(one="failing")
    wait_until(lambda: bench.starts("one") >= 3)
    began = time.monotonic()
    seen = bench.starts("one")
    keeper.send_signal(signal.SIGHUP)
    wait_until(lambda: bench.starts("one") > seen)
    assert time.monotonic() - began < LONGEST_DELAY_S


def pauses(*failed: bool, lived_s: float = 0.0) -> list[float]:
    """Of a part that ends so often, each time after `lived_s`."""
    part, found = Part("one", []), []
    for at, each in enumerate(failed):
        part.hold(os.getpid(), 100.0 * at)
        part.ended(100.0 * at + lived_s, failed=each)
        found.append(part.due_at - 100.0 * at - lived_s)
    return found


def test_pauses_of_what_cannot_start_double_up_to_a_limit() -> None:
    found = pauses(*[True] * 2000)
    assert found[:3] == pytest.approx([FIRST_DELAY_S, FIRST_DELAY_S * 2, FIRST_DELAY_S * 4])
    assert found[-1] == LONGEST_DELAY_S


def test_what_is_killed_again_and_again_is_there_again_soon() -> None:
    found = pauses(*[False] * 2000)
    assert found[:2] == pytest.approx([FIRST_DELAY_S, FIRST_DELAY_S * 2])
    assert max(found) == pytest.approx(LONGEST_AFTER_KILL_S)
    assert LONGEST_AFTER_KILL_S < 0.5, "a start takes as long again, and both together less than a second"


def test_kills_do_not_count_as_failures_nor_failures_as_kills() -> None:
    assert pauses(*[False] * 20, True)[-1] == pytest.approx(FIRST_DELAY_S)
    assert pauses(*[True] * 20, False)[-1] == pytest.approx(LONGEST_AFTER_KILL_S)


def test_pauses_begin_anew_after_a_steady_life() -> None:
    assert pauses(*[True] * 20, lived_s=STEADY_S) == pytest.approx([FIRST_DELAY_S] * 20)
    assert pauses(*[False] * 20, lived_s=STEADY_S) == pytest.approx([FIRST_DELAY_S] * 20)


@pytest.mark.parametrize(("how", "ends"), [("well", "killed"), ("well", "asked"), ("failing", "itself")])
def test_a_keeper_knows_what_was_killed_from_what_cannot_start(bench: Bench, how: str, ends: str) -> None:
    part = Part("one", [sys.executable, "-S", str(bench.home.path / "part.py"), "one", str(bench.home.path), how])
    process = subprocess.Popen(part.argv)
    part.hold(process.pid, 0.0)
    if ends != "itself":
        bench.pid("one")
        process.send_signal(signal.SIGKILL if ends == "killed" else signal.SIGTERM)
    select.select([part.pidfd], [], [], 60)
    assert has_failed(bench.home, part) == (ends == "itself")
    process.returncode = 0  # its status has been taken
    os.close(part.pidfd)


def test_stopping_ends_also_what_takes_no_notice_of_sigterm(bench: Bench) -> None:
    keeper = bench.keep(one="stubborn")
    one = bench.pid("one")
    keeper.kill()
    keeper.wait()
    assert stop(bench.home, "one", grace_s=0.1)
    assert starttime(one) == 0
    assert not stop(bench.home, "one")


def test_a_number_that_belongs_to_somebody_else_by_now_is_nobody(bench: Bench) -> None:
    path = bench.home.run / "one.json"
    mine = {"pid": os.getpid(), "starttime": starttime(os.getpid()), "started_at": time.time()}
    path.write_text(json.dumps(mine))
    assert presence(bench.home, "one") is not None
    path.write_text(json.dumps(mine | {"starttime": 1}))
    assert presence(bench.home, "one") is None
    assert not stop(bench.home, "one")
    path.write_text(json.dumps(mine | {"boot": "an earlier one"}))
    assert presence(bench.home, "one") is None
    path.write_text(json.dumps(mine | {"started_at": 0.0, "boot": boot()}))  # the clock was set since, by years
    assert presence(bench.home, "one") is not None
    path.write_text("{torn")
    assert presence(bench.home, "one") is None
