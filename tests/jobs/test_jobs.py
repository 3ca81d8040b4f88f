"""Job runs from being asked for to their end, with units that do what a script says."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from bough.access.store import token
from bough.adapters.capacity import Offer
from bough.adapters.engine import Attempt
from bough.adapters.engine.fake import Behaviour
from bough.adapters.engine.faults import FaultyEngine
from bough.builds import resumable
from bough.capacity.store import changeovers
from bough.entrypoints.cli import jobsaying
from bough.entrypoints.cli.session import Session
from bough.jobs import store
from bough.jobs.models import CANCELLED, ENDING, FAILED, QUEUED, RUNNING, SKIPPED, STOPPED, STOPPING, SUCCEEDED
from bough.jobs.units import NICE, Places
from bough.kernel.errors import Conflict, Invalid, NotFound, Problem
from bough.kernel.files import disk_full
from bough.kernel.platform import Platform, PoolSettings
from bough.runtime.spec import Failure, UnitSpec
from tests.jobs.conftest import Jobs

FILE = 'name = "lab"\n[jobs.fit]\ncommand = "python run.py"\n'
DAYS_S = 3 * 86_400.0


def test_a_job_is_built_started_and_ends_with_its_reason(jobs: Jobs) -> None:
    made = jobs.ask("fit", FILE)
    jobs.let_pass(2.0)
    run = jobs.run(made.id)
    assert (run.state, run.said, run.attempt) == (SUCCEEDED, "exit status 0", 1)
    assert jobs.running() == [] and jobs.bough.capacity.leases() == [], "what it held is given back"
    tracked = jobs.call("runs.show", project="lab", id=run.run)
    assert (tracked.status, tracked.experiment) == ("finished", "fit")


def test_an_environment_that_has_only_run_jobs_is_there_and_has_nothing_that_serves(jobs: Jobs) -> None:
    jobs.ask("fit", FILE)
    with pytest.raises(NotFound, match="nothing was deployed to lab/main yet") as raised:
        jobs.call("environments.status", project="lab")
    assert "bough jobs list" in raised.value.hint
    with pytest.raises(NotFound, match="there is no lab/other yet"):
        jobs.call("environments.status", project="lab", environment="other")


def test_a_job_gives_way_to_services_and_a_service_to_nobody(jobs: Jobs) -> None:
    """What keeps a service's latency beside training; tests/runtime/test_shim.py shows that a weight is applied."""
    jobs.deploy('name = "lab"\n[services.churn]\nmodel = "service:Churn"\n')
    jobs.ask("fit", 'name = "lab"\n[jobs.fit]\nkind = "train"\ncommand = "python run.py"\n')
    jobs.normally = Behaviour(exit_after_s=100.0)
    jobs.let_pass(5.0)
    nice: dict[str, list[int]] = {"job": [], "service": []}
    for unit, attempts in jobs.engine._units.items():
        if kind := "job" if unit.startswith("jr_") else "service" if unit.startswith("dep_") else "":
            nice[kind] += [run.spec.limits.nice for run in attempts.values()]
    assert nice == {"job": [NICE], "service": [0]} and NICE > 0


def test_a_job_of_the_live_release_runs_without_its_folder(jobs: Jobs) -> None:
    jobs.deploy(FILE)
    made = jobs.ask("fit")
    jobs.let_pass(2.0)
    assert jobs.run(made.id).state == SUCCEEDED and jobs.run(made.id).release == 1
    with pytest.raises(NotFound, match="no job 'fot'"):
        jobs.ask("fot")


def test_folders_of_a_run_are_cleared_once_it_has_ended_and_an_erasure_names_the_command(jobs: Jobs) -> None:
    blob = {"path": "a", "digest": jobs.bough.blobs.put(b"a"), "size": 1}
    jobs.call("projects.create", name="lab")
    jobs.call("files.commit", project="lab", dataset="faces", files=[blob])
    made = jobs.ask("fit", FILE + 'data = ["faces"]\n')
    jobs.let_pass(2.0)
    places = Places(jobs.bough.home)
    (places.checkpoints(made.id) / "state").write_bytes(b"learnt of faces, and of grace.hopper")
    erased = jobs.call("data.erase", project="lab", dataset="faces")
    assert f"job run {made.id} saw faces" in erased.remains[-1]
    [said] = jobs.call("data.forget", project="lab", text="grace.hopper").remains
    assert said.startswith(f"job run {made.id} says their name") and said.endswith(f"bough jobs clear {made.id}")
    assert jobs.call("jobs.clear", id=made.id) is True
    assert not places.folder(made.id).exists() and not places.checkpoints(made.id).exists()
    assert jobs.call("jobs.clear", id=made.id) is False
    assert jobs.call("data.forget", project="lab", text="grace.hopper").remains == []
    jobs.does["fit"] = Behaviour()
    running = jobs.ask("fit", FILE)
    jobs.let_pass(2.0)
    with pytest.raises(Conflict):
        jobs.call("jobs.clear", id=running.id)


def test_a_failure_says_why_and_is_tried_as_often_as_its_cause_allows(jobs: Jobs) -> None:
    jobs.does["fit"] = Behaviour(exit_after_s=0.2, code=3)
    made = jobs.ask("fit", FILE + "retries = { error = 2, capacity = 0, timeout = 9 }\n")
    jobs.let_pass(8.0)
    run = jobs.run(made.id)
    assert (run.state, run.attempt, run.spent.error) == (FAILED, 3, 2)
    assert run.said == "exit status 3, and 3 attempts ended like that"


def test_a_run_whose_checkpoint_is_refused_is_not_tried_again(jobs: Jobs) -> None:
    jobs.does["fit"] = Behaviour(exit_after_s=2.0, code=1)
    hint = "restore(state, migrate=lambda saved: saved.state) takes it as it is"
    why = Failure(code="CHECKPOINT_CODE_CHANGED", message="the checkpoint is of another version", hint=hint)
    runs = [jobs.ask("fit", FILE + "retries = 3\n").id for _ in range(2)]
    jobs.let_pass(1.0)
    jobs.say(runs[0], refused=why)
    jobs.say(runs[1], refused=why, made=1)  # it took its own way, and fell later
    jobs.let_pass(2.0)
    run = jobs.run(runs[0])
    assert (run.state, run.attempt, run.said) == (FAILED, 1, "the checkpoint is of another version")
    shown = jobsaying.run(Session(), msgspec.to_builtins(jobs.call("jobs.show", id=run.id)))
    assert f"try         {hint}" in shown.splitlines()[2]
    assert not jobs.run(runs[1]).ended


