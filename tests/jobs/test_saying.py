"""What is said of job runs on a terminal."""

from __future__ import annotations

from typing import Any

import msgspec

from bough.adapters.engine.fake import Behaviour
from bough.entrypoints.cli import jobsaying
from bough.entrypoints.cli.session import Session
from bough.jobs.models import RUNNING
from tests.jobs.conftest import Jobs

FILE = 'name = "lab"\n[jobs.fit]\ncommand = "x"\nparams = { lr = 0.1 }\narray = 2\n'


def test_every_state_of_a_run_can_be_said(jobs: Jobs) -> None:
    made = jobs.ask("fit", FILE)
    assert "is queued: 2 runs" in jobsaying.begun(Session(), plain(made))
    for seconds in (0.1, 1.0, 4.0):
        jobs.let_pass(seconds)
        for each in jobs.all():
            shown = jobsaying.run(Session(), plain(jobs.call("jobs.show", id=each.id)))
            assert each.id in shown and each.said in shown
    listed = jobsaying.runs(Session(), plain(jobs.call("jobs.list", project="lab", all=True)))
    assert listed.count("succeeded") == 3 + listed.count("2 succeeded")


def plain(answer: Any) -> Any:
    """As it comes over HTTP: without fields that have their default."""
    return msgspec.json.decode(msgspec.json.encode(answer))


def test_a_group_says_how_many_of_its_runs_ended_and_how_and_no_attempt_for_it_has_none(jobs: Jobs) -> None:
    jobs.does["fit"] = Behaviour(exit_after_s=4.0)
    few = FILE.replace("array = 2", "retries = 0\nsweep = { grid = { lr = [1, 2, 3, 4] }, parallel = 2 }")
    made = jobs.ask("fit", few)
    assert lines(jobs, made.id)["runs"] == "4 waiting"
    jobs.let_pass(1.0)
    assert lines(jobs, made.id)["runs"] == "2 running, 2 waiting"
    running = next(each for each in jobs.all() if each.group and each.state == RUNNING)
    jobs.engine.crash(running.unit(0), code=3)
    jobs.let_pass(3.6)
    assert lines(jobs, made.id)["runs"] == "2 of 4 ended (1 succeeded, 1 failed), 2 running"
    shown = lines(jobs, made.id)
    assert "attempt" not in shown and lines(jobs, running.id)["attempt"] == "1"
    listed = jobsaying.runs(Session(), plain(jobs.call("jobs.list", project="lab")))
    assert made.id in listed and "attempt" not in listed


def lines(jobs: Jobs, id: str) -> dict[str, str]:
    """What is said of a run above its timeline, by the word that begins the line."""
    said = jobsaying.run(Session(), plain(jobs.call("jobs.show", id=id))).partition("\n\n")[0]
    return {line.split("  ")[0]: line.partition("  ")[2].strip() for line in said.splitlines()}
