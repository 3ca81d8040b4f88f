"""Requests to web services that are copied to another environment: safe ones alone, and nobody who calls notices."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from bough.gateway.models import Mirrored, Route

from ..conftest import Running
from ..http.test_proxy import Upstream, web
from .test_tap import found, passed


@pytest.fixture
def apps() -> Iterator[tuple[Upstream, Upstream]]:
    made = Upstream().start(), Upstream().start()
    yield made
    for each in made:
        each.end()


def routes(main: Upstream, other: Upstream, percent: float = 100.0, **fields: Any) -> list[Route]:
    wanted = Mirrored(id="mir_1", environment="feature", percent=percent, tolerance=1e-6)
    return [
        web(main.target(), mirrors=[wanted]),
        web(other.target("w2"), environment="feature", deployment="dep-branch", **fields),
    ]


def until_up(gateway: Running) -> None:
    def up() -> bool:
        lanes = {each["deployment"]: each["links"] for each in gateway.control("GET", "/state")["lanes"]}
        return all(lanes.get(each) for each in lanes) and len(lanes) == 2

    gateway.wait(up)


def test_safe_requests_are_answered_by_both_and_compared(gateway: Running, apps: tuple[Upstream, Upstream]) -> None:
    main, other = apps
    gateway.start(routes=routes(main, other))
    until_up(gateway)
    for path in ("/none", "/stream", "/old"):
        gateway.request("GET", f"/web/site{path}")
    lines = found(gateway, 3)
    assert [each.same for each in lines] == [True] * 3
    assert sorted(each.source.status for each in lines) == [200, 200, 304]
    assert all(each.source.seconds > 0 and each.target.seconds > 0 for each in lines)
    assert {path for _, path, _ in other.requests} == {"/none", "/stream", "/old"}
    assert gateway.request("GET", "/web/site/a", X_Who="one", Host="127.0.0.1")[0] == 200
    found(gateway, 4)
    sent, copied = main.requests[-1], other.requests[-1]
    assert sent == copied, "the copy is the request that the service got"


def test_what_may_change_something_is_not_copied(gateway: Running, apps: tuple[Upstream, Upstream]) -> None:
    main, other = apps
    gateway.start(routes=routes(main, other))
    until_up(gateway)
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert gateway.request(method, "/web/site/", b"body")[0] == 200
    assert gateway.request("GET", "/web/site/", b"with a body")[0] == 200
    assert gateway.request("GET", "/web/site/stream")[0] == 200
    (line,) = found(gateway)
    assert [path for _, path, _ in other.requests] == ["/stream"]
    assert passed(gateway).seen == 1 and line.same


def test_bodies_that_are_no_json_are_compared_by_their_digest(
    gateway: Running, apps: tuple[Upstream, Upstream]
) -> None:
    main, other = apps
    gateway.start(routes=routes(main, other))
    until_up(gateway)
    other.says = b"another text"
    assert gateway.request("GET", "/web/site/old")[2] == b"until the end"
    (line,) = found(gateway)
    (difference,) = line.differences
    assert difference.source.startswith("13 bytes, sha256 ") and difference.target.startswith("12 bytes, sha256 ")


def test_a_share_of_web_requests_is_exact(gateway: Running, apps: tuple[Upstream, Upstream]) -> None:
    main, other = apps
    gateway.start(routes=routes(main, other, 20.0))
    until_up(gateway)
    for _ in range(50):
        gateway.request("GET", "/web/site/stream")
    assert len(found(gateway, 10)) == 10
    gateway.wait(lambda: passed(gateway).seen == 50)
    assert len(other.requests) == 10


def test_a_web_target_that_hangs_dies_or_is_away_is_never_noticed(
    gateway: Running, apps: tuple[Upstream, Upstream]
) -> None:
    main, other = apps
    gateway.start(routes=routes(main, other, timeout_s=2.0))
    until_up(gateway)
    other.instead = b"/hang"
    began = time.monotonic()
    assert [gateway.request("GET", "/web/site/")[0] for _ in range(100)] == [200] * 100
    assert time.monotonic() - began < 2.0 * 100 / 2  # had each waited for its copy, all of it
    assert {each.target.status for each in found(gateway, 20)} == {0}
    other.instead = b"/die"
    assert [gateway.request("GET", "/web/site/")[0] for _ in range(5)] == [200] * 5
    other.kill()
    assert [gateway.request("GET", "/web/site/")[0] for _ in range(5)] == [200] * 5
    gateway.apply([routes(main, other)[0]])
    assert json.loads(gateway.request("GET", "/web/site/x")[2])["path"] == "/x"
    gateway.wait(lambda: passed(gateway).left_out > 0)
