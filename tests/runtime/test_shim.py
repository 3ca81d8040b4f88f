"""The guardian of a unit, without an engine above it."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bough.runtime import kernelcalls, shim
from bough.runtime.logsegments import SEGMENTS, SegmentWriter, segment_name

ROOT = Path(shim.__file__).parents[2]
_BOOT = f"""import sys
for name in ("bough", "bough.runtime"):
    package = sys.modules[name] = type(sys)(name)
    package.__path__ = [{str(ROOT)!r} + "/" + name.replace(".", "/")]
from bough.runtime.shim import main
main(sys.argv[1:])"""


class Guarded:
    """A shim started as the node starts it."""

    def __init__(
        self, folder: Path, *argv: str, cwd: str = "", grace_s: float = 5.0, log_bytes: int = 1 << 20, nice: int = 0
    ) -> None:  # fmt: skip
        self.folder = folder
        plan = (folder, cwd, grace_s, 0.0, log_bytes, 0, 0, 0, 0, nice)
        command = [sys.executable, "-I", "-S", "-c", _BOOT, *map(str, plan), *argv]
        self.pid = os.posix_spawn(sys.executable, command, os.environ, setsigmask=[signal.SIGTERM])

    def wait(self, name: str) -> Any:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                found = json.loads((self.folder / name).read_bytes())
            except FileNotFoundError:
                found = None
            if found and (name != "pid.json" or found["pid"]):
                return found
            time.sleep(0.002)
        raise AssertionError(f"{name} never came: {list(self.folder.iterdir())}")

    def end(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "unit"
    place.mkdir()
    yield place


def test_two_shims_of_one_attempt_run_it_once_in_5_rounds(tmp_path: Path) -> None:
    for number in range(5):
        folder = tmp_path / str(number)
        folder.mkdir()
        pair = [Guarded(folder, "sh", "-c", "echo ran; exit 4") for _ in range(2)]
        assert pair[0].wait("exit.json")["code"] == 4
        for guarded in pair:
            os.waitpid(guarded.pid, 0)
        assert (folder / segment_name(0)).read_bytes() == b"ran\n"


def test_what_is_to_give_way_does_so_with_all_that_it_starts_and_its_guardian_does_not(folder: Path) -> None:
    """A job on all cores leaves a service its latency by its weight: its own, its session's where the kernel groups by
    that, and as the first to go when memory is short."""
    say = "cat /proc/self/oom_score_adj; test ! -e /proc/self/autogroup || cat /proc/self/autogroup; exec sleep 30"
    guarded = Guarded(folder, "sh", "-c", f"nice; ({say})", nice=10)
    pid = guarded.wait("pid.json")["pid"]
    before = os.getpriority(os.PRIO_PROCESS, 0)
    log = folder / segment_name(0)
    grouped = Path("/proc/self/autogroup").exists()
    deadline = time.monotonic() + 60
    said: list[str] = []
    while len(said) < 2 + grouped and time.monotonic() < deadline:
        said = log.read_text().splitlines() if log.exists() else []
    assert said[:2] == [str(before + 10), "500"]
    assert not grouped or said[2].endswith(" nice 10")
    assert os.getpriority(os.PRIO_PROCESS, pid) == before + 10
    assert os.getpriority(os.PRIO_PROCESS, guarded.pid) == before, "it renews leases and writes the log of a busy unit"
    os.killpg(pid, signal.SIGKILL)
    guarded.wait("exit.json")
    os.waitpid(guarded.pid, 0)


def test_what_ended_at_once_and_its_children_have_read_is_counted_once(folder: Path) -> None:
    content = folder.parent / "content"
    content.write_bytes(bytes(8 << 20))
    guarded = Guarded(folder, "sh", "-c", f"cat {content} >/dev/null; cat {content} >/dev/null")
    usage = guarded.wait("exit.json")["usage"]
    os.waitpid(guarded.pid, 0)
    assert 16 << 20 <= usage["all_read_bytes"] < 20 << 20


def test_a_stop_that_came_first_means_that_nothing_is_started(folder: Path) -> None:
    (folder / "stop.json").write_text('{"grace_s":1.0}')
    guarded = Guarded(folder, "touch", str(folder / "ran"))
    assert guarded.wait("exit.json")["reason"] == "stopped"
    os.waitpid(guarded.pid, 0)
    assert not (folder / "ran").exists()


def test_a_signal_before_the_shim_listens_is_not_its_end(folder: Path) -> None:
    guarded = Guarded(folder, "sleep", "1000")
    os.kill(guarded.pid, signal.SIGTERM)
    assert guarded.wait("exit.json")["reason"] == "stopped"
    os.waitpid(guarded.pid, 0)


def test_the_unit_dies_with_its_shim(folder: Path) -> None:
    guarded = Guarded(folder, "sleep", "1000")
    unit = guarded.wait("pid.json")["pid"]
    watched = os.pidfd_open(unit)
    guarded.end()
    assert _ended(watched)


def test_a_unit_whose_folder_is_removed_ends(folder: Path) -> None:
    guarded = Guarded(folder, "sleep", "1000")
    watched = os.pidfd_open(guarded.wait("pid.json")["pid"])
    folder.rename(folder.with_name("moved"))
    assert _ended(watched)
    os.waitpid(guarded.pid, 0)


def test_a_full_disk_drops_output_and_harms_no_unit(folder: Path) -> None:
    (folder / segment_name(0)).symlink_to("/dev/full")
    guarded = Guarded(folder, "sh", "-c", "for i in $(seq 2000); do echo 0123456789; done; exit 3")
    exited = guarded.wait("exit.json")
    os.waitpid(guarded.pid, 0)
    kept = sum(path.stat().st_size for path in folder.glob("log.*") if not path.is_symlink())
    assert exited["code"] == 3
    assert exited["usage"]["dropped_log_bytes"] > 0
    assert exited["usage"]["dropped_log_bytes"] + kept == 2000 * 11


def test_a_gap_in_the_output_has_its_exact_length(tmp_path: Path) -> None:
    writer = SegmentWriter(str(tmp_path), 1 << 20)
    writer.write(b"before")
    writer.close()
    full = tmp_path / segment_name(6)
    full.symlink_to("/dev/full")
    writer.write(b"lost")  # goes to the segment that begins here, which takes nothing
    writer.write(b"after")
    writer.close()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if not path.is_symlink()} == {
        segment_name(0): b"before",
        segment_name(10): b"after",
    }
    assert (writer.dropped_bytes, writer.offset) == (4, 15)


def test_rotation_keeps_8_segments_and_every_offset(tmp_path: Path) -> None:
    writer = SegmentWriter(str(tmp_path), 8 * 4096)
    written = b"".join(b"%07d\n" % number for number in range(10_000))
    for start in range(0, len(written), 1000):
        writer.write(written[start : start + 1000])
    writer.close()
    segments = sorted(tmp_path.iterdir())
    assert len(segments) == SEGMENTS
    for segment in segments:
        start = int(segment.name[4:])
        assert segment.read_bytes() == written[start : start + segment.stat().st_size]
    assert int(segments[-1].name[4:]) + segments[-1].stat().st_size == len(written)


def test_the_exit_is_told_on_a_disk_that_is_full_by_then(folder: Path) -> None:
    guarded = Guarded(folder, "sleep", "1000")
    guarded.wait("pid.json")
    reserved = (folder / ".exit").stat()
    os.kill(guarded.pid, signal.SIGTERM)
    guarded.wait("exit.json")
    os.waitpid(guarded.pid, 0)
    told = (folder / "exit.json").stat()
    assert (told.st_ino, told.st_size) == (reserved.st_ino, reserved.st_size)  # written in place: no new block needed


def test_a_unit_gains_no_privileges_and_leaves_no_core(folder: Path) -> None:
    guarded = Guarded(folder, "sh", "-c", "grep NoNewPrivs /proc/self/status; ulimit -c")
    guarded.wait("exit.json")
    os.waitpid(guarded.pid, 0)
    assert (folder / segment_name(0)).read_bytes().split() == [b"NoNewPrivs:", b"1", b"0"]


def test_an_idle_shim_costs_at_most_6_mb(folder: Path) -> None:
    guarded = Guarded(folder, "sleep", "1000")
    guarded.wait("pid.json")
    rollup = Path(f"/proc/{guarded.pid}/smaps_rollup").read_text()
    guarded.end()
    share = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    assert share <= 6 * 1024


def test_the_shim_imports_only_what_is_cheap() -> None:
    code = _BOOT.removesuffix("main(sys.argv[1:])") + "print(*sys.modules)"
    read, write = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, write, 1)]
    argv = [sys.executable, "-I", "-S", "-c", code]
    pid = os.posix_spawn(sys.executable, argv, os.environ, file_actions=actions)
    os.close(write)
    with os.fdopen(read) as output:
        imported = set(output.read().split())
    os.waitpid(pid, 0)
    heavy = {"json", "re", "enum", "signal", "ctypes", "subprocess", "typing", "msgspec", "pathlib", "asyncio"}
    assert "bough.runtime.shim" in imported
    assert heavy & imported == set()


def test_landlock_is_refused_where_it_is_missing_and_works_where_it_is() -> None:
    outside = Path("/var/tmp", f"bough-never-written-{os.getpid()}")  # the checkout itself may lie under /tmp
    pid = os.fork()
    if pid == 0:
        worked = kernelcalls.confine_writes(["/tmp"])
        try:
            outside.write_text("x")
            wrote = True
        except OSError:
            wrote = False
        os._exit(0 if worked != wrote else 1)
    status = os.waitpid(pid, 0)[1]
    outside.unlink(missing_ok=True)
    assert status == 0


def _ended(pidfd: int) -> bool:
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    try:
        return bool(poller.poll(5000))
    finally:
        os.close(pidfd)
