"""A branch takes its queues' items along."""

from __future__ import annotations

from pathlib import Path

from bough.adapters.queue import DEAD, DONE, Draft, Outcome, Place, Queues, Round, Take
from bough.queues import leaving
from tests.plane import Plane

PLACE: Place = ("shop", "dearer", "documents")
FILE = """
name = "shop"
[services.api]
model = "service:Api"
[queues.documents]
handler = "api"
webhook = "https://example.com/hook"
schedule = "0 3 * * *"
"""


def put(queues: Queues, place: Place, *, now: float) -> str:
    return queues.round(Round(drafts=[Draft(place=place, body=b"1")], now=now)).receipts[0].id


def ended(queues: Queues, state: str, now: float) -> None:
    put(queues, PLACE, now=now)
    [taken] = queues.round(Round(takes=[Take(place=PLACE, owner="me", count=1, until=now + 9)], now=now)).taken[0]
    outcome = Outcome(taken=taken, state=state, at=now, until=now + 60, result=b"2", tell=("webhook",))
    queues.round(Round(outcomes=[outcome], now=now))


def test_a_branch_that_is_made_again_begins_with_empty_queues(tmp_path: Path) -> None:
    """Waiting items of the one before had run in it."""
    plane = Plane(tmp_path)
    plane.deploy(FILE)
    plane.call("environments.create", project="shop", branch="dearer")
    queues, before = plane.bough.technologies.queues, plane.clock.now()
    for state in (DONE, DEAD):
        ended(queues, state, before)
    put(queues, PLACE, now=before)
    kept = put(queues, ("shop", "main", "documents"), now=before)
    queues.note("schedule/shop/dearer/documents", str(before))
    plane.let_pass(1.0)
    plane.call("environments.discard", project="shop", branch="dearer")
    plane.call("environments.create", project="shop", branch="dearer")
    fresh = put(queues, PLACE, now=plane.clock.now() + 0.5)
    plane.let_pass(1.0)
    assert [each.id for each in queues.after(PLACE, "", 9)] == [fresh]
    assert queues.deliveries(plane.clock.now() + 9, 9) == []
    assert queues.mark("schedule/shop/dearer/documents") == ""
    assert queues.find(("shop", "main", "documents"), kept) is not None


def test_what_the_gateway_accepted_before_it_heard_of_the_discarding_goes_too(tmp_path: Path) -> None:
    plane = Plane(tmp_path)
    plane.deploy(FILE)
    plane.call("environments.create", project="shop", branch="dearer")
    plane.call("environments.discard", project="shop", branch="dearer")
    plane.let_pass(1.0)
    queues = plane.bough.technologies.queues
    put(queues, PLACE, now=plane.clock.now())
    plane.let_pass(leaving.SETTLED_S)
    assert queues.after(PLACE, "", 9) == []


def test_a_clock_that_is_set_back_takes_nothing_of_the_next_branch(tmp_path: Path) -> None:
    plane = Plane(tmp_path)
    plane.deploy(FILE)
    plane.call("environments.create", project="shop", branch="dearer")
    plane.let_pass(1.0)
    plane.call("environments.discard", project="shop", branch="dearer")
    plane.let_pass(1.0)
    plane.call("environments.create", project="shop", branch="dearer")
    plane.clock.set_by(-86_400.0)
    plane.let_pass(leaving.SETTLED_S)
    queues = plane.bough.technologies.queues
    fresh = put(queues, PLACE, now=plane.clock.now())
    plane.let_pass(2 * leaving.SETTLED_S)
    assert [each.id for each in queues.after(PLACE, "", 9)] == [fresh]