def test_what_a_queue_has_had_is_what_its_runs_occupied_and_not_how_long_they_took(jobs: Jobs) -> None:
    few = "resources = { cpus = 0.1 }\n"
    file = FILE + few + f'queue = "wide"\nprocesses = 5\n[jobs.slim]\ncommand = "x"\n{few}queue = "slim"\n'
    jobs.does |= {"fit": Behaviour(exit_after_s=10.0), "slim": Behaviour(exit_after_s=20.0)}
    wide, slim = (jobs.ask(job, file) for job in ("fit", "slim"))
    jobs.let_pass(25.0)
    had = [jobs.run(each.id) for each in (wide, slim)]
    assert [run.state for run in had] == [SUCCEEDED] * 2 and had[0].seconds < had[1].seconds
    assert had[0].occupied_s / had[0].seconds == pytest.approx(5 * had[1].occupied_s / had[1].seconds)
    with jobs.bough.database.read() as tx:
        assert store.shares(tx, jobs.clock.now()) == {"wide": had[0].occupied_s, "slim": had[1].occupied_s}


def test_the_reason_of_a_failure_has_the_last_line_that_the_guilty_process_printed(jobs: Jobs) -> None:
    jobs.does["fit"] = Behaviour(exit_after_s=0.2, code=1, output=b"step 1\nValueError: no rows\n\n")
    made = jobs.ask("fit", FILE + "retries = 1\n")
    jobs.let_pass(4.0)
    said = "exit status 1, and 2 attempts ended like that; its last line: ValueError: no rows"
    assert jobs.run(made.id).said == said
    jobs.does["fit"] = Behaviour(exit_after_s=0.2, code=1, output=b"CheckpointError: saved by another\n  try: a hook\n")
    made = jobs.ask("fit", FILE + "retries = 0\n")
    jobs.let_pass(4.0)
    assert jobs.run(made.id).said == "exit status 1; its last line: CheckpointError: saved by another", "not the hint"
    jobs.does["fit"] = Behaviour(exit_after_s=0.2, code=1, output=b"\x1b[1;31mno \x07\x00rows\x1b[0m\n\x1b[2K\r\n")
    made = jobs.ask("fit", FILE + "retries = 0\n")
    jobs.let_pass(4.0)
    assert jobs.run(made.id).said == "exit status 1; its last line: no rows", "nothing that moves a terminal"


def test_a_run_whose_environment_is_discarded_while_its_output_is_kept_has_not_succeeded(jobs: Jobs) -> None:
    jobs.deploy(FILE)
    jobs.call("environments.create", project="lab", branch="try")
    jobs.does["fit"] = Behaviour(exit_after_s=0.5)
    made = jobs.ask("fit", environment="try", register="fitted")
    jobs.let_pass(0.3)
    path = Places(jobs.bough.home).output(made.id) / "weights.txt"
    path.write_text("1")

    def discarded() -> bool:
        if jobs.run(made.id).state == ENDING:
            jobs.call("environments.discard", project="lab", branch="try")
        return jobs.run(made.id).state == CANCELLED

    jobs.before_writing("job-run", discarded)
    jobs.let_pass(2.0)
    found = jobs.run(made.id)
    assert (found.state, found.said) == (CANCELLED, "its environment was discarded")


def test_what_ran_in_an_environment_that_is_gone_is_not_taken_up_again(jobs: Jobs) -> None:
    jobs.deploy(FILE)
    jobs.call("environments.create", project="lab", branch="try")
    jobs.does["fit"] = Behaviour()
    made = jobs.ask("fit", environment="try")
    jobs.let_pass(2.0)
    jobs.call("environments.discard", project="lab", branch="try")
    jobs.let_pass(2.0)
    assert (jobs.run(made.id).state, jobs.run(made.id).said) == (CANCELLED, "its environment was discarded")
    with pytest.raises(NotFound, match="lab/try, which is not there any more"):
        jobs.call("jobs.retry", id=made.id)


def test_a_group_says_which_of_its_runs_failed_and_has_no_output_of_its_own(jobs: Jobs) -> None:
    jobs.does["fit"] = Behaviour(exit_after_s=0.2, code=4)
    made = jobs.ask("fit", FILE + "array = 2\n")
    jobs.let_pass(3.0)
    first = next(each for each in jobs.all() if each.group == made.id and each.index == 0)
    assert jobs.run(made.id).said == f"2 failed; {first.id}: exit status 4"
    with pytest.raises(Conflict, match="a group of 2 runs"):
        list(jobs.call("jobs.logs", id=made.id))


def test_what_is_printed_follows_the_state_in_which_it_was_and_leads_to_the_next(jobs: Jobs) -> None:
    jobs.does["fit"] = Behaviour(output=b"step 1\n")
    made, seen = jobs.ask("fit", FILE), []
    for news in jobs.call("jobs.follow", id=made.id):
        seen.append(news.text if news.kind == "log" else news.state)
        if len(seen) == 1:
            jobs.let_pass(1.0)
        elif news.kind == "log":
            jobs.call("jobs.cancel", id=made.id)
            jobs.let_pass(1.0)
    assert seen == ["building", "running", "step 1", "cancelled", "cancelled"]


def test_a_state_that_there_is_not_is_refused(jobs: Jobs) -> None:
    with pytest.raises(Invalid, match="state"):
        jobs.call("jobs.list", project="lab", state="done")


def test_whoever_asks_for_a_run_by_the_name_of_its_job_is_told_how_to_list_them(jobs: Jobs) -> None:
    with pytest.raises(NotFound) as raised:
        jobs.call("jobs.show", id="fit")
    assert raised.value.hint == "bough jobs list fit"


def test_a_time_limit_ends_an_attempt_and_has_a_budget_of_its_own(jobs: Jobs) -> None:
    jobs.does["fit"] = Behaviour()
    made = jobs.ask("fit", FILE + "timeout_s = 2\nretries = { error = 5, timeout = 1 }\n")
    jobs.let_pass(12.0)
    run = jobs.run(made.id)
    assert (run.state, run.attempt) == (FAILED, 2)
    assert "longer than its limit of 2 s" in run.said


def test_a_program_without_a_sign_of_life_is_ended(jobs: Jobs) -> None:
    jobs.does["fit"] = Behaviour(ignores_term=True)
    made = jobs.ask("fit", FILE + "heartbeat_s = 3\n")
    jobs.let_pass(2.5)
    jobs.say(made.id, step=1)
    jobs.let_pass(2.5)
    assert jobs.run(made.id).state == RUNNING, "it had said something"
    jobs.let_pass(8.0)
    run = jobs.run(made.id)
    assert (run.state, run.said) == (FAILED, "no sign of life for 3 s (heartbeat_s)")


def test_a_clock_that_is_set_forward_by_days_ends_no_run_by_what_has_not_passed(jobs: Jobs) -> None:
    jobs.does["fit"] = Behaviour()
    made = jobs.ask("fit", FILE + "timeout_s = 30\nheartbeat_s = 20\n")
    jobs.let_pass(5.0)
    jobs.say(made.id, step=1)
    jobs.let_pass(5.0)
    jobs.set_clock(DAYS_S)
    jobs.let_pass(5.0)
    assert jobs.run(made.id).state == RUNNING, "it has run for 15 s, and been silent for 10"
    jobs.say(made.id, step=2)
    jobs.let_pass(20.0)
    run = jobs.run(made.id)
    assert (run.state, run.said) == (FAILED, "it ran longer than its limit of 30 s (timeout_s)")


