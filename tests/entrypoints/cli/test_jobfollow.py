"""Following a job run, also when what tells of it goes away meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from bough.client import Client, Record
from bough.entrypoints.cli import jobfollow, jobs_logs
from bough.entrypoints.cli.session import Session
from bough.kernel.errors import Unavailable, WorkloadFailed
from tests.entrypoints.cli.test_rollout import Streams

RUN = Record(id="jr_1", job="fit", project="lab")


def news(kind: str, **fields: Any) -> Record:
    """As it comes over HTTP: without what is empty."""
    return Record({"kind": kind, "at": 1.0, "id": "jr_1"} | {key: value for key, value in fields.items() if value})


def end(state: str, text: str = "", **run: Any) -> Record:
    return news("done", state=state, text=text, run=Record({**RUN, "state": state, "created_at": 10.0} | run))


def follow(*streams: list[Any]) -> tuple[Any, str]:
    session = Session()
    session.use(Client(transport=Streams(*streams)))
    return jobfollow.to_the_end(session, RUN)


def test_an_empty_line_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    follow([news("log", text="one"), news("log", text=""), news("log", text="two"), end("succeeded", finished_at=12.5)])
    assert capsys.readouterr().out.splitlines()[1:] == ["  fit | one", "  fit | ", "  fit | two"]


def test_a_node_that_is_away_for_a_moment_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    away = Unavailable("the node does not answer", code="NODE_UNREACHABLE")
    _, said = follow([news("log", text="one", cursor="c"), away], [end("succeeded", finished_at=12.5, seconds=2.0)])
    assert said == "fit has succeeded after 2.5 s, 2.0 s of machines"
    assert "the node does not answer; the job goes on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("state", "attempt", "first"), [("failed", 2, "logs"), ("failed", 0, "show"), ("skipped", 0, "show")]
)
def test_after_a_bad_end_it_says_what_there_is_to_look_at(state: str, attempt: int, first: str) -> None:
    with pytest.raises(WorkloadFailed) as raised:
        follow([end(state, "why", attempt=attempt)])
    assert raised.value.hint == f"bough jobs {first} jr_1, then bough jobs retry jr_1"


def test_after_a_failure_that_says_itself_what_to_do_it_says_that() -> None:
    with pytest.raises(WorkloadFailed) as raised:
        follow([end("failed", "why", attempt=1, failure={"code": "X", "message": "why", "hint": "bough doctor"})])
    assert raised.value.hint == "bough doctor"


def test_output_that_is_followed_goes_on_where_a_restart_of_the_server_cut_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    gone = Unavailable("the server does not answer", code="SERVER_UNREACHABLE")
    streams = Streams([Record(text="one", cursor="a"), gone], [gone], [Record(text="two", cursor="b")])
    session = Session()
    session.use(Client(transport=streams))
    jobs_logs.run(session, "jr_1", follow=True, lines=10, cursor="")
    assert capsys.readouterr().out.splitlines() == ["one", "two"]
    assert [asked["cursor"] for asked in streams.asked] == ["", "a", "a"]


def test_output_that_is_only_read_does_not_wait_for_a_server_that_is_away() -> None:
    session = Session()
    session.use(Client(transport=Streams([Unavailable("no answer", code="SERVER_UNREACHABLE")])))
    with pytest.raises(Unavailable):
        jobs_logs.run(session, "jr_1", follow=False, lines=10, cursor="")
