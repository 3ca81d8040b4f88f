"""A full disk costs checkpoints, not the training, and never the last good one."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bough import checkpoint
from bough.runtime.checkpoints import manifest
from bough.runtime.checkpoints.progress import read_progress


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(tmp_path)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("this machine does not let root mount a tmpfs")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=False)


def state(step: int, megabytes: float) -> dict[str, Any]:
    return {"w": np.random.default_rng(step).random(int(megabytes * 125_000))}


def test_training_goes_on_says_so_and_the_last_good_one_stays(small: Path, capfd: Any) -> None:
    ckpt = checkpoint.open(str(small), every=1, version="1")
    ckpt.save(1, state(1, 1))
    assert ckpt.flush()
    (small / "filler").write_bytes(bytes(1_600_000))
    ckpt.save(2, state(2, 1))
    assert not ckpt.flush()
    said = capfd.readouterr().err
    assert "step 2 was not saved: No space left on device" in said and "the training goes on" in said
    assert manifest.steps(small) == [1]
    ckpt.save(3, state(3, 1))
    assert not ckpt.flush() and not capfd.readouterr().err, "a disk that stays full is not said at every step"
    progress = read_progress(small)
    assert progress is not None and progress.message.startswith("step 3 was not saved")
    (small / "filler").unlink()
    ckpt.save(4, state(4, 1))
    assert ckpt.flush() and manifest.steps(small)[0] == 4
    progress = read_progress(small)
    assert progress is not None and progress.saved_step == 4 and not progress.message
    ckpt.close()
    assert not [path for path in small.rglob(".new-*")]


def test_a_state_that_is_larger_than_the_disk_leaves_nothing_at_work(small: Path, capfd: Any) -> None:
    ckpt = checkpoint.open(str(small), every=1, version="1")
    ckpt.save(1, state(1, 80))
    assert not ckpt.flush()
    assert "No space left on device" in capfd.readouterr().err
    assert not [thread for thread in threading.enumerate() if thread.name == "bough-digests"]
    ckpt.save(2, state(2, 1))
    assert ckpt.flush()
    ckpt.close()


def test_older_ones_give_way_first(small: Path) -> None:
    with checkpoint.open(str(small), every=1, keep=3, version="1") as ckpt:
        for step in range(1, 7):
            ckpt.save(step, state(step, 0.9))
            assert ckpt.flush(), step
    found = checkpoint.open(str(small), version="1")
    assert found.restore().step == 6
    found.close()