@pytest.mark.parametrize("set_by", [DAYS_S, -DAYS_S])
def test_an_attempt_is_charged_for_what_it_had_whoever_set_the_clock(jobs: Jobs, set_by: float) -> None:
    jobs.does["fit"] = Behaviour(exit_after_s=20.0)
    made = jobs.ask("fit", FILE)
    jobs.let_pass(10.0)
    jobs.set_clock(set_by)
    jobs.let_pass(15.0)
    run = jobs.run(made.id)
    assert (run.state, run.attempt) == (SUCCEEDED, 1)
    assert run.seconds == pytest.approx(20.0, abs=1.0) and 0 < run.occupied_s <= run.seconds
    told = {each.what: each.data for each in jobs.call("jobs.show", id=made.id).timeline}
    assert told["gave back"]["seconds"] == run.seconds
    assert told["used"]["seconds"] == pytest.approx(20.0, abs=1.0)


@pytest.mark.parametrize("set_by", [DAYS_S, -DAYS_S])
def test_what_a_run_has_had_so_far_is_shown_whoever_set_the_clock(jobs: Jobs, set_by: float) -> None:
    jobs.does["fit"] = Behaviour()
    made = jobs.ask("fit", FILE)
    jobs.let_pass(10.0)
    jobs.set_clock(set_by)
    for shown in (jobs.call("jobs.show", id=made.id).run, jobs.call("jobs.list", project="lab")[0]):
        assert shown.seconds == pytest.approx(10.0, abs=1.0) and shown.cost >= 0.0


def test_what_was_taken_away_before_the_clock_was_set_is_charged_until_then(jobs: Jobs) -> None:
    jobs.does["fit"] = Behaviour(ignores_term=True)
    made = jobs.ask("fit", FILE)
    jobs.let_pass(10.0)
    jobs.bough.capacity.interrupt(jobs.lease(made.id), 5.0)
    jobs.let_pass(1.0)
    jobs.does["fit"] = Behaviour()
    jobs.set_clock(DAYS_S)
    jobs.let_pass(3.0)
    run = jobs.run(made.id)
    assert run.attempt == 2 and 9.0 < run.seconds < 16.0


def test_a_program_that_gives_signs_of_life_lives_on_when_the_clock_is_set_back(jobs: Jobs) -> None:
    jobs.does["fit"] = Behaviour()
    made = jobs.ask("fit", FILE + "heartbeat_s = 20\n")
    jobs.let_pass(5.0)
    for step in range(1, 5):
        jobs.say(made.id, step=step)
        jobs.let_pass(10.0)
        jobs.set_clock(-DAYS_S if step == 1 else 0.0)
    assert jobs.run(made.id).state == RUNNING
    jobs.let_pass(20.0)
    assert jobs.run(made.id).state != RUNNING


def test_a_queue_has_not_had_the_time_by_which_the_clock_was_set(with_devices: Callable[..., Jobs]) -> None:
    jobs = with_devices("a10:2")
    file = FILE + "resources = { gpus = 1 }\n"
    long, short = (file.replace("fit", name) + f'queue = "{name}"\n' for name in ("long", "short"))
    jobs.does |= {"long": Behaviour(), "short": Behaviour(exit_after_s=30.0)}
    jobs.ask("short", short)
    jobs.let_pass(20.0)
    jobs.ask("long", long)
    jobs.let_pass(15.0)
    jobs.set_clock(1200.0)
    assert jobs.running() == ["long"], "for 15 s, when the other queue has had 30"
    jobs.ask("short", short)
    jobs.ask("long", long)
    jobs.let_pass(2.0)
    assert jobs.running() == ["long", "long"]


def test_what_is_cancelled_is_stopped_and_gives_back_what_it_held(jobs: Jobs) -> None:
    jobs.does["fit"] = Behaviour()
    made = jobs.ask("fit", FILE)
    jobs.let_pass(1.0)
    assert jobs.running() == ["fit"]
    jobs.call("jobs.cancel", id=made.id)
    jobs.let_pass(1.0)
    assert jobs.run(made.id).state == CANCELLED and jobs.running() == []
    assert jobs.bough.capacity.leases() == []
    jobs.call("jobs.retry", id=made.id)
    jobs.let_pass(1.0)
    assert jobs.run(made.id).state == RUNNING and jobs.run(made.id).attempt == 2


def test_a_notice_stops_the_attempt_and_what_was_not_done_goes_on_elsewhere(jobs: Jobs) -> None:
    jobs.does["fit"] = Behaviour()
    made = jobs.ask("fit", FILE)
    jobs.let_pass(1.0)
    jobs.bough.capacity.interrupt(jobs.lease(made.id), 5.0)
    jobs.let_pass(2.0)
    run = jobs.run(made.id)
    assert (run.state, run.attempt, run.spent.capacity) == (RUNNING, 2, 1)
    shown = jobs.call("jobs.show", id=made.id)
    told = [each.said for each in shown.timeline if each.what in ("stopping", "queued")]
    assert told[-2].startswith("its capacity will be taken away in 5 s")
    assert told[-1].startswith("its capacity was taken away"), "it is over"


def test_how_long_an_attempt_took_until_it_made_steps_is_in_the_timeline_once_and_is_learnt(jobs: Jobs) -> None:
    jobs.does["fit"] = Behaviour()
    made = jobs.ask("fit", FILE)
    jobs.let_pass(4.0)
    since = jobs.run(made.id).attempt_at
    jobs.say(made.id, step=2, made=2, opened_at=since + 1.5, began_at=since + 3.5)
    jobs.let_pass(1.0)
    assert jobs.run(made.id).under_way == 0, "whether the first step was a long one is not known yet"
    jobs.say(made.id, step=3, made=3, opened_at=since + 1.5, began_at=since + 3.5, warm_s=0.5)
    jobs.let_pass(3.0)
    jobs.bough.capacity.interrupt(jobs.lease(made.id), 0.0)
    jobs.let_pass(1.0)
    assert jobs.run(made.id).attempt == 2
    jobs.let_pass(6.0)
    said = [each.said for each in jobs.call("jobs.show", id=made.id).timeline if each.what == "under_way"]
    assert len(said) == 1, "what the attempt before has said is not taken for the present one's"
    assert said[0].startswith("makes steps after 4.0 s") and "2.0 s until its first step began" in said[0]
    since = jobs.run(made.id).attempt_at
    jobs.say(made.id, step=9, made=3, opened_at=since + 2.0, began_at=since + 4.0, restored_step=6, damaged=1)
    jobs.let_pass(1.0)
    said = [each.said for each in jobs.call("jobs.show", id=made.id).timeline if each.what == "under_way"]
    assert said[-1].endswith("back to step 6; 1 newer checkpoint was damaged and put aside")
    with jobs.bough.database.read() as tx:
        learnt = changeovers(tx, [("lab", "fit")])["lab", "fit"]
    assert (learnt.measured, round(learnt.usual_s, 3)) == (2, 6.0), "two that agree: 4 s and what a restore takes, 4 s"


