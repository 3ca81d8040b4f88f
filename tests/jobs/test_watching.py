"""What capacity is told of a run."""

from __future__ import annotations

from bough.jobs.watching import situation
from bough.runtime.checkpoints.progress import Progress
from tests.jobs.test_rules import a_run


def test_a_save_costs_what_the_trainer_stands_still_and_a_notice_has_to_reach_the_disk() -> None:
    said = Progress(at=9.0, step=70, total=100, step_s=2.0, saved_step=60, cost_s=0.3, save_s=12.0, interval_s=40.0)
    found = situation(a_run(work_s=400.0), None, said, proven=True)
    assert (found.save_s, found.to_disk_s, found.interval_s) == (0.3, 12.0, 40.0)
    assert (found.work_left_s, found.unsaved_s) == (80.0, 20.0)
