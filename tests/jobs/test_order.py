"""Jobs that come after others: what they wait for, and what ends with them."""

from __future__ import annotations

import pytest

from bough.adapters.engine.fake import Behaviour
from bough.jobs.models import CANCELLED, RUNNING, SKIPPED, STOPPING, SUCCEEDED, WAITING
from bough.jobs.units import Places
from bough.kernel.errors import NotFound
from tests.jobs.conftest import Jobs

FORK = """name = "lab"
[jobs.clean]
command = "x"
array = 2
[jobs.rows]
command = "x"
[jobs.fit]
command = "x"
after = ["clean", "rows"]
[jobs.report]
command = "x"
after = ["fit", "rows"]
"""


def test_a_run_says_for_which_ones_it_waits_as_they_succeed(jobs: Jobs) -> None:
    jobs.does["clean"] = Behaviour()
    made = jobs.ask("fit", FORK)
    [clean] = [run for run in jobs.all("clean") if run.children]
    [rows] = jobs.all("rows")
    assert (made.state, made.said) == (WAITING, f"waits for clean ({clean.id}), rows ({rows.id})")
    jobs.let_pass(3.0)
    assert jobs.run(made.id).said == f"waits for clean ({clean.id})"


def test_whoever_cancels_what_was_asked_for_ends_what_ran_for_it_alone(jobs: Jobs) -> None:
    jobs.normally = Behaviour()
    made = jobs.ask("report", FORK)
    jobs.let_pass(2.0)
    told = jobs.call("jobs.cancel", id=made.id)
    by, _, names = told.said.partition(", and with it ")
    assert by.startswith("cancelled by") and {each.split()[0] for each in names.split(", ")} == {"fit", "clean", "rows"}
    jobs.let_pass(30.0)
    assert set(jobs.states()) == {CANCELLED} and jobs.running() == []
    assert jobs.all("rows")[0].said == f"{by} with report ({made.id})"
    jobs.normally = Behaviour(exit_after_s=0.2)
    jobs.call("jobs.retry", id=made.id)
    jobs.let_pass(10.0)
    assert set(jobs.states()) == {SUCCEEDED}, "and is taken up again as a whole"


def test_whoever_cancels_in_the_middle_leaves_what_others_wait_for(jobs: Jobs) -> None:
    jobs.normally = Behaviour()
    made = jobs.ask("report", FORK)
    jobs.let_pass(2.0)
    jobs.call("jobs.cancel", id=jobs.all("fit")[0].id)
    jobs.let_pass(0.1)
    assert jobs.states("clean") == [STOPPING] * 3 and jobs.states("rows") == [RUNNING]
    assert jobs.run(made.id).state == SKIPPED


def test_what_one_run_of_a_group_comes_after_goes_on_for_the_others(jobs: Jobs) -> None:
    jobs.normally = Behaviour()
    file = FORK + '[jobs.each]\ncommand = "x"\nafter = ["rows"]\narray = 2\n'
    jobs.ask("each", file)
    jobs.let_pass(2.0)
    first, second = (run for run in jobs.all("each") if run.group)
    jobs.call("jobs.cancel", id=first.id)
    assert jobs.run(first.id).state == CANCELLED and jobs.states("rows") == [RUNNING]
    jobs.call("jobs.cancel", id=second.id)
    assert jobs.states("rows") == [STOPPING]


def test_runs_of_a_job_that_there_is_not_are_no_empty_list(jobs: Jobs) -> None:
    with pytest.raises(NotFound, match=r"lab/main has no job 'fot'; it has none"):
        jobs.call("jobs.list", project="lab", job="fot")
    jobs.deploy('name = "lab"\n[jobs.fit]\ncommand = "x"\n')
    assert jobs.call("jobs.list", project="lab", job="fit") == [], "it is deployed, and has not run yet"
    jobs.ask("rows", FORK)
    assert jobs.call("jobs.list", project="lab", job="rows", state="failed") == []
    with pytest.raises(NotFound, match=r"has no job 'fot'; it has fit, rows") as raised:
        jobs.call("jobs.list", project="lab", job="fot")
    assert raised.value.own_code == "JOB_NOT_FOUND" and "bough jobs list" in raised.value.hint


def test_a_group_is_cleared_with_what_its_runs_have_left(jobs: Jobs) -> None:
    made = jobs.ask("clean", FORK)
    jobs.let_pass(3.0)
    places = Places(jobs.bough.home)
    folders = [places.checkpoints(run.id) for run in jobs.all("clean") if run.group]
    assert len(folders) == 2 and all(folder.is_dir() for folder in folders)
    assert jobs.call("jobs.clear", id=made.id) is True
    assert not any(folder.exists() for folder in folders) and jobs.call("jobs.clear", id=made.id) is False


def test_a_group_says_what_its_runs_have_had_so_far(jobs: Jobs) -> None:
    jobs.normally = Behaviour()
    made = jobs.ask("clean", FORK)
    jobs.let_pass(10.0)
    assert jobs.call("jobs.show", id=made.id).run.seconds == pytest.approx(20.0, abs=2.0)