def test_a_wait_is_told_once_however_its_figures_change(tmp_path: Path) -> None:
    trace = tmp_path / "zones.csv"
    trace.write_text("trace,gap_s,rle\na,3600,0x500\n")  # there is never any spot
    spot = PoolSettings(kind="spot", provider="replay", zones={"a": 1.0}, speed=60.0, trace=str(trace))
    sure = PoolSettings(kind="on-demand", zones={"a": 9.0}, speed=60.0)
    jobs = Jobs(tmp_path, platform=Platform(pools={"market": spot, "sure": sure}))
    made = jobs.ask("fit", FILE + 'capacity = "auto"\nwork_s = 600\ndeadline_s = 3600\n')
    run = jobs.run(made.id)
    name = resumable.key(run.manifest.bundle, run.manifest.settings)
    resumable.record(jobs.bough.home.path, name, [], passed=True)
    jobs.let_pass(40.0)
    assert jobs.run(made.id).said.startswith("waits for spot")
    timeline = jobs.call("jobs.show", id=made.id).timeline
    assert [each.what for each in timeline].count("capacity: wait") == 1
    assert [each.what for each in timeline].count("queued") == 1


def test_a_notice_with_no_room_elsewhere_is_waited_out_and_the_run_goes_on_when_there_is_some(tmp_path: Path) -> None:
    trace = tmp_path / "zones.csv"
    trace.write_text("trace,gap_s,rle\na,3600,1x10 0x10 1x500\n")  # a sample is a second here
    spot = PoolSettings(
        kind="spot", provider="replay", zones={"a": 1.0}, speed=3600.0, trace=str(trace), notice_s=2.0
    )  # fmt: skip
    jobs = Jobs(tmp_path, platform=Platform(pools={"market": spot}))
    jobs.does["fit"] = Behaviour()
    file = FILE + 'capacity = "spot"\n'
    made = jobs.ask("fit", file)
    run = jobs.run(made.id)
    resumable.record(jobs.bough.home.path, resumable.key(run.manifest.bundle, run.manifest.settings), [], passed=True)
    jobs.let_pass(14.0)
    run = jobs.run(made.id)
    assert (run.state, run.attempt, run.spent.capacity) == (QUEUED, 1, 1) and "spot" in run.said, run.said
    assert jobs.running() == [] and jobs.bough.capacity.leases() == []
    jobs.let_pass(14.0)
    assert (jobs.run(made.id).state, jobs.run(made.id).attempt) == (RUNNING, 2)


def test_capacity_that_is_gone_at_once_kills_what_ran_on_it(jobs: Jobs) -> None:
    jobs.does["fit"] = Behaviour(ignores_term=True)
    made = jobs.ask("fit", FILE)
    jobs.let_pass(1.0)
    jobs.bough.capacity.interrupt(jobs.lease(made.id), 0.0)
    jobs.let_pass(3.0)
    assert (jobs.run(made.id).state, jobs.run(made.id).attempt) == (RUNNING, 2)


def test_whoever_is_interrupted_and_says_done_is_not_run_again(jobs: Jobs) -> None:
    jobs.does["fit"] = Behaviour(exit_after_s=2.0, ignores_term=True)
    made = jobs.ask("fit", FILE)
    jobs.let_pass(1.0)
    jobs.say(made.id, step=10, total=10, done=True)
    jobs.bough.capacity.interrupt(jobs.lease(made.id), 60.0)
    jobs.let_pass(3.0)
    run = jobs.run(made.id)
    assert (run.state, run.attempt, run.said) == (SUCCEEDED, 1, "it has done its work")


ORDER = """name = "lab"
[jobs.prepare]
command = "x"
[jobs.left]
command = "x"
after = ["prepare"]
[jobs.right]
command = "x"
after = ["prepare"]
[jobs.report]
command = "x"
after = ["left", "right"]
"""


def test_a_job_runs_after_those_that_it_needs(jobs: Jobs) -> None:
    made = jobs.ask("report", ORDER)
    jobs.let_pass(6.0)
    assert jobs.run(made.id).state == SUCCEEDED
    ran = sorted(jobs.all(), key=lambda run: run.started_at)
    assert ran[0].job == "prepare" and ran[-1].job == "report" and len(ran) == 4
    assert ran[0].finished_at <= ran[1].started_at and max(run.finished_at for run in ran[:3]) <= ran[3].started_at


def test_what_comes_after_a_failure_is_skipped_and_says_so(jobs: Jobs) -> None:
    jobs.does["left"] = Behaviour(exit_after_s=0.1, code=1)
    made = jobs.ask("report", ORDER)
    jobs.let_pass(6.0)
    run, (left,) = jobs.run(made.id), jobs.all("left")
    assert (run.state, run.said) == (SKIPPED, f"left ({left.id}), which it comes after, has failed")


LINE = """name = "lab"
[jobs.prepare]
command = "x"
[jobs.fit]
command = "x"
after = ["prepare"]
array = 2
[jobs.report]
command = "x"
after = ["fit"]
[jobs.letter]
command = "x"
after = ["report"]
"""


@pytest.mark.parametrize("taken_up", ["prepare", "letter"])
def test_what_is_taken_up_again_brings_along_what_it_needs_and_what_was_skipped_for_it(
    jobs: Jobs, taken_up: str
) -> None:
    jobs.does["prepare"] = Behaviour(exit_after_s=0.1, code=1)
    jobs.ask("letter", LINE)
    jobs.let_pass(6.0)
    assert jobs.states("prepare") + jobs.states("report") + jobs.states("letter") == [FAILED, SKIPPED, SKIPPED]
    assert jobs.all("letter")[0].said == jobs.all("report")[0].said, "the reason is that of the first one"
    del jobs.does["prepare"]
    jobs.call("jobs.retry", id=jobs.all(taken_up)[0].id)
    jobs.let_pass(10.0)
    assert jobs.states() == [SUCCEEDED] * 6
    with pytest.raises(Conflict, match="has succeeded"):
        jobs.call("jobs.retry", id=jobs.all(taken_up)[0].id)


@pytest.mark.parametrize("which", [0, 1])
def test_one_run_of_a_group_is_taken_up_alone_and_its_group_is_counted_anew(jobs: Jobs, which: int) -> None:
    jobs.does["fit"] = Behaviour(exit_after_s=0.1, code=1)
    jobs.ask("letter", LINE)
    jobs.let_pass(6.0)
    assert jobs.states("fit") == [FAILED] * 3
    del jobs.does["fit"]
    members = [run for run in jobs.all("fit") if run.group]
    jobs.call("jobs.retry", id=members[which].id)
    jobs.let_pass(6.0)
    assert [jobs.run(each.id).state for each in members].count(SUCCEEDED) == 1
    assert jobs.states("letter") == [SKIPPED], "the other one still lacks"
    jobs.call("jobs.retry", id=members[1 - which].id)
    jobs.let_pass(10.0)
    assert jobs.states() == [SUCCEEDED] * 6


