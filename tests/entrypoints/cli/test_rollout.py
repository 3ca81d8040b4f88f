"""Following a release, also when the server goes away meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from bough.client import Client, Record
from bough.entrypoints.cli import logs, rollout
from bough.entrypoints.cli.session import Session
from bough.kernel.errors import Conflict, Unavailable, WorkloadFailed

RELEASE = Record(id="rel_1", project="shop", environment="main", number=2, state="pending")


class Streams:
    """A transport whose streams are the ones given, one after the other; an exception in one is raised there."""

    def __init__(self, *streams: list[Any]) -> None:
        self.streams, self.asked = list(streams), list[dict[str, Any]]()

    def call(self, name: str, fields: Mapping[str, Any], key: str) -> Any:
        raise AssertionError(name)

    def stream(self, name: str, fields: Mapping[str, Any]) -> Iterator[Any]:
        self.asked.append(dict(fields))
        for item in self.streams.pop(0):
            if isinstance(item, Exception):
                raise item
            yield item

    def upload(self, digest: str, content: Any, size: int) -> None:
        raise AssertionError(digest)

    def close(self) -> None:
        pass


def log(text: str, service: str = "a") -> dict[str, Any]:
    return {"kind": "log", "at": 0.0, "service": service, "text": text}


def state(name: str, at: float) -> dict[str, Any]:
    return {"kind": "service", "at": at, "service": "a", "state": name}


def done(name: str, **data: Any) -> dict[str, Any]:
    return {"kind": "done", "at": 9.0, "state": name, "data": {"release": RELEASE | data.pop("release", {}), **data}}


CUT = Unavailable("cut", code="STREAM_BROKEN")


def follow(*streams: list[Any]) -> Any:
    session = Session()
    session.use(Client(transport=Streams(*streams)))
    return rollout.follow(session, RELEASE)


def test_lines_and_states_are_printed_as_they_come(capsys: pytest.CaptureFixture[str]) -> None:
    end = follow([log("one"), state("starting", 1.0), state("ready", 2.0), done("live")])
    assert end.state == "live"
    assert capsys.readouterr().out.split("\n") == ["  a | one", "  a: starting", "  a: ready", ""]


def test_after_a_cut_nothing_is_missing_and_nothing_said_twice(capsys: pytest.CaptureFixture[str]) -> None:
    before = [log("one"), log("one"), log("x", "b"), state("starting", 1.0)]
    after = [*before, log("two"), state("ready", 2.0), done("live")]
    follow([*before, CUT], [Unavailable("gone", code="SERVER_UNREACHABLE")], after)
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "  a | one",
        "  a | one",
        "  b | x",
        "  a: starting",
        "  a | two",
        "  a: ready",
    ]
    assert "waiting" in captured.err


def test_other_errors_are_not_waited_out() -> None:
    with pytest.raises(Unavailable):
        follow([Unavailable("no", code="SOMETHING_ELSE")])


def test_a_release_that_fails_says_where_why_and_what_still_serves() -> None:
    failure = {"service": "a", "code": "LOAD_FAILED", "message": "no module numpy", "hint": "add numpy"}
    with pytest.raises(WorkloadFailed) as caught:
        follow([log("import numpy"), done("failed", release={"failure": failure}, live=1)])
    problem = caught.value
    assert (problem.exit_code, problem.own_code, problem.hint) == (8, "LOAD_FAILED", "add numpy")
    assert "no module numpy" in problem.message
    assert "release 1 still serves" in problem.message
    assert problem.fields["log"] == ["import numpy"]


def test_a_release_that_was_overtaken_is_a_conflict() -> None:
    with pytest.raises(Conflict):
        follow([done("overtaken", live=3)])


def test_following_takes_no_longer_than_allowed() -> None:
    session = Session()
    session.use(Client(transport=Streams([log("one"), log("two")])))
    with pytest.raises(Unavailable) as caught:
        rollout.follow(session, RELEASE, timeout_s=1e-9)
    assert caught.value.own_code == "TIMEOUT"


def line(offset: int, text: str, unit: str = "u", attempt: int = 1) -> dict[str, Any]:
    cursor = f"{unit}/{attempt}:{offset + len(text) + 1}"
    return {"service": "a", "unit": unit, "attempt": attempt, "offset": offset, "text": text, "cursor": cursor}


def test_logs_go_on_where_they_ended_when_the_server_comes_back() -> None:
    first, second, third = line(0, "one"), line(4, "two"), line(8, "three")
    other = line(0, "new attempt", attempt=2)
    transport = Streams([first, second, CUT], [third, other])
    found = list(logs.items(Client(transport=transport), {"project": "p", "follow": True}, lines=2))
    assert [item.text for item in found] == ["one", "two", "three", "new attempt"]
    assert [asked["cursor"] for asked in transport.asked] == ["", second["cursor"]]


def test_logs_that_are_not_followed_are_not_asked_for_again() -> None:
    with pytest.raises(Unavailable):
        list(logs.items(Client(transport=Streams([line(0, "one"), CUT])), {"project": "p", "follow": False}, lines=2))
