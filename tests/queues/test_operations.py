"""Looking after queues: what the verbs answer, and what that is on a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bough.adapters.queue import DEAD, DONE, Draft, Outcome, Place, Round, Take
from bough.adapters.queue.sqlite import SqliteQueues
from bough.entrypoints.cli import queuesaying
from bough.entrypoints.cli.session import Session
from bough.kernel.errors import NotFound
from bough.queues.rules import refusal_mark
from tests.plane import Plane

PLACE: Place = ("shop", "main", "documents")
FILE = """
name = "shop"
[services.api]
model = "service:Api"
[queues.documents]
handler = "api"
keep_s = 60
webhook = "https://example.com/hook"
sink = { url = "sqlite:///out.db", statement = "INSERT INTO t VALUES (:id)" }
"""


@pytest.fixture
def plane(tmp_path: Path) -> Plane:
    made = Plane(tmp_path)
    made.deploy(FILE)
    return made


@pytest.fixture
def queues(plane: Plane) -> Iterator[SqliteQueues]:
    made = SqliteQueues(plane.bough.home.queues)
    yield made
    made.close()


def end(queues: SqliteQueues, state: str, *tell: str) -> str:
    now = time.time()
    asked = [Take(place=PLACE, owner="me", count=1, until=now + 9)]
    taken = queues.round(Round(drafts=[Draft(place=PLACE, body=b"1")], takes=asked, now=now)).taken[0][0]
    outcome = Outcome(taken=taken, state=state, at=now, until=now + 60, status=200, result=b"2", tell=tell)
    queues.round(Round(outcomes=[outcome], now=now))
    return str(taken.id)


def said(verb: str, answer: Any) -> str:
    return queuesaying.SAYS[verb](Session(), msgspec.json.decode(msgspec.json.encode(answer)))


def test_a_queue_is_shown_with_what_is_set_and_with_who_was_not_told_and_why(
    plane: Plane, queues: SqliteQueues
) -> None:
    end(queues, DONE, "webhook", "sql")
    end(queues, DONE, "webhook")
    queues.note(refusal_mark(PLACE, "webhook"), "2026-11-28T10:00:00Z example.com does not answer")
    found = plane.call("queues.show", project="shop", queue="documents")
    assert [(each.to, each.waiting) for each in found.telling] == [("webhook", 2), ("sql", 1)]
    text = said("queues.show", found)
    assert "2 wait; 2026-11-28T10:00:00Z example.com does not answer" in text
    assert "0 waiting, 0 behind, 0 delayed, 0 running, 0 dead" in text
    assert "keep_s" in text and "url=sqlite:///out.db" in text
    assert "None" not in text and "archive" not in text and "payload" not in text


def test_a_queue_that_the_live_release_has_not_says_so(plane: Plane, queues: SqliteQueues) -> None:
    end(queues, DEAD)
    plane.deploy(FILE.partition("[queues")[0])
    assert "none: the live release has no such queue" in said("queues.list", plane.call("queues.list", project="shop"))
    assert "1 dead" in said("queues.show", plane.call("queues.show", project="shop", queue="documents"))
    plane.call("queues.purge", project="shop", queue="documents")
    assert plane.call("queues.list", project="shop") == [], "there is nothing in it to look after"


@pytest.mark.parametrize("verb", ["list", "show", "peek", "replay", "deliver", "purge"])
def test_an_environment_that_is_not_there_is_said_to_be_missing(plane: Plane, queues: SqliteQueues, verb: str) -> None:
    asked = {"project": "shop", "environment": "gone"} | ({} if verb == "list" else {"queue": "documents"})
    with pytest.raises(NotFound) as raised:
        plane.call(f"queues.{verb}", **asked)
    assert raised.value.own_code == "ENVIRONMENT_NOT_FOUND"


def test_moving_items_says_how_many(plane: Plane, queues: SqliteQueues) -> None:
    for _ in range(2):
        end(queues, DEAD)
    one = end(queues, DEAD)
    of = {"project": "shop", "queue": "documents"}
    assert said("queues.replay", plane.call("queues.replay", **of, id=one)) == "1 item is back in the queue"
    assert said("queues.purge", plane.call("queues.purge", **of)) == "2 items are removed"
    assert said("queues.replay", plane.call("queues.replay", **of)) == "there are no dead letters"
    assert said("queues.purge", plane.call("queues.purge", **of, state="done")) == "there was nothing to remove"


def test_what_waits_for_its_next_try_is_told_now_if_somebody_says_so(plane: Plane, queues: SqliteQueues) -> None:
    end(queues, DONE, "webhook", "sql")
    now = plane.clock.now()
    for each in queues.deliveries(time.time(), 10):
        queues.postpone(each.id, time.time() + 3600)
    assert queues.deliveries(now, 10) == []
    of = {"project": "shop", "queue": "documents"}
    assert "2 results are being told" in said("queues.deliver", plane.call("queues.deliver", **of))
    due = queues.deliveries(now, 10)
    assert {each.to for each in due} == {"webhook", "sql"} and {each.attempts for each in due} == {0}
    for each in due:
        queues.delivered(each.id)
    assert said("queues.deliver", plane.call("queues.deliver", **of)) == "everybody has been told of everything"


def test_items_that_are_more_than_were_asked_for_are_mentioned(plane: Plane, queues: SqliteQueues) -> None:
    for _ in range(21):
        end(queues, DEAD)
    of = {"project": "shop", "queue": "documents", "state": DEAD}
    assert "the first 20; --limit shows more" in said("queues.peek", plane.call("queues.peek", **of))
    assert "the first" not in said("queues.peek", plane.call("queues.peek", **of)[:19])
