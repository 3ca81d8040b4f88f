"""From one queue to another: nothing lost, nothing twice, whatever happens to the other side."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bough.adapters.queue import DEAD, Outcome, Round, Take
from bough.kernel.errors import ProjectFileInvalid
from bough.kernel.project import resolve
from bough.kernel.queue import Forward, Queue
from bough.kernel.settings import Document

from .test_outside import HOUR_S, PLACE, World

OTHER = ("shop", "main", "labels")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.database.close()


def test_a_result_becomes_an_item_of_another_queue_of_this_bough_once(world: World) -> None:
    world.declared[PLACE] = Queue(handler="c", forward=Forward(queue="labels"))
    id = world.end("queue")
    (delivery,) = world.queues.deliveries(world.clock.now(), 10)
    assert world.work.once() == 1
    (item,) = world.queues.peek(OTHER, "waiting", 10)
    assert (json.loads(item.body), item.dedup) == ({"label": "letter"}, f"shop/main/documents/{id}")
    world.work._tell(delivery, world.declared[PLACE])  # as if the server had died before it was noted
    assert len(world.queues.peek(OTHER, "waiting", 10)) == 1


def test_a_key_goes_on_as_it_was_whatever_letters_it_has(world: World) -> None:
    """Headers are written in Latin-1, and one that could not be would have been tried for ever."""
    world.declared[PLACE] = Queue(handler="c", forward=Forward(url="https://central/queues/orders"))
    world.end("queue", key="Größe 😀")
    assert world.work.once() == 1
    sent = world.receiver.told[-1][1]["X-Bough-Key"]
    assert sent.encode("latin-1").decode() == "Größe 😀"


def test_another_bough_is_asked_until_it_has_said_yes_however_long_that_takes(world: World) -> None:
    """Days of silence and refusals, after which a webhook would have been given up."""
    forward = Forward(
        url="https://central/queues/orders", authorization="Bearer ${secrets.hook}", environment="staging"
    )
    world.declared[PLACE] = Queue(handler="c", forward=forward)
    ids = [world.end("queue") for _ in range(5)]
    world.receiver.away = True
    for _ in range(100):
        world.work.once()
        world.queues.tend(world.clock.now(), lambda owner: False)
        world.clock.advance(HOUR_S)
    world.receiver.away, world.receiver.status = False, 503
    for _ in range(20):
        world.work.once()
        world.clock.advance(HOUR_S)
    refused = len(world.receiver.told)
    assert refused >= 5 * 19
    world.receiver.status = 202
    assert world.work.once() == 5
    url, headers, body = world.receiver.told[-1]
    assert (url, json.loads(body)) == (forward.url, {"label": "letter"})
    assert headers["Authorization"] == "Bearer s3cret" and headers["X-Bough-Environment"] == "staging"
    keys = [told["Idempotency-Key"] for _, told, _ in world.receiver.told[refused:]]
    assert sorted(keys) == sorted(f"shop/main/documents/{id}" for id in ids)
    assert world.work.once() == 0


def test_a_dead_letter_is_not_forwarded(world: World) -> None:
    world.declared[PLACE] = Queue(handler="c", forward=Forward(queue="labels"))
    now = world.clock.now()
    world.end("queue")
    world.work.once()
    asked = [Take(place=OTHER, owner="me", count=1, until=now + 9)]
    (taken,) = world.queues.round(Round(takes=asked, now=now)).taken[0]
    world.declared[OTHER] = Queue(handler="c", forward=Forward(queue="third"))
    dead = Outcome(taken=taken, state=DEAD, at=now, until=now + 60, error="no", tell=("queue",))
    world.queues.round(Round(outcomes=[dead], now=now))
    world.work.once()
    assert world.queues.peek(("shop", "main", "third"), "waiting", 10) == []


def test_mistakes_are_said_where_they_were_made() -> None:
    base = 'name = "a"\n[services.c]\nmodel = "m:M"\n[queues.q]\nhandler = "c"\n'
    for line, said in (
        ("forward = {}", "names one of queue and url"),
        ('forward = { queue = "q" }', "never ends"),
        ('forward = { queue = "r", url = "https://h/queues/r" }', "names one of"),
        ('forward = { url = "ftp://h" }', "no http"),
        ('bucket = { url = "https://h" }', "s3://BUCKET/PREFIX"),
        ('bucket = { url = "s3://inbox", delete = true }', "would find nothing"),
        ('archive = { url = "s3://out", endpoint = "h" }', "no http"),
    ):
        with pytest.raises(ProjectFileInvalid, match=said):
            resolve(Document(base + line + "\n"))
    assert resolve(Document(base + 'forward = { queue = "r" }\n')).queues["q"].tells == ("queue",)
