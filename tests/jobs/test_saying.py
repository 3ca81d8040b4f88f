"""What is said of job runs on a terminal."""

from __future__ import annotations

from typing import Any

import msgspec

from bough.entrypoints.cli import jobsaying
from bough.entrypoints.cli.session import Session
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
