"""kill -9 at seeded moments of snapshot, persist, manifest, collection and restore, and at any time at all.

`BOUGH_KILLS=300` makes more rounds of it.
"""

from __future__ import annotations

import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from bough.runtime.checkpoints import manifest, restoring
from bough.runtime.checkpoints.checking import Interruptions
from tests.depth import times
from tests.runtime.checkpoints import trained

KILLS = times("BOUGH_KILLS", quick=5, deep=10)
OUTSIDE = max(2, KILLS // 10)
STEPS, EVERY, PAUSE_S = 40, 3, 0.002  # long enough for a save to end while the training goes on
MOMENTS = 130  # that a start of so many steps passes
LIMIT_S = 600 + 2 * KILLS


def check_all(folder: Path) -> None:
    """Every checkpoint that is there can be loaded."""
    for step in manifest.steps(folder):
        for shard in manifest.read(manifest.place(folder, step)).shards:
            restoring.load_shard(folder, shard)


@pytest.mark.timeout(LIMIT_S)
def test_killed_at_any_moment_it_comes_to_the_same_weights(tmp_path: Path) -> None:
    """Every start is a fork; that a new interpreter makes no difference shows in the test below."""
    chance, kills, chain = random.Random(11), 0, 0
    with trained.Starts(tmp_path) as starts:
        status, said = starts.run(tmp_path / "whole", STEPS, EVERY, PAUSE_S)
        assert status == 0, said
        expected = trained.outcome(tmp_path / "whole")
        while kills < KILLS:
            chain += 1
            folder = tmp_path / str(chain)
            while not trained.is_done(folder):
                at = chance.randint(1, MOMENTS) if kills < KILLS else 0
                status, said = starts.run(folder, STEPS, EVERY, PAUSE_S, plan=Interruptions(kill_at_moment=at))
                assert status in (0, -signal.SIGKILL), said
                kills += status != 0
                check_all(folder)
            assert trained.outcome(folder) == expected
            shutil.rmtree(folder)


@pytest.mark.timeout(LIMIT_S)
def test_killed_from_outside_it_comes_to_the_same_weights(tmp_path: Path) -> None:
    assert trained.run(tmp_path / "whole", STEPS, EVERY)[0] == 0
    chance, kills, chain = random.Random(5), 0, 0
    while kills < OUTSIDE:
        chain += 1
        folder = tmp_path / f"killed{chain}"
        while kills < OUTSIDE and not trained.is_done(folder):
            before = manifest.steps(folder)
            process = trained.start(folder, STEPS, EVERY, 0.02)
            while manifest.steps(folder) == before and process.poll() is None:
                time.sleep(0.01)
            time.sleep(chance.uniform(0.0, 0.3))
            process.kill()
            process.communicate()
            kills += process.returncode == -signal.SIGKILL
            check_all(folder)
        assert trained.run(folder, STEPS, EVERY)[0] == 0
        assert trained.outcome(folder) == trained.outcome(tmp_path / "whole")


def test_told_to_end_it_loses_no_step(tmp_path: Path) -> None:
    assert trained.run(tmp_path / "whole", STEPS, EVERY)[0] == 0
    folder = tmp_path / "told"
    for step in (5, 17, 31):
        status, said = trained.run(folder, STEPS, "1h", plan=Interruptions(notice_at_step=step))
        assert status == 0, said
        assert trained.outcome(folder)["step"] == step and not trained.is_done(folder)
    assert trained.run(folder, STEPS, "1h")[0] == 0
    assert trained.outcome(folder) == trained.outcome(tmp_path / "whole")


def test_told_again_and_again_it_still_ends_well(tmp_path: Path) -> None:
    process = trained.start(tmp_path, 100_000, 2, 0.001)
    while not manifest.steps(tmp_path):
        time.sleep(0.02)
    for _ in range(3):
        process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=100)[1]
    assert process.returncode == 0, said
    assert "saved" in said or not said
    check_all(tmp_path)
    assert manifest.steps(tmp_path)