def test_jobs_for_one_device_never_overlap(with_devices: Callable[..., Jobs]) -> None:
    jobs = with_devices("t4:1")
    jobs.deploy(FILE + "resources = { gpus = 1, cpus = 0.1 }\n")
    for _ in range(5):
        jobs.ask("fit")
    for _ in range(60):
        jobs.let_pass(0.1)
        assert len(jobs.running()) <= 1
    assert jobs.states("fit") == [SUCCEEDED] * 5
    ran = sorted(jobs.all(), key=lambda run: run.started_at)
    assert all(before.finished_at <= after.started_at for before, after in itertools.pairwise(ran))


def test_a_killed_job_frees_its_device(with_devices: Callable[..., Jobs]) -> None:
    jobs = with_devices("t4:1")
    jobs.does["fit"] = Behaviour()
    jobs.deploy(FILE + "resources = { gpus = 1 }\n")
    first, second = jobs.ask("fit"), jobs.ask("fit")
    jobs.let_pass(1.0)
    assert jobs.run(second.id).said == "waits for 1 GPU of this machine"
    jobs.engine.crash(jobs.run(first.id).unit(0))
    jobs.let_pass(1.0)
    assert (jobs.run(first.id).state, jobs.run(second.id).state) == (FAILED, RUNNING)
    assert "SIGKILL" in jobs.run(first.id).said


def test_the_first_accelerator_of_the_list_that_is_there_is_used(with_devices: Callable[..., Jobs]) -> None:
    jobs = with_devices("a100:4", "t4:1")
    jobs.does["fit"] = Behaviour()
    made = jobs.ask("fit", FILE + 'resources = { accelerators = ["h100:2", "a100:2", "t4"] }\n')
    jobs.let_pass(1.0)
    assert jobs.run(made.id).devices == ["0", "1"]


def test_jobs_with_half_a_device_run_two_at_a_time_and_see_it(with_devices: Callable[..., Jobs]) -> None:
    jobs = with_devices("t4:1")
    jobs.deploy(FILE + "resources = { gpus = 0.5, cpus = 0.1 }\n")
    for _ in range(5):
        jobs.ask("fit")
    most, seen = 0, set[tuple[str, str]]()
    for _ in range(60):
        jobs.let_pass(0.1)
        most = max(most, len(jobs.running()))
        jobs_there = [each for each in jobs.engine.snapshot() if each.kind == "job"]
        seen |= {(each.gpus, *each.devices) for each in jobs_there}
    assert (most, jobs.states("fit")) == (2, [SUCCEEDED] * 5)
    assert seen == {(0.5, "0")}


def test_a_sweep_runs_every_combination_and_names_the_best(jobs: Jobs) -> None:
    made = jobs.ask("fit", FILE + "[jobs.fit.sweep]\ngrid = { lr = [0.1, 0.2], depth = [1, 2, 3] }\nparallel = 2\n")
    most = 0
    for _ in range(80):
        jobs.let_pass(0.1)
        most = max(most, len(jobs.running()))
    assert jobs.run(made.id).state == SUCCEEDED and most == 2
    members = [run for run in jobs.all() if run.group == made.id]
    assert {(run.params["lr"], run.params["depth"]) for run in members} == {
        (lr, depth) for lr in (0.1, 0.2) for depth in (1, 2, 3)
    }


def test_parameters_keep_the_type_that_they_are_declared_with(jobs: Jobs) -> None:
    made = jobs.ask(
        "fit", FILE + "params = { lr = 0.1, epochs = 3, fast = false }\n", params={"lr": "1", "fast": "true"}
    )
    assert jobs.run(made.id).params == {"lr": 1.0, "epochs": 3, "fast": True}
    with pytest.raises(Invalid, match="is no int"):
        jobs.ask("fit", FILE + "params = { epochs = 3 }\n", params={"epochs": "many"})


def test_processes_find_each_other_and_shrink_and_grow_at_a_checkpoint(jobs: Jobs) -> None:
    jobs.does["fit"] = Behaviour()
    made = jobs.ask("fit", FILE + "processes = { min = 1, max = 3 }\nresources = { cpus = 0.2 }\n")
    jobs.let_pass(1.0)
    assert jobs.run(made.id).size == 3
    first = [jobs.engine.spec(jobs.run(made.id).unit(rank)).environment for rank in range(3)]
    assert [each["RANK"] for each in first] == ["0", "1", "2"] and {each["WORLD_SIZE"] for each in first} == {"3"}
    assert len({each["MASTER_PORT"] for each in first}) == 1
    jobs.call("jobs.resize", id=made.id, processes=1)
    jobs.let_pass(2.0)
    assert (jobs.run(made.id).size, jobs.run(made.id).attempt, jobs.running()) == (1, 2, ["fit"])
    assert jobs.run(made.id).spent.total == 0, "it costs nothing of any budget"
    with pytest.raises(Problem, match="1 to 3 processes"):
        jobs.call("jobs.resize", id=made.id, processes=4)


def test_when_one_process_fails_the_others_stop_and_the_reason_is_its(jobs: Jobs) -> None:
    jobs.does["fit"] = Behaviour()
    made = jobs.ask("fit", FILE + "processes = 2\nresources = { cpus = 0.2 }\n")
    jobs.let_pass(1.0)
    jobs.engine.crash(jobs.run(made.id).unit(1), code=7)
    jobs.let_pass(1.0)
    run = jobs.run(made.id)
    assert (run.state, run.said) == (FAILED, "exit status 7") and jobs.running() == []


def test_a_server_that_died_between_commit_and_start_starts_what_it_has_promised(jobs: Jobs) -> None:
    jobs.does["fit"] = Behaviour()
    made = jobs.ask("fit", FILE)
    jobs.let_pass(1.0)
    unit = jobs.run(made.id).unit(0)
    jobs.engine.crash(unit)
    jobs.engine.forget(unit)  # as if it had never been started
    with jobs.bough.database.write() as tx:
        store.changed(tx)
    jobs.let_pass(1.0)
    assert jobs.run(made.id).state == RUNNING and jobs.running() == ["fit"]


def test_a_lease_that_nobody_wants_is_given_back(jobs: Jobs) -> None:
    jobs.bough.capacity.acquire("jr_gone", Offer(pool="local", zone="here", kind="on-demand"))
    jobs.deploy(FILE)
    jobs.ask("fit")
    jobs.let_pass(2.0)
    assert jobs.bough.capacity.leases() == []


def test_costs_are_the_seconds_of_leases_times_their_price(jobs: Jobs) -> None:
    made = jobs.ask("fit", FILE + 'cost_center = "research"\n')
    jobs.let_pass(2.0)
    view = jobs.call("jobs.show", id=made.id).run
    assert view.cost_center == "research" and 0.4 <= view.seconds <= 1.0 and view.cost == 0.0
    timeline = jobs.call("jobs.show", id=made.id).timeline
    assert any(each.what == "gave back" for each in timeline)
    assert any(each.what == "used" and "s of processors" in each.said for each in timeline)


