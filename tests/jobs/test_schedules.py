"""Jobs by the clock, on a virtual one."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bough.adapters.engine.fake import Behaviour
from bough.jobs.models import RUNNING
from bough.kernel import cron, events
from bough.kernel.errors import ProjectFileInvalid
from tests.jobs.conftest import Jobs

HOUR = 3600.0


def file(schedule: str = "0 * * * *", more: str = "") -> str:
    return f'name = "lab"\n[jobs.hourly]\ncommand = "x"\nschedule = "{schedule}"\n{more}'


def until(jobs: Jobs, seconds: float) -> None:
    """A long time, of which little happens but at its end."""
    jobs.clock.advance(seconds)
    jobs.let_pass(2.0)


def slots_of(jobs: Jobs) -> list[str]:
    return [datetime.fromtimestamp(run.slot, UTC).strftime("%H:%M") for run in jobs.all("hourly")]


def said(jobs: Jobs, name: str) -> list[str]:
    with jobs.bough.database.read() as tx:
        return [each.data["said"] for each in events.read(tx, limit=10_000) if each.name == name]


def to_the_next_hour(jobs: Jobs) -> None:
    until(jobs, HOUR - jobs.clock.now() % HOUR)


def test_a_job_runs_at_every_slot_once(jobs: Jobs) -> None:
    jobs.deploy(file())
    for _ in range(3):
        to_the_next_hour(jobs)
        jobs.let_pass(2.0)
    assert len(slots_of(jobs)) == 3 and all(slot.endswith(":00") for slot in slots_of(jobs))
    assert said(jobs, "job.slot_missed") == []
    listed = jobs.call("jobs.schedules", project="lab")
    assert listed[0].job == "hourly" and listed[0].next_at % HOUR == 0 and listed[0].next_at > jobs.clock.now()


def test_two_runs_of_one_schedule_never_overlap(jobs: Jobs) -> None:
    jobs.does["hourly"] = Behaviour()
    jobs.deploy(file(more="timeout_s = 100000\n"))
    to_the_next_hour(jobs)
    to_the_next_hour(jobs)
    assert len(slots_of(jobs)) == 1 and jobs.all("hourly")[0].state == RUNNING
    assert any("has not ended" in text for text in said(jobs, "job.slot_skipped"))


@pytest.mark.parametrize(("catch_up", "runs"), [("none", 0), ("latest", 1), ("all", 4)])
def test_slots_that_were_missed_are_said_and_made_up_for_as_wished(jobs: Jobs, catch_up: str, runs: int) -> None:
    jobs.deploy(file(more=f'catch_up = "{catch_up}"\n'))
    until(jobs, 4 * HOUR - jobs.clock.now() % HOUR + 600)  # nobody was there meanwhile
    jobs.let_pass(20.0)
    assert len(said(jobs, "job.slot_missed")) == 4
    assert len(slots_of(jobs)) == runs
    assert jobs.call("jobs.schedules", project="lab")[0].missed == 4


def test_all_slots_are_made_up_for_one_after_the_other(jobs: Jobs) -> None:
    jobs.does["hourly"] = Behaviour()
    jobs.deploy(file(more='catch_up = "all"\ntimeout_s = 1000\ngrace_s = 1\n'))
    until(jobs, 3 * HOUR - jobs.clock.now() % HOUR + 600)
    at_once = []
    for _ in range(4):
        at_once.append(sum(not run.ended for run in jobs.all("hourly")))
        until(jobs, 1000)  # until its time limit ends it
        jobs.let_pass(5.0)
    assert at_once == [1, 1, 1, 1] and len(set(slots_of(jobs))) == len(jobs.all("hourly")) >= 4


def test_a_schedule_that_cannot_be_read_is_refused_with_its_line_by_whatever_reads_the_file(jobs: Jobs) -> None:
    asked = {"file": file("0 99 * * *"), "bundles": {".": "0" * 64}}
    for verb, more in (
        ("releases.plan", {}),
        ("releases.create", {}),
        ("jobs.run", {"project": "lab", "job": "hourly"}),
    ):
        with pytest.raises(
            ProjectFileInvalid, match=r"bough.toml:4: jobs.hourly.schedule: .* is no schedule: bad hour"
        ):
            jobs.call(verb, **asked, **more)


def test_a_clock_that_a_release_changes_at_the_very_slot_is_read_as_the_release_has_it(jobs: Jobs) -> None:
    jobs.deploy(file())
    jobs.before_writing("job-schedule", lambda: jobs.deploy(file("30 * * * *"), seconds=1.0))
    to_the_next_hour(jobs)
    assert slots_of(jobs) == []
    until(jobs, HOUR / 2)
    assert [slot[-2:] for slot in slots_of(jobs)] == ["30"]


def test_a_schedule_that_is_paused_at_the_very_slot_runs_nothing(jobs: Jobs) -> None:
    jobs.deploy(file())
    jobs.before_writing(
        "job-schedule", lambda: jobs.call("environments.change", project="lab", branch="main", paused="yes")
    )
    to_the_next_hour(jobs)
    assert slots_of(jobs) == []


def test_a_clock_that_was_ahead_for_a_while_costs_no_slot_once_it_is_right(jobs: Jobs) -> None:
    jobs.deploy(file(more='catch_up = "none"\n'))
    until(jobs, 3 * 24 * HOUR)
    until(jobs, -3 * 24 * HOUR)
    before = len(slots_of(jobs))
    to_the_next_hour(jobs)
    to_the_next_hour(jobs)
    assert len(slots_of(jobs)) == before + 2


def test_what_a_release_no_longer_has_runs_no_more(jobs: Jobs) -> None:
    jobs.deploy(file())
    jobs.deploy('name = "lab"\n[jobs.other]\ncommand = "x"\n')
    to_the_next_hour(jobs)
    assert jobs.all() == [] and jobs.call("jobs.schedules", project="lab") == []


def test_a_branch_has_the_schedules_paused(jobs: Jobs) -> None:
    jobs.deploy(file())
    jobs.call("environments.create", project="lab", branch="try")
    to_the_next_hour(jobs)
    assert [run.environment for run in jobs.all("hourly")] == ["main"]
    with jobs.bough.database.read() as tx:
        from bough.jobs import store

        assert store.runs(tx, ("lab", "try")) == []


def test_daylight_saving_neither_doubles_nor_loses_a_night() -> None:
    at, zone = datetime(2026, 10, 24, 12, tzinfo=UTC).timestamp(), "Europe/Berlin"
    nights = []
    for _ in range(3):
        at = cron.upcoming("30 2 * * *", zone, at)
        nights.append(datetime.fromtimestamp(at, UTC).strftime("%d %H:%M"))
    assert len(nights) == len({night[:2] for night in nights}) == 3
