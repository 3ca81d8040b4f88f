"""An address is told of every event that it wants, in order, signed, until it has arrived."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bough.adapters.connectors.outside import Outside
from bough.kernel.errors import Invalid, NotFound, Unavailable
from bough.kernel.events import Event
from bough.webhooks import rules
from bough.webhooks.models import Webhook
from tests.plane import Plane

ONE = 'name = "shop"\n[services.churn]\nmodel = "service:Churn"\n'
URL = "https://example.com/hooks"


class Ear(Outside):
    """Keeps what it is told; `answers` says how it answers from now on, a status or that it is away."""

    def __init__(self) -> None:
        self.answers: int | None = 200
        self.asked: list[tuple[str, Mapping[str, str], bytes]] = []

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        self.asked.append((url, headers, body))
        if self.answers is None:
            raise Unavailable("example.com does not answer")
        return self.answers

    def names(self) -> list[str]:
        return [json.loads(body)["type"] for _, _, body in self.asked]


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
def plane(tmp_path: Path, ear: Ear) -> Plane:
    made = Plane(tmp_path, connectors=ear)
    made.deploy(ONE)
    return made


def listening(plane: Plane, *events: str, project: str = "shop") -> Any:
    return plane.call("webhooks.add", project=project, address=URL, events=list(events))


def state(plane: Plane) -> Webhook:
    found: Webhook = plane.call("webhooks.list", project="shop")[0]
    return found


def test_what_happens_from_now_on_is_told_in_order_and_signed(plane: Plane, ear: Ear) -> None:
    added = listening(plane, "release.*")
    release = plane.deploy(ONE, content="two")
    plane.let_pass(1)
    assert ear.names() == ["release.created", "release.starting", "release.live", "release.routed"][: len(ear.asked)]
    assert "release.live" in ear.names()
    url, headers, body = ear.asked[ear.names().index("release.live")]
    said = json.loads(body)["data"]
    assert (url, said["project"], said["number"], said["subject"]) == (URL, "shop", release.number, release.id)
    key = base64.b64decode(added.signing_secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    assert headers["webhook-signature"] == "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    assert len({each["webhook-id"] for _, each, _ in ear.asked}) == len(ear.asked) == state(plane).told


def test_what_is_taken_away_while_it_is_told_hears_nothing_more(plane: Plane, ear: Ear) -> None:
    added = listening(plane, "release.*")
    plane.before_writing(
        "webhook", lambda: plane.call("webhooks.remove", project="shop", id=added.webhook.id) is not None
    )
    for _ in range(3):
        plane.call("webhooks.test", project="shop", id=added.webhook.id)
    plane.let_pass(1)
    assert len(ear.asked) == 1


def test_nothing_else_is_told(plane: Plane, ear: Ear) -> None:
    listening(plane, "promotion.*")
    plane.deploy(ONE.replace("shop", "other"), content="three")
    plane.deploy(ONE, content="two")
    plane.let_pass(2)
    assert ear.asked == []


def test_a_receiver_that_is_away_gets_everything_once_it_is_back(plane: Plane, ear: Ear) -> None:
    listening(plane, "release.live", "release.created")
    ear.answers = None
    plane.deploy(ONE, content="two")
    plane.let_pass(10)
    assert set(ear.names()) == {"release.created"} and len({each["webhook-id"] for _, each, _ in ear.asked}) == 1
    assert state(plane).told == 0 < state(plane).tries and "does not answer" in state(plane).said
    ear.answers, ear.asked = 204, []
    plane.let_pass(30)
    assert ear.names() == ["release.created", "release.live"]
    assert (state(plane).told, state(plane).tries, state(plane).lost) == (2, 0, 0)


def test_what_is_refused_for_half_a_day_is_given_up_and_the_next_one_goes(plane: Plane, ear: Ear) -> None:
    added = listening(plane, "release.created")
    ear.answers = 500
    plane.deploy(ONE, content="two")
    for _ in range(rules.MOST_TRIES):
        plane.clock.advance(rules.LONGEST_PAUSE_S)
        plane.let_pass(0.1)
    assert (state(plane).lost, state(plane).told) == (1, 0) and len(ear.asked) == rules.MOST_TRIES
    ear.answers, ear.asked = 200, []
    plane.call("webhooks.test", project="shop", id=added.webhook.id)
    plane.let_pass(1)
    assert ear.names() == ["webhook.tested"] and state(plane).told == 1


def test_a_project_where_much_happens_does_not_use_up_the_tries_of_a_receiver_that_is_away(
    plane: Plane, ear: Ear
) -> None:
    listening(plane, "webhook.tested")
    found, ear.answers = state(plane), None
    for _ in range(3 * rules.MOST_TRIES):
        plane.call("webhooks.test", project="shop", id=found.id)
        plane.let_pass(0.5)
    assert state(plane).lost == 0 and state(plane).tries <= 7, "one try after 1, 2, 4, … seconds"
    ear.answers = 200
    plane.let_pass(60)
    assert state(plane).told == 3 * rules.MOST_TRIES


def test_what_waits_is_told_at_once_when_somebody_says_so(plane: Plane, ear: Ear) -> None:
    added = listening(plane, "release.created")
    ear.answers = None
    plane.deploy(ONE, content="two", seconds=40)
    ear.answers, ear.asked = 200, []
    assert state(plane).tries >= 5
    plane.let_pass(1)
    assert ear.asked == []
    assert plane.call("webhooks.retry", project="shop", id=added.webhook.id).tries == 0
    plane.let_pass(0.1)
    assert ear.names() == ["release.created"] and state(plane).told == 1


def test_what_was_given_up_is_told_again_in_order_under_the_same_ids(plane: Plane, ear: Ear) -> None:
    plane.deploy(ONE, content="before it was added")
    added = listening(plane, "release.created", "release.live")
    ear.answers = 500
    plane.deploy(ONE, content="two")
    for _ in range(2 * rules.MOST_TRIES):
        plane.clock.advance(rules.LONGEST_PAUSE_S)
        plane.let_pass(0.1)
    assert (state(plane).lost, state(plane).told) == (2, 0)
    ids = list(dict.fromkeys(headers["webhook-id"] for _, headers, _ in ear.asked))
    ear.answers, ear.asked = 200, []
    plane.call("webhooks.retry", project="shop", id=added.webhook.id)
    plane.let_pass(0.1)
    assert ear.asked == [], "nothing waits"
    plane.call("webhooks.retry", project="shop", id=added.webhook.id, since=1)
    plane.let_pass(0.1)
    assert ear.names() == ["release.created", "release.live"], "and nothing from before it was added"
    assert [headers["webhook-id"] for _, headers, _ in ear.asked] == ids
    plane.call("webhooks.retry", project="shop", id=added.webhook.id, since=10**9)
    plane.deploy(ONE, content="three")
    assert ear.names()[2:] == ["release.created", "release.live"], "and nothing that is yet to come is left out"


def test_one_server_goes_on_where_another_was_killed(tmp_path: Path, plane: Plane, ear: Ear) -> None:
    listening(plane, "release.*")
    ear.answers = None
    plane.deploy(ONE, content="two")
    again = Plane(tmp_path, after=plane, connectors=(after := Ear()))
    again.bough.start()
    again.bough.stop()
    again = Plane(tmp_path, after=plane, connectors=after)
    again.let_pass(120)
    assert "release.live" in after.names()


def test_its_secret_goes_with_it(plane: Plane, ear: Ear) -> None:
    added = listening(plane)
    assert added.signing_secret not in str(plane.call("webhooks.list", project="shop"))
    with pytest.raises(NotFound):
        plane.call("webhooks.remove", project="other", id=added.webhook.id)
    plane.call("webhooks.remove", project="shop", id=added.webhook.id)
    assert plane.call("webhooks.list", project="shop") == []
    assert added.webhook.secret not in {each.name for each in plane.call("secrets.list", project="shop")}
    plane.deploy(ONE, content="two")
    plane.let_pass(1)
    assert ear.asked == []


@pytest.mark.parametrize("url", ["", "example.com", "ftp://example.com", "file:///etc/passwd", "https://"])
def test_only_an_address_on_the_web_is_told(plane: Plane, url: str) -> None:
    with pytest.raises(Invalid):
        plane.call("webhooks.add", project="shop", address=url)


def test_an_event_without_a_project_is_nobodys() -> None:
    webhook = Webhook(
        id="whk_1", project="shop", url=URL, events=["*"], secret="S", by="ada", at=0.0, cursor=0,
    )  # fmt: skip
    mine = Event(seq=1, at=0.0, name="a.b", subject="x", data={"project": "shop"})
    assert rules.wants(webhook, mine)
    assert not rules.wants(webhook, Event(seq=1, at=0.0, name="a.b", subject="x", data={}))
    assert not rules.wants(webhook, Event(seq=1, at=0.0, name="a.b", subject="x", data={"project": "other"}))
    assert not rules.wants(
        webhook, Event(seq=1, at=0.0, name="webhook.tested", subject="whk_2", data={"project": "shop"})
    )


def test_pauses_grow_to_an_hour_and_no_further() -> None:
    pauses = [rules.pause_s(tries) for tries in range(1, rules.MOST_TRIES)]
    assert pauses[:3] == [1.0, 2.0, 4.0] and max(pauses) == 3600.0 and sorted(pauses) == pauses
    assert 10 * 3600 < sum(pauses) < 14 * 3600