def test_stopping_is_seen(jobs: Jobs) -> None:
    jobs.does["fit"] = Behaviour(ignores_term=True)
    made = jobs.ask("fit", FILE + "grace_s = 2\n")
    jobs.let_pass(1.0)
    jobs.call("jobs.cancel", id=made.id)
    jobs.let_pass(1.0)
    assert jobs.run(made.id).state == STOPPING
    jobs.let_pass(2.0)
    assert jobs.run(made.id).state == CANCELLED


def test_a_run_of_a_sweep_that_is_clearly_worse_is_stopped_early_and_the_best_is_named(jobs: Jobs) -> None:
    jobs.does["fit"] = Behaviour(exit_after_s=8.0)
    sweep = '[jobs.fit.sweep]\nrandom = { lr = [1, 2, 3] }\ncount = 4\nmetric = "loss"\nstop_after = 3\n'
    made = jobs.ask("fit", FILE + sweep)
    jobs.let_pass(1.0)
    members = [run for run in jobs.all() if run.group == made.id]
    for run, loss in zip(members, (0.1, 0.2, 0.3, 9.0), strict=True):
        points = [{"key": "loss", "value": loss, "step": step, "timestamp_ms": step} for step in range(3)]
        jobs.call("runs.log", project="lab", id=run.run, metrics=points)
    jobs.let_pass(5.0)
    worst = jobs.run(members[3].id)
    assert worst.state == STOPPED and "stopped early" in worst.said
    assert jobs.call("runs.show", project="lab", id=worst.run).status == "finished", "its points count like others'"
    assert jobs.call("jobs.show", id=made.id).totals == {RUNNING: 2, STOPPED: 2}
    assert [jobs.run(run.id).state for run in members[:2]] == [RUNNING] * 2
    jobs.let_pass(8.0)
    shown = jobs.call("jobs.show", id=made.id)
    assert shown.run.state == SUCCEEDED and shown.best == members[0].id
    assert shown.run.said.startswith(f"2 succeeded, 2 stopped early; best is {members[0].id}, loss 0.1 with lr=")
    assert shown.totals == {SUCCEEDED: 2, STOPPED: 2}
    assert "2 succeeded, 2 stopped early" in jobsaying.run(Session(), msgspec.to_builtins(shown)).splitlines()[2]
    assert worst.id in [each.id for each in jobs.call("jobs.list", project="lab", state=STOPPED, all=True)]
    with pytest.raises(Conflict, match="is stopped"):
        jobs.call("jobs.retry", id=worst.id)


def test_the_tracked_run_of_the_best_of_a_sweep_says_what_that_one_took_and_not_the_sweep(jobs: Jobs) -> None:
    jobs.does["fit"] = Behaviour(exit_after_s=3.0)
    made = jobs.ask("fit", FILE + '[jobs.fit.sweep]\ngrid = { lr = [1, 2] }\nparallel = 1\nmetric = "loss"\n')
    jobs.let_pass(1.0)
    first = next(run for run in jobs.all() if run.run)
    jobs.call("runs.log", project="lab", id=first.run, metrics=[{"key": "loss", "value": 0.1, "timestamp_ms": 1}])
    jobs.let_pass(10.0)
    assert jobs.run(made.id).state == SUCCEEDED and jobs.run(made.id).run == first.run
    tags = jobs.call("runs.show", project="lab", id=first.run).tags
    assert (tags["bough.attempts"], tags["bough.said"]) == ("1", "exit status 0")


def test_a_group_is_cancelled_and_taken_up_again_as_one(jobs: Jobs) -> None:
    jobs.does["fit"] = Behaviour()
    made = jobs.ask("fit", FILE + "array = 3\n")
    jobs.let_pass(1.0)
    jobs.call("jobs.cancel", id=made.id)
    jobs.let_pass(1.0)
    assert jobs.states() == [CANCELLED] * 4 and jobs.running() == []
    jobs.does["fit"] = Behaviour(exit_after_s=0.5)
    jobs.call("jobs.retry", id=made.id)
    jobs.let_pass(3.0)
    assert jobs.states() == [SUCCEEDED] * 4


def test_a_group_that_is_cancelled_ends_with_its_last_run_and_says_what_came_of_it(jobs: Jobs) -> None:
    jobs.does["fit"] = Behaviour(ignores_term=True)
    made = jobs.ask("fit", FILE + 'grace_s = 2\n[jobs.fit.sweep]\ngrid = { lr = [1, 2] }\nmetric = "loss"\n')
    jobs.let_pass(1.0)
    first = next(run for run in jobs.all() if run.run)
    jobs.call("runs.log", project="lab", id=first.run, metrics=[{"key": "loss", "value": 0.1, "timestamp_ms": 1}])
    jobs.call("jobs.cancel", id=made.id)
    jobs.let_pass(0.5)
    assert jobs.run(made.id).state == STOPPING
    with pytest.raises(Conflict, match="is stopping"):
        jobs.call("jobs.retry", id=made.id)  # its runs would end as cancelled all the same
    jobs.let_pass(4.0)
    group, members = jobs.run(made.id), [run for run in jobs.all() if run.group]
    assert group.state == CANCELLED and group.said.startswith("cancelled by admin: 2 cancelled; best is"), group.said
    assert group.seconds == pytest.approx(sum(run.seconds for run in members)) and group.seconds > 1.0


def test_the_best_of_a_sweep_is_looked_for_among_all_of_its_points(jobs: Jobs) -> None:
    jobs.does["fit"] = Behaviour(exit_after_s=3.0)
    made = jobs.ask("fit", FILE + '[jobs.fit.sweep]\ngrid = { lr = [1, 2] }\nmetric = "loss"\n')
    jobs.let_pass(1.0)
    early, late = [run for run in jobs.all() if run.group]
    for run, last in ((early, 0.5), (late, 0.1)):
        values = [0.9] * 10_000 + [last] if run is late else [last]
        points = [{"key": "loss", "value": value, "step": at, "timestamp_ms": at} for at, value in enumerate(values)]
        for at in range(0, len(points), 1000):
            jobs.call("runs.log", project="lab", id=run.run, metrics=points[at : at + 1000])
    jobs.let_pass(5.0)
    assert f"best is {late.id}, loss 0.1 " in jobs.run(made.id).said


def test_the_sums_of_all_cost_centres_are_the_whole(jobs: Jobs) -> None:
    both = 'name = "lab"\n[jobs.one]\ncommand = "x"\ncost_center = "a"\n[jobs.two]\ncommand = "x"\nkind = "train"\n'
    for job in ("one", "two", "two"):
        jobs.ask(job, both)
    jobs.let_pass(3.0)
    lines = jobs.call("jobs.costs", project="lab")
    assert [(each.cost_center, each.job, each.runs) for each in lines] == [("a", "one", 1), ("training", "two", 2)]
    assert sum(each.seconds for each in lines) == pytest.approx(sum(run.seconds for run in jobs.all()))


