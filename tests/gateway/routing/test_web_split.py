"""A web service that several deployments answer by shares."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from bough.gateway.models import Route, Variant
from bough.gateway.routing.split import COPIES_WAITING

from ..conftest import Running, route
from ..http.test_proxy import Upstream, web


@pytest.fixture
def two() -> Iterator[tuple[Upstream, Upstream]]:
    apps = Upstream().start(), Upstream().start()
    for app, says in zip(apps, (b"old", b"new"), strict=True):
        app.instead, app.says = b"/old", says
    yield apps
    for app in apps:
        app.end()


def variant(app: Upstream, **fields: Any) -> Variant:
    base: dict[str, Any] = {"deployment": "dep-new", "name": "next", "targets": [app.target("w2")], "percent": 25.0}
    return Variant(**base | fields)


def divided(two: tuple[Upstream, Upstream], sticky: str = "", **fields: Any) -> Route:
    return web(two[0].target(), variants=[variant(two[1], **fields)], sticky=sticky)


def start(gateway: Running, *routes: Route) -> None:
    gateway.start(routes=list(routes))
    gateway.until_up("dep-site")
    gateway.until_up("dep-new")


def answers(gateway: Running, count: int, **headers: str) -> Counter[str]:
    return Counter(gateway.request("GET", "/web/site/", **headers)[2].decode() for _ in range(count))


def test_a_share_is_dealt_out_exactly_and_counted_by_itself(gateway: Running, two: tuple[Upstream, Upstream]) -> None:
    start(gateway, divided(two))
    assert answers(gateway, 40) == {"old": 30, "new": 10}
    shares = {each["deployment"]: each["requests"] for each in gateway.control("GET", "/state")["shares"]}
    assert shares == {"dep-site": 30, "dep-new": 10}


def test_a_header_asks_for_a_side_and_a_cookie_keeps_to_one(gateway: Running, two: tuple[Upstream, Upstream]) -> None:
    start(gateway, divided(two, sticky="cookie:session", percent=50.0, headers=[("x-beta", "yes")]))
    assert answers(gateway, 5, X_Beta="yes") == {"new": 5}
    sides = []
    for number in range(20):
        found = answers(gateway, 3, Cookie=f"theme=dark; session=s{number}; other=1")
        assert len(found) == 1
        sides += found
    assert 3 <= sides.count("new") <= 17
    assert answers(gateway, 10, Cookie="theme=dark") == {"old": 5, "new": 5}


def test_another_web_service_takes_a_share(gateway: Running, two: tuple[Upstream, Upstream]) -> None:
    other = route("next", kind="web", targets=[two[1].target("w2")], deployment="dep-new")
    leads = variant(two[1], targets=[], leads_to=(other.api, "next"), percent=50.0)
    start(gateway, web(two[0].target(), variants=[leads]), other)
    assert answers(gateway, 10) == {"old": 5, "new": 5}


def test_who_cannot_be_reached_takes_no_share(gateway: Running, two: tuple[Upstream, Upstream]) -> None:
    two[1].kill()
    gateway.start(routes=[divided(two, percent=50.0)])
    gateway.until_up("dep-site")
    assert answers(gateway, 10) == {"old": 10}


def test_bodies_and_streams_go_to_the_chosen_side(gateway: Running, two: tuple[Upstream, Upstream]) -> None:
    start(gateway, divided(two, percent=100.0))
    two[1].instead = b""
    status, _, body = gateway.request("POST", "/web/site/echo", b"x" * 300_000)
    assert (status, json.loads(body)["size"]) == (200, 300_000)
    assert gateway.request("GET", "/web/site/stream")[2] == b"onetwo"
    assert not two[0].requests


def test_a_share_that_takes_over_keeps_its_connections(gateway: Running, two: tuple[Upstream, Upstream]) -> None:
    start(gateway, divided(two, percent=50.0))
    answers(gateway, 4)
    gateway.apply([web(two[1].target("w2"), deployment="dep-new", release=2)])
    assert answers(gateway, 4) == {"new": 4}
    gateway.wait(lambda: not gateway.lane("dep-site"))


def test_copies_are_sent_of_what_changes_nothing_and_nobody_waits_for_them(
    gateway: Running, two: tuple[Upstream, Upstream]
) -> None:
    start(gateway, divided(two, percent=0.0, copies=True))
    assert answers(gateway, 10) == {"old": 10}
    assert gateway.request("HEAD", "/web/site/")[0] == 200
    assert gateway.request("POST", "/web/site/", b"x")[0] == 200

    def share() -> Any:
        return next(each for each in gateway.control("GET", "/state")["shares"] if each["deployment"] == "dep-new")

    gateway.wait(lambda: share()["requests"] == 11)
    assert [method for method, _, _ in two[1].requests] == ["GET"] * 10 + ["HEAD"]
    assert share()["copies"] and sum(share()["buckets"]) == 11 and not share().get("errors")
    assert "POST" in {method for method, _, _ in two[0].requests}


def test_another_web_service_gets_copies_through_its_releases_and_without_room_they_are_left_out_and_counted(
    gateway: Running, two: tuple[Upstream, Upstream]
) -> None:
    other = route("next", kind="web", targets=[two[1].target("w2")], deployment="dep-new")
    leads = variant(two[1], targets=[], leads_to=(other.api, "next"), percent=0.0, copies=True)
    site = web(two[0].target(), variants=[leads])

    def counted() -> dict[str, float]:
        text = gateway.request("GET", "/metrics")[2].decode()
        lines = [line.rsplit(" ", 1) for line in text.splitlines() if 'release="1/next"' in line]
        return {line.partition("{")[0]: float(value) for line, value in lines}

    start(gateway, site, other)
    assert answers(gateway, 10) == {"old": 10}
    assert gateway.request("POST", "/web/site/", b"x")[0] == 200
    gateway.wait(lambda: counted().get("bough_requests_total") == 10)
    assert {method for method, _, _ in two[1].requests} == {"GET"}

    third = Upstream().start()
    third.instead, third.says = b"/old", b"third"
    try:
        gateway.apply([site, msgspec.structs.replace(other, deployment="dep-third", targets=[third.target("w3")])])
        gateway.until_up("dep-third")
        assert answers(gateway, 5) == {"old": 5}
        gateway.wait(lambda: len(third.requests) == 5)
        third.instead = b"/hang"
        assert answers(gateway, 80) == {"old": 80}
        gateway.wait(lambda: counted().get("bough_copies_left_out_total") == 80 - COPIES_WAITING)
    finally:
        third.end()


def test_a_deployment_that_died_under_its_copies_costs_callers_nothing(
    gateway: Running, two: tuple[Upstream, Upstream]
) -> None:
    start(gateway, divided(two, percent=0.0, copies=True))
    two[1].kill()
    assert answers(gateway, 100) == {"old": 100}
