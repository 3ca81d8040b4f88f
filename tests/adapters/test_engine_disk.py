"""A full and a read-only disk, for real: a small file system of its own where the machine allows to mount one."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adapters import engine_rigs as rigs

_STORY = """
import subprocess, sys, time
from pathlib import Path
from bough.adapters.engine.local import LocalEngine
from bough.kernel.errors import Exhausted
from bough.runtime.spec import UnitSpec
from tests.adapters.engine_rigs import end_all

home, how = Path(sys.argv[1]), sys.argv[2]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(home)], check=True)
engine = LocalEngine(home)
command = ["sh", "-c", "while :; do echo 0123456789; sleep 0.001; done"]
talks = UnitSpec(unit="talks", attempt=1, kind="job", argv=command)
engine.apply(talks)
next(chunk for chunk in engine.logs("talks", 1, 0, follow=True) if chunk.data)  # its log is open from here on
filler = home / "filler"
if how == "full":
    with filler.open("wb", buffering=0) as out:
        try:
            while True:
                out.write(b"x" * 4096)
        except OSError:
            pass
else:
    units = str(home / "units")  # a mount above the first, which a unit is writing to
    subprocess.run(["mount", "--bind", units, units], check=True)
    for _ in range(100):  # busy while the shim happens to write there
        if subprocess.run(["mount", "-o", "remount,bind,ro", units], stderr=subprocess.DEVNULL).returncode == 0:
            break
        time.sleep(0.01)
before = sorted(path.name for path in (home / "units").iterdir())
refused = 0
for number in range(5):
    try:
        engine.apply(UnitSpec(unit=f"u{number}", attempt=1, kind="job", argv=["true"]))
    except Exhausted as error:
        refused += str(home) in error.message and bool(error.hint)
print("refused", refused)
print("nothing half-written", sorted(path.name for path in (home / "units").iterdir()) == before)
print("still", engine.snapshot()[0].state)
if how == "full":
    filler.unlink()
else:
    subprocess.run(["umount", units], check=True)
engine.apply(UnitSpec(unit="u0", attempt=1, kind="job", argv=["true"]))
while [a.unit for a in engine.snapshot() if a.unit == "u0" and a.exit] == []:
    engine.watch(0, 0.05)
print("again", [a.exit.code for a in engine.snapshot() if a.unit == "u0"])
engine.stop("talks", 1)
end_all(engine)
print("stopped", [a.exit.reason for a in engine.snapshot() if a.unit == "talks"])
engine.close()
"""


@pytest.fixture
def place() -> Iterator[Path]:
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("this machine does not let us mount a file system of our own")
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="bd-") as name:
        yield Path(name)


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_disk_that_takes_nothing_refuses_5_of_5_applies_and_loses_nothing(place: Path, how: str) -> None:
    command = ["unshare", "-m", sys.executable, "-c", _STORY, str(place), how]
    environment = {**rigs.clean_environment(), "PYTHONPATH": "."}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout.splitlines() == [
        "refused 5",
        "nothing half-written True",
        "still running",
        "again [0]",
        "stopped ['stopped']",
    ], ended.stderr