def test_a_unit_that_cannot_be_started_fails_its_run_alone(tmp_path: Path) -> None:
    class Refusing(FaultyEngine):
        def apply(self, spec: UnitSpec) -> Attempt:
            if spec.labels.get("job") == "fit":
                raise Invalid("no such thing", code="UNIT_EMPTY")
            return super().apply(spec)

    jobs = Jobs(tmp_path, through=lambda engine: Refusing(engine, 1, fails_before=0, fails_after=0, doubles=0))
    jobs.deploy(FILE + '[jobs.other]\ncommand = "x"\n')
    refused, other = jobs.ask("fit"), jobs.ask("other")
    jobs.let_pass(3.0)
    assert jobs.run(refused.id).state == FAILED and "could not be started: no such thing" in jobs.run(refused.id).said
    assert jobs.run(other.id).state == SUCCEEDED and jobs.bough.capacity.leases() == []


def test_a_run_that_cannot_be_started_yet_says_why_until_it_is(tmp_path: Path) -> None:
    full = [disk_full("no space left to write a file", tmp_path)]

    class Full(FaultyEngine):
        def apply(self, spec: UnitSpec) -> Attempt:
            if spec.unit.startswith("jr_") and full:
                raise full[0]
            return super().apply(spec)

    jobs = Jobs(tmp_path, through=lambda engine: Full(engine, 1, fails_before=0, fails_after=0, doubles=0))
    jobs.does["fit"] = Behaviour(exit_after_s=5.0)
    made = jobs.ask("fit", FILE)
    jobs.let_pass(5.0)
    said = "it is started as soon as this passes: no space left to write a file"
    assert (jobs.run(made.id).state, jobs.run(made.id).said) == (RUNNING, said)
    assert [each.said for each in jobs.call("jobs.show", id=made.id).timeline].count(said) == 1
    full.clear()
    jobs.let_pass(3.0)
    assert (jobs.run(made.id).state, jobs.run(made.id).said) == (RUNNING, "it has been started")
    jobs.let_pass(5.0)
    assert (jobs.run(made.id).state, jobs.run(made.id).attempt) == (SUCCEEDED, 1)


@pytest.mark.parametrize("seed", range(int(os.environ.get("BOUGH_SEEDS", "2"))))
def test_an_engine_that_fails_doubles_and_forgets_hints_changes_nothing(tmp_path: Path, seed: int) -> None:
    jobs = Jobs(tmp_path, "t4:1", through=lambda engine: FaultyEngine(engine, seed))
    jobs.does["fit"] = Behaviour(exit_after_s=0.4)
    made = [jobs.ask("fit", FILE + "resources = { gpus = 1 }\n") for _ in range(4)]
    for _ in range(600):
        jobs.let_pass(0.1)
        assert len(jobs.running()) <= 1
        if all(jobs.run(each.id).ended for each in made):
            break
    assert [jobs.run(each.id).state for each in made] == [SUCCEEDED] * 4
    assert [jobs.run(each.id).attempt for each in made] == [1] * 4
    for _ in range(100):  # what is left is let go, however often that fails
        jobs.let_pass(1.0)
        if not jobs.bough.capacity.leases() and not [each for each in jobs.engine.snapshot() if each.kind == "job"]:
            return
    raise AssertionError("something was left")


def test_a_run_begins_with_what_another_has_saved_and_leaves_it_alone(jobs: Jobs) -> None:
    places = Places(jobs.bough.home)
    jobs.does["fit"] = Behaviour(exit_after_s=0.5, code=1)
    first = jobs.ask("fit", FILE)
    jobs.let_pass(1.0)
    with pytest.raises(Conflict, match="has saved no checkpoint"):
        jobs.ask("fit", FILE, start_from=first.id)
    for path, content in (("steps/7.json", "{}"), ("chunks/0/ab", "weights"), ("progress.json", "{}")):
        (places.checkpoints(first.id) / path).parent.mkdir(parents=True, exist_ok=True)
        (places.checkpoints(first.id) / path).write_text(content)
    jobs.does["fit"] = Behaviour()
    second = jobs.ask("fit", FILE, start_from=first.id)
    jobs.let_pass(2.0)
    folder = places.checkpoints(second.id)
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {
        "steps/7.json", "chunks/0/ab"
    }, "how the other went is not how this one goes"  # fmt: skip
    (folder / "steps/7.json").unlink()
    assert (places.checkpoints(first.id) / "steps/7.json").read_text() == "{}"
    assert jobs.call("jobs.show", id=second.id).run.start_from == first.id
    with pytest.raises(Conflict, match="saves on"):
        jobs.ask("fit", FILE, start_from=second.id)


def test_a_run_whose_beginning_is_gone_fails_and_says_so(jobs: Jobs) -> None:
    places = Places(jobs.bough.home)
    first = jobs.ask("fit", FILE)
    jobs.let_pass(2.0)
    (places.checkpoints(first.id) / "steps").mkdir(parents=True)
    (places.checkpoints(first.id) / "steps/7.json").write_text("{}")
    second = jobs.ask("fit", FILE, start_from=first.id)
    jobs.call("jobs.clear", id=first.id)
    jobs.let_pass(2.0)
    run = jobs.run(second.id)
    assert run.state == FAILED and run.said == f"it could not be started: the checkpoints of {first.id} are gone"


def test_whose_turn_it_is_is_who_has_had_least_when_a_place_becomes_free(with_devices: Callable[..., Jobs]) -> None:
    jobs = with_devices("a10:1")
    held = "resources = { gpus = 1 }\n"
    file = FILE + held + "".join(f'[jobs.{name}]\ncommand = "x"\narray = 4\nqueue = "{name}"\n{held}' for name in "ab")
    jobs.does |= {
        "fit": Behaviour(exit_after_s=5.0),
        "a": Behaviour(exit_after_s=4.0),
        "b": Behaviour(exit_after_s=2.0),
    }
    for name in ("fit", "b", "a"):
        jobs.ask(name, file)
        jobs.let_pass(1.0)
    jobs.let_pass(40.0)
    begun = sorted((run for run in jobs.all() if run.group), key=lambda run: run.started_at)
    assert "".join(run.job for run in begun) == "abbabbaa", "each a takes what two b do"


def test_what_an_interrupted_run_has_had_counts_while_it_waits(with_devices: Callable[..., Jobs]) -> None:
    jobs = with_devices("a10:1")
    held = "resources = { gpus = 1 }\n"
    file = FILE + held + 'queue = "a"\nretries = { error = 9 }\n' + "".join(
        f'[jobs.{name}]\ncommand = "x"\nqueue = "{name}"\n{held}' for name in "abc"
    )  # fmt: skip
    jobs.does |= {"fit": Behaviour(exit_after_s=20.0, code=1), "b": Behaviour(exit_after_s=10.0), "c": Behaviour()}
    jobs.ask("fit", file)
    jobs.let_pass(15.0)
    jobs.ask("b", file)
    jobs.let_pass(10.0)
    jobs.ask("a", file)
    jobs.ask("c", file)
    jobs.ask("b", file)
    jobs.let_pass(10.0)
    assert jobs.running() == ["c"]
    jobs.call("jobs.cancel", id=jobs.all("c")[0].id)
    jobs.let_pass(2.0)
    assert jobs.running() == ["b"], "which has had 10 s, when an attempt of a queue's run had 20"


