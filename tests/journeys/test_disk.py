"""A full disk, a directory that cannot be written: a clear error, nothing lost, all well once there is room."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bough.entrypoints.processes import pid_of
from bough.kernel.platform import Home
from tests.journeys.machine import Machine

SERVICE = "class Plus:\n    def predict(self, n: int) -> int:\n        return n + {step}\n"
TOML = '\n[services.plus]\nmodel = "service:Plus"\n'


@pytest.fixture(scope="module")
def small_disk() -> Iterator[Machine]:
    """A platform whose home is a file system of its own, of 96 MB. Each test leaves room there for the next."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = Path(tempfile.mkdtemp(prefix="bd-", dir="/tmp"))
    (folder / "home").mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", folder / "home"], capture_output=True
    ).returncode:
        pytest.skip("this machine does not let root mount a tmpfs")
    made = Machine(folder / "home")
    try:
        made.up()
        yield made
    finally:
        made.down()
        subprocess.run(["umount", "-l", folder / "home"], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def test_a_full_disk_refuses_a_deploy_clearly_and_loses_nothing(small_disk: Machine) -> None:
    project = small_disk.project("plus", TOML, service_py=SERVICE.format(step=1))
    small_disk.deploy(project)
    assert small_disk.predict("plus", 1) == 2
    filler = small_disk.home / "filler"
    _fill(filler)
    (project / "service.py").write_text(SERVICE.format(step=2) + "# " + "x" * 100_000)
    refused = small_disk.run("deploy", "--json", cwd=project)
    assert refused.returncode == 7, refused.stdout + refused.stderr
    assert "space" in refused.stdout or "full" in refused.stdout
    assert small_disk.predict("plus", 1) == 2
    (disk,) = [each for each in small_disk.bough("doctor")["findings"] if each["name"] == "disk"]
    assert (disk["state"], disk["detail"]) == ("problem", "0 B free")
    filler.unlink()
    small_disk.deploy(project)
    assert small_disk.predict("plus", 1) == 3
    assert [each["state"] for each in small_disk.bough("releases", "--project", "plus")] == ["live", "superseded"]


def test_what_is_killed_on_a_full_disk_is_there_again_and_answers(small_disk: Machine) -> None:
    """Nobody frees space in the second in which a process dies. The keeper can write no log then, and a server that
    cannot open its database comes later."""
    project = small_disk.project("plus", TOML, service_py=SERVICE.format(step=1))
    small_disk.deploy(project)
    filler = small_disk.home / "filler"
    _fill(filler)
    killed = {name: small_disk.part(name) for name in ("node", "gateway", "server")}
    for pid in killed.values():
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while any(pid_of(Home(small_disk.home), name) in (0, killed[name]) for name in ("node", "gateway")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert small_disk.predict("plus", 1) == 2
    filler.unlink()
    (project / "service.py").write_text(SERVICE.format(step=2))
    small_disk.up()
    small_disk.deploy(project)
    assert small_disk.predict("plus", 1) == 3


def test_a_disk_that_fills_while_data_is_written_loses_none_of_what_was_committed(small_disk: Machine) -> None:
    project = small_disk.project("store", "")
    for name, size in (("small.bin", 1_000), ("large.bin", 20_000_000)):
        (project / name).write_bytes(os.urandom(size))
    rows = project / "rows.csv"
    rows.write_text("id,text\n" + "".join(f"{number},{os.urandom(8).hex()}\n" for number in range(1_000)))
    small_disk.bough("branch", "create", "main", cwd=project)
    small_disk.bough("data", "put", "small.bin", "d/small.bin", cwd=project)
    small_disk.bough("tables", "create", "t", "rows.csv", "--key", "id", cwd=project)
    filler = small_disk.home / "filler"
    _fill(filler)
    for words in (("data", "put", "large.bin", "d/large.bin"), ("tables", "upsert", "t", "rows.csv")):
        refused = small_disk.run(*words, "--json", cwd=project)
        assert refused.returncode == 7, refused.stdout + refused.stderr
        assert json.loads(refused.stdout.splitlines()[-1])["error"]["code"] == "DISK_FULL"
    filler.unlink()
    assert [each["path"] for each in small_disk.bough("data", "ls", "d", cwd=project)] == ["d/small.bin"]
    assert small_disk.bough("tables", "query", "select count(*) from t", cwd=project)["rows"] == [[1000]]
    small_disk.bough("data", "put", "large.bin", "d/large.bin", cwd=project)
    small_disk.bough("data", "get", "d/large.bin", "back.bin", cwd=project)
    assert (project / "back.bin").read_bytes() == (project / "large.bin").read_bytes()


def test_a_home_that_cannot_be_written_is_named() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        blocked = Path(folder, "file")
        blocked.write_text("not a folder")
        done = Machine(blocked / "home").run("up", cwd=Path(folder))
    assert done.returncode in (2, 7)
    assert str(blocked) in done.stderr and "HOME_UNUSABLE" in done.stderr


def _fill(path: Path) -> None:
    try:
        file = path.open("wb", buffering=0)  # what is in a buffer would be written when it is closed
    except OSError as error:
        room, largest = os.statvfs(path.parent), sorted(path.parent.rglob("*"), key=lambda each: -each.lstat().st_size)
        raise AssertionError(f"full before it was filled: {error}; {room}; {largest[:5]}") from error
    with file:
        try:
            while True:
                file.write(b"\0" * 65_536)
        except OSError:
            return
