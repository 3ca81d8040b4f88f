"""Who may call, what a version's answers say, and which pages may read them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from bough.gateway.models import CorsRule, Route, Variant
from bough.runtime.frames import Reply, Request

from ..callers.test_limits import key
from ..conftest import Replica, Running, route
from ..test_serving import code

Make = Callable[..., Replica]
PAGE = "https://app.example.com"


def says(text: str) -> Callable[[Request], list[Reply]]:
    return lambda request: [Reply(request.id, 200, json.dumps(text).encode())]


@pytest.fixture
def versions(replicas: Make) -> list[Route]:
    """Two API versions of one service, the older one on its way out."""
    day = datetime(2026, 6, 1, tzinfo=UTC).timestamp()
    old = route(
        "churn", replicas("u1", says("one")), deployment="d1", deprecated=True, deprecated_at=day,
        sunset_at=day + 86_400 * 30,
    )  # fmt: skip
    return [old, route("churn", replicas("u2", says("two")), deployment="d2", api="v2")]


def test_a_deprecated_version_says_since_when_until_when_and_what_follows(
    gateway: Running, versions: list[Route]
) -> None:
    gateway.start(routes=versions)
    status, headers, body = gateway.post("churn", {})
    assert (status, json.loads(body)) == (200, "one")
    assert headers["deprecation"] == "@1780272000"
    assert headers["sunset"] == "Wed, 01 Jul 2026 00:00:00 GMT"
    assert headers["link"] == '</v2/churn/predict>; rel="successor-version"'
    status, headers, body = gateway.request("POST", "/v2/churn/predict", b"{}")
    assert json.loads(body) == "two" and "deprecation" not in headers and "sunset" not in headers


def test_each_version_is_counted_by_itself(gateway: Running, versions: list[Route]) -> None:
    gateway.start(routes=versions)
    for _ in range(3):
        gateway.post("churn", {})
    gateway.request("POST", "/v2/churn/predict", b"{}")
    text = gateway.request("GET", "/metrics")[2].decode()
    lines = [line for line in text.splitlines() if line.startswith("bough_requests_total{") and "churn" in line]
    counted = {line.split('api="')[1].split('"')[0]: float(line.rsplit(" ", 1)[1]) for line in lines}
    assert counted == {"v1": 3.0, "v2": 1.0}


def test_versions_share_a_name_by_weight_header_and_key(gateway: Running, versions: list[Route]) -> None:
    old, new = versions
    to = Variant(
        deployment="d2", name="churn-next", leads_to=("v2", "churn"), percent=20.0, headers=[("x-beta", "yes")],
        keys=["key_tester"],
    )  # fmt: skip
    old = Route(**{name: getattr(old, name) for name in old.__struct_fields__} | {"variants": [to], "access": "public"})
    gateway.start(routes=[old, new], keys=[key("tester"), key("other")])
    gateway.until_up("d2")

    def answers(count: int, **headers: str) -> Counter[str]:
        return Counter(json.loads(gateway.post("churn", n, **headers)[2]) for n in range(count))

    assert answers(50) == {"one": 40, "two": 10}
    assert answers(10, X_Beta="yes") == {"two": 10}
    assert answers(10, X_Beta="no") == {"one": 8, "two": 2}
    assert answers(10, X_API_Key="tester") == {"two": 10}
    assert answers(10, X_API_Key="other") == {"one": 8, "two": 2}
    assert json.loads(gateway.request("POST", "/v2/churn/predict", b"{}")[2]) == "two"
    text = gateway.request("GET", "/metrics")[2].decode()
    assert 'release="1/churn-next",service="churn",status="200"} 34.0' in text


def test_a_sticky_split_keeps_callers_on_their_side(gateway: Running, versions: list[Route]) -> None:
    old, new = versions
    to = Variant(deployment="d2", name="churn-next", leads_to=("v2", "churn"), percent=50.0)
    fields = {name: getattr(old, name) for name in old.__struct_fields__}
    gateway.start(routes=[Route(**fields | {"variants": [to], "sticky": "header:x-user"}), new])
    gateway.until_up("d2")
    sides = {
        user: {json.loads(gateway.post("churn", n, X_User=user)[2]) for n in range(4)} for user in map(str, range(20))
    }
    assert all(len(side) == 1 for side in sides.values())
    assert {side for each in sides.values() for side in each} == {"one", "two"}


def test_a_split_to_a_route_that_leaves_ends(gateway: Running, versions: list[Route]) -> None:
    old, new = versions
    to = Variant(deployment="d2", name="churn-next", leads_to=("v2", "churn"), percent=100.0)
    fields = {name: getattr(old, name) for name in old.__struct_fields__}
    split = Route(**fields | {"variants": [to]})
    gateway.start(routes=[split, new])
    gateway.until_up("d2")
    assert json.loads(gateway.post("churn", 1)[2]) == "two"
    gateway.apply([split])
    assert json.loads(gateway.post("churn", 1)[2]) == "one"
    gateway.apply([split, new])
    gateway.until_up("d2")
    assert json.loads(gateway.post("churn", 1)[2]) == "two"


def test_scopes_are_asked_for_and_named(gateway: Running, replicas: Make) -> None:
    found = route("churn", replicas(), access="key", scopes=["predict", "churn"])
    gateway.start(routes=[found], keys=[key("all", scopes=["churn", "predict"]), key("some", scopes=["churn"])])
    assert gateway.post("churn", {}, X_API_Key="all")[0] == 200
    status, headers, body = gateway.post("churn", {}, X_API_Key="some")
    assert (status, code(body)) == (403, "SCOPE_MISSING")
    assert headers["www-authenticate"] == 'Bearer error="insufficient_scope", scope="predict churn"'


def test_a_key_of_one_environment_opens_no_other(gateway: Running, replicas: Make) -> None:
    found = route("churn", replicas(), access="key")
    gateway.start(
        routes=[found], keys=[key("here", environments=[found.environment]), key("there", environments=["dev"])]
    )
    assert gateway.post("churn", {}, X_API_Key="here")[0] == 200
    status, _, body = gateway.post("churn", {}, X_API_Key="there")
    assert (status, code(body)) == (403, "KEY_SCOPE")


def test_pages_that_were_named_may_call_and_others_not(gateway: Running, replicas: Make) -> None:
    rule = CorsRule(origins=[PAGE], headers=["content-type", "x-api-key"], age_s=60)
    gateway.start(routes=[route("churn", replicas(), access="key", cors=rule)], keys=[key("good")])
    asks = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "x-api-key"}
    status, headers, _ = gateway.request("OPTIONS", "/v1/churn/predict", Origin=PAGE, **asks)
    assert status == 204
    assert headers["access-control-allow-origin"] == PAGE and "POST" in headers["access-control-allow-methods"]
    assert headers["access-control-allow-headers"] == "content-type, x-api-key"
    assert headers["access-control-max-age"] == "60" and headers["vary"] == "Origin"
    other = gateway.request("OPTIONS", "/v1/churn/predict", Origin="https://evil.example", **asks)[1]
    assert "access-control-allow-origin" not in other and "access-control-allow-methods" not in other

    status, headers, _ = gateway.post("churn", {}, Origin=PAGE, X_API_Key="good")
    assert (status, headers["access-control-allow-origin"]) == (200, PAGE)
    status, headers, _ = gateway.post("churn", {}, Origin=PAGE)
    assert (status, headers["access-control-allow-origin"]) == (401, PAGE)  # or the page could not tell why
    assert "access-control-allow-origin" not in gateway.post("churn", {}, X_API_Key="good")[1]


def test_without_cors_a_preflight_is_not_answered(gateway: Running, replicas: Make) -> None:
    gateway.start(routes=[route("churn", replicas())])
    status, headers, _ = gateway.request(
        "OPTIONS", "/v1/churn/predict", Origin=PAGE, Access_Control_Request_Method="POST"
    )
    assert status == 405 and not any(name.startswith("access-control") for name in headers)


def test_everybody_s_pages_get_a_star_unless_they_send_credentials(gateway: Running, replicas: Make) -> None:
    gateway.start(routes=[route("churn", replicas(), cors=CorsRule(origins=["*"]))])
    assert gateway.post("churn", {}, Origin=PAGE)[1]["access-control-allow-origin"] == "*"
    gateway.apply([route("churn", replicas("u2"), cors=CorsRule(origins=[PAGE], credentials=True))])
    headers = gateway.post("churn", {}, Origin=PAGE)[1]
    assert headers["access-control-allow-origin"] == PAGE
    assert headers["access-control-allow-credentials"] == "true"