def test_a_queue_has_had_what_it_had_in_the_last_hour(with_devices: Callable[..., Jobs]) -> None:
    jobs = with_devices("a10:2")
    held = "resources = { gpus = 1 }\n"
    file = FILE + "".join(f'[jobs.{name}]\ncommand = "x"\nqueue = "{name}"\n{held}timeout_s = 86400\n' for name in "ab")
    jobs.does |= {"a": Behaviour(), "b": Behaviour()}
    long = [jobs.ask("a", file).id, jobs.ask("a", file).id]
    jobs.let_pass(2.0)
    jobs.clock.advance(5 * 3600.0)
    with jobs.bough.database.read() as tx:
        assert store.shares(tx, jobs.clock.now()) == {}
    jobs.call("jobs.cancel", id=long[0])
    jobs.let_pass(2.0)
    jobs.ask("b", file)
    jobs.let_pass(2.0)
    with jobs.bough.database.read() as tx:
        assert store.shares(tx, jobs.clock.now())["a"] == pytest.approx(1800.0, abs=10.0), "half of the machine"


def test_what_is_cancelled_between_two_attempts_reports_no_more(jobs: Jobs) -> None:
    jobs.does["fit"] = Behaviour(exit_after_s=1.0, code=1)
    made = jobs.ask("fit", FILE + "retries = 9\n")
    jobs.let_pass(5.0)
    run = jobs.run(made.id)
    assert run.state == QUEUED and run.attempt == 2 and tokens(jobs) == 0, "it pauses"
    assert jobs.call("jobs.cancel", id=run.id).said == "cancelled by admin"
    jobs.let_pass(0.5)
    assert jobs.run(run.id).state == CANCELLED and jobs.run(run.id).said == "cancelled by admin"
    assert jobs.call("runs.show", project="lab", id=run.run).status == "killed"
    used = [each.what for each in jobs.call("jobs.show", id=run.id).timeline].count("used")
    assert used == 2, "each attempt counts once"


def test_a_run_whose_files_are_kept_has_no_token_any_more(jobs: Jobs) -> None:
    jobs.does["fit"] = Behaviour(exit_after_s=2.0)
    made = jobs.ask("fit", FILE)
    jobs.let_pass(1.0)
    assert tokens(jobs) == 1
    (Places(jobs.bough.home).output(made.id) / "weights").write_text("1")
    jobs.let_pass(3.0)
    assert jobs.run(made.id).state == SUCCEEDED and tokens(jobs) == 0


def test_a_group_that_is_cancelled_ends_with_the_last_of_its_runs(jobs: Jobs) -> None:
    jobs.does["fit"] = Behaviour(ignores_term=True)
    made = jobs.ask("fit", FILE + "array = 2\ngrace_s = 3\n")
    jobs.let_pass(1.0)
    with pytest.raises(Conflict, match="is a group of 2 runs"):
        jobs.call("jobs.resize", id=made.id, processes=1)
    assert jobs.call("jobs.cancel", id=made.id).state == STOPPING
    with pytest.raises(Conflict, match="is stopping"):
        jobs.call("jobs.retry", id=made.id)
    jobs.let_pass(1.0)
    assert jobs.run(made.id).state == STOPPING
    jobs.let_pass(3.0)
    group = jobs.run(made.id)
    assert (group.state, group.said) == (CANCELLED, "cancelled by admin: 2 cancelled") and group.seconds > 6.0
    jobs.does["fit"] = Behaviour(exit_after_s=1.0)
    jobs.call("jobs.retry", id=made.id)
    jobs.let_pass(4.0)
    assert jobs.states() == [SUCCEEDED] * 3


def test_a_second_notice_that_ends_sooner_is_what_counts(jobs: Jobs) -> None:
    jobs.does["fit"] = Behaviour(ignores_term=True)
    made = jobs.ask("fit", FILE)
    jobs.let_pass(1.0)
    jobs.bough.capacity.interrupt(jobs.lease(made.id), 60.0)
    jobs.let_pass(2.0)
    jobs.bough.capacity.interrupt(jobs.lease(made.id), 5.0)
    ends_at = jobs.clock.now() + 5.0
    jobs.let_pass(2.0)
    assert jobs.run(made.id).state == STOPPING and jobs.run(made.id).stop_by == pytest.approx(ends_at, abs=0.5)
    assert jobs.run(made.id).said.startswith("its capacity will be taken away in 5 s")
    jobs.let_pass(5.0)
    run = jobs.run(made.id)
    assert (run.attempt, run.spent.capacity) == (2, 1) and run.seconds == pytest.approx(
        ends_at - run.created_at, abs=0.5
    )


def test_a_group_has_succeeded_once_the_runs_that_failed_were_taken_up_again(jobs: Jobs) -> None:
    jobs.does["fit"] = Behaviour(exit_after_s=1.0, code=1)
    after = '[jobs.after]\ncommand = "x"\nafter = ["fit"]\n'
    last = jobs.ask("after", FILE + "array = 2\nretries = 0\n" + after)
    jobs.let_pass(4.0)
    group = next(run for run in jobs.all("fit") if run.children)
    assert jobs.run(group.id).state == FAILED and jobs.run(last.id).state == SKIPPED
    jobs.does["fit"] = Behaviour(exit_after_s=1.0)
    members = [run.id for run in jobs.all("fit") if run.group]
    jobs.call("jobs.retry", id=members[0])
    jobs.let_pass(3.0)
    assert jobs.run(group.id).state == FAILED and jobs.run(group.id).said.startswith("1 succeeded, 1 failed")
    jobs.call("jobs.retry", id=members[1])
    jobs.let_pass(4.0)
    assert jobs.run(group.id).state == SUCCEEDED and jobs.run(last.id).state == SUCCEEDED


def tokens(jobs: Jobs) -> int:
    """How many of job runs are valid."""
    with jobs.bough.database.read() as tx:
        return sum(label.startswith("job run ") for label in tx.execute(sa.select(token.c.label)).scalars())


def test_a_run_of_one_job_needs_nothing_that_only_others_lack(jobs: Jobs) -> None:
    lacking = 'command = "x"\npath = "elsewhere"\nenv = { TOKEN = "${secrets.none}" }\n'
    others = f'[jobs.other]\n{lacking}[services.api]\n{lacking}[jobs.last]\ncommand = "x"\nafter = ["other"]\n'
    made = jobs.ask("fit", FILE + others)
    jobs.let_pass(2.0)
    assert jobs.run(made.id).state == SUCCEEDED
    for needing in ("other", "last"):
        with pytest.raises(Invalid, match="there is no bundle for elsewhere"):
            jobs.ask(needing, FILE + others)
    with pytest.raises(Invalid, match=r"jobs.other.env.TOKEN: there is no secret 'none'"):
        jobs.ask("last", FILE + others.replace('path = "elsewhere"\n', ""))
