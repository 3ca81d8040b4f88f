"""kill -9 before any commit of a job run and of its registration: one version in the end, registered once.

`BOUGH_KILLS=40` kills forty times; the default keeps the suite short.
"""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from bough.kernel.reconcile import LEASE_S
from tests.depth import times
from tests.dying import Doom, in_a_process

from .test_registering import FILE, Lab

KILLS = times("BOUGH_KILLS", quick=2, deep=4)
COMMITS = 110  # of a run from its beginning to its version, and a few more
PATIENCE = 30  # rounds of a second


@pytest.mark.parametrize("number", range(KILLS))
def test_a_server_killed_at_any_commit_registers_the_output_once(tmp_path: Path, number: int) -> None:
    commits = random.Random(f"registration {number}").randrange(COMMITS)
    killed = in_a_process(lambda: run_and_die(tmp_path, commits))
    assert killed in (0, signal.SIGKILL)

    lab = Lab(tmp_path, fresh=False)
    lab.clock.advance(3600 + LEASE_S)
    for _ in range(PATIENCE):
        lab.let_pass(1)
        (run,) = lab.call("jobs.list", project="lab")
        if run.state == "succeeded" and lab.versions():
            break
    lab.let_pass(2)
    assert lab.versions() == [1], (run, lab.timeline(run))
    shown = lab.call("jobs.show", id=run.id)
    assert [each.what for each in shown.timeline].count("registered") == 1
    assert lab.version("digits@candidate").facts.run == run.run
    lab.bough.stop()


def run_and_die(folder: Path, commits: int) -> None:
    lab = Lab(folder)
    bundles = {".": lab.bundle({"fit.py": "1"})}
    lab.call("jobs.run", project="lab", job="fit", file=FILE, bundles=bundles)
    Doom(commits).begin()
    lab.let_pass(6)
