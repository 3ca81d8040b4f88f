"""`bough chaos preempt JOB` on whatever of the job holds something."""

from __future__ import annotations

import pytest

from bough.adapters.engine.fake import Behaviour
from bough.client import Client
from bough.client.inprocess import InProcess
from bough.entrypoints.cli import chaos_preempt
from bough.entrypoints.cli.session import Session
from bough.jobs.models import RUNNING, STOPPING
from bough.kernel.errors import Conflict, NotFound
from tests.jobs.conftest import Jobs
from tests.plane import ADMIN

FILE = 'name = "lab"\n[jobs.fit]\ncommand = "x"\narray = 2\nresources = { cpus = 0.1 }\n'


@pytest.fixture
def session(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.setattr(chaos_preempt, "project_name", lambda: "lab")
    made = Session()
    made._client = Client(transport=InProcess(jobs.bough.operations, ADMIN, jobs.bough.blobs))
    return made


def test_a_drill_on_a_group_is_one_on_each_of_its_runs_and_a_second_one_counts_that_ends_sooner(
    jobs: Jobs, session: Session
) -> None:
    jobs.does["fit"] = Behaviour(ignores_term=True)
    made = jobs.ask("fit", FILE)
    with pytest.raises(NotFound):
        chaos_preempt.run(session, "fit", "main", "none")
    jobs.let_pass(2.0)
    members = [run.id for run in jobs.all() if run.group == made.id]
    chaos_preempt.run(session, "fit", "main", "120s")
    jobs.let_pass(1.0)
    assert [jobs.run(id).state for id in members] == [STOPPING] * 2
    with pytest.raises(Conflict, match="is being taken away already, in 119 s") as raised:
        chaos_preempt.run(session, "fit", "main", "120s")
    assert "--notice none" in raised.value.hint
    chaos_preempt.run(session, "fit", "main", "2s")
    jobs.let_pass(4.0)
    assert [(jobs.run(id).state, jobs.run(id).attempt) for id in members] == [(RUNNING, 2)] * 2
