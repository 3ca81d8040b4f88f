"""The token of a job run: what it reaches, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from bough.adapters.engine.fake import Behaviour
from bough.kernel.context import Principal
from bough.kernel.errors import Forbidden, Unauthenticated
from bough.secrets.vault import Vault
from tests.jobs.conftest import Jobs

FILE = 'name = "lab"\n[jobs.fit]\ncommand = "x"\n'


@pytest.fixture
def caller(jobs: Jobs) -> tuple[Jobs, Any, str]:
    jobs.does["fit"] = Behaviour()
    made = jobs.ask("fit", FILE)
    jobs.let_pass(1.0)
    return jobs, made, token_of(jobs, made.id)


def token_of(jobs: Jobs, id: str) -> str:
    """As the node opens it."""
    sealed = jobs.engine.spec(jobs.run(id).unit(0)).secrets["BOUGH_TOKEN"]
    return Vault(jobs.bough.home.path, {}).open_text(sealed[1])


def test_it_reports_for_its_own_run_and_nothing_else(caller: tuple[Jobs, Any, str]) -> None:
    jobs, made, token = caller
    who = jobs.bough.authenticate(token)
    run = jobs.run(made.id).run
    jobs.call("runs.log", by=who, project="lab", id=run, params={"lr": "0.1"})
    other = jobs.call("runs.create", project="lab")
    refused: list[Callable[[Principal], Any]] = [
        lambda who: jobs.call("runs.log", by=who, project="lab", id=other.id, params={"lr": "0.1"}),
        lambda who: jobs.call("runs.show", by=who, project="shop", id=run),
        lambda who: jobs.call("jobs.cancel", by=who, id=made.id),
        lambda who: jobs.call("secrets.list", by=who, project="lab"),
        lambda who: jobs.call("releases.rollback", by=who, project="lab"),
        lambda who: jobs.call("tokens.create", by=who),
    ]
    for call in refused:
        with pytest.raises(Forbidden) as error:
            call(who)
        assert error.value.own_code == "TOKEN_SCOPE"


def test_it_ends_with_the_run_and_every_attempt_has_another(caller: tuple[Jobs, Any, str]) -> None:
    jobs, made, token = caller
    jobs.bough.capacity.interrupt(jobs.lease(made.id), 0.0)
    jobs.let_pass(2.0)
    second = token_of(jobs, made.id)
    assert second != token
    with pytest.raises(Unauthenticated):
        jobs.bough.authenticate(token)
    jobs.call("jobs.cancel", id=made.id)
    jobs.let_pass(1.0)
    with pytest.raises(Unauthenticated):
        jobs.bough.authenticate(second)


def test_no_file_and_no_row_holds_it(caller: tuple[Jobs, Any, str]) -> None:
    jobs, made, token = caller
    spec = msgspec.json.encode(jobs.engine.spec(jobs.run(made.id).unit(0)))
    assert token.encode() not in spec
    files = [path for path in jobs.bough.home.path.rglob("*") if path.is_file()]
    assert not [path for path in files if token.encode() in path.read_bytes()]
