"""From bough.toml to the routing table: what a service says of its requests arrives there, and restarts nothing."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from bough.gateway.models import CorsRule, Route, Table
from bough.kernel.errors import NotFound, ProjectFileInvalid
from bough.kernel.project import resolve
from bough.kernel.settings import Document
from bough.kernel.traffic import CORS_HEADERS, Quota
from tests.plane import Plane

ONE = """
name = "shop"
[services.churn]
model = "service:Churn"
"""
SAID = """
access = "key"
scopes = ["predict"]
limits = { key = "10/s burst 20", route = "600/min" }
priority = "low"
deprecated = 2026-06-01
sunset = 2026-12-31
sticky = "key"
deterministic = true
cache = { size_mb = 1, age_s = 60 }
cors = { origins = ["https://app.example.com"], credentials = true }
split = [
  { to = "next", percent = 5 },
  { to = "next", header = "X-Beta", value = "yes" },
  { to = "next", keys = ["key_1"] },
]
"""
NEXT = """
[services.next]
model = "service:Next"
route = "churn"
api = "v2"
"""


@pytest.fixture
def plane(tmp_path: Path) -> Plane:
    return Plane(tmp_path)


def routes(plane: Plane) -> dict[str, Route]:
    return {route.api: route for route in plane.routes()}


def test_what_a_service_says_of_its_requests_is_in_the_table_and_restarts_nothing(plane: Plane) -> None:
    plane.deploy(ONE + NEXT)
    running = plane.running()
    assert plane.deploy(ONE + SAID + NEXT).state == "live"
    assert plane.running() == running
    found = routes(plane)["v1"]
    assert (found.access, found.scopes, found.priority) == ("key", ["predict"], "low")
    assert found.limits == {"key": Quota(10, 1, 20), "route": Quota(600, 60, 600)}
    assert (found.deprecated, found.deprecated_at, found.sunset_at) == (True, 1780272000.0, 1798675200.0)
    assert (found.cache_bytes, found.cache_age_s) == (1 << 20, 60.0)
    assert found.cors == CorsRule(
        origins=["https://app.example.com"], headers=CORS_HEADERS, credentials=True, age_s=600
    )
    [variant] = found.variants
    assert (variant.name, variant.leads_to, variant.percent) == ("next", ("v2", "churn"), 5.0)
    assert (variant.headers, variant.keys, found.sticky) == ([("x-beta", "yes")], ["key_1"], "key")
    assert routes(plane)["v2"].variants == []


def test_what_a_key_may_do_is_in_the_table(plane: Plane) -> None:
    plane.deploy(ONE)
    asked = {"scopes": ["predict"], "environments": ["dev"], "tenant": "acme", "priority": "high", "quota": "5/s"}
    made = plane.call("keys.create", project="shop", **asked)
    plane.let_pass(0.5)
    [key] = msgspec.json.decode(plane.bough.home.table.read_bytes(), type=Table).keys
    assert (key.id, key.scopes, key.tenant, key.priority) == (made.id, ["predict"], "acme", "high")
    assert key.environments == ["dev"]
    assert key.quota == Quota(5, 1, 5)


def test_a_web_service_that_gets_copies_is_in_the_table(plane: Plane) -> None:
    copies = 'split = [{ to = "page", copies = true }]'
    plane.deploy(f'name = "shop"\n[services.web]\ncommand = "x"\n{copies}\n[services.page]\ncommand = "y"\n')
    [found] = [variant for route in plane.routes() for variant in route.variants]
    assert (found.name, found.leads_to, found.copies, found.percent) == ("page", ("v1", "page"), True, 0.0)


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ('[{ to = "churn", percent = 5 }]', "churn is a model service: requests cannot be handed to it"),
        ('[{ to = "page", copies = true }]', ""),
        ('[{ to = "page", percent = 5 }]', ""),
    ],
)
def test_web_services_share_requests_among_each_other(split: str, said: str) -> None:
    web = f'[services.web]\ncommand = "x"\nsticky = "cookie:id"\nsplit = {split}\n[services.page]\ncommand = "y"\n'
    if not said:
        assert resolve(Document(ONE + web)).services["web"].split[0].to == "page"
        return
    with pytest.raises(ProjectFileInvalid, match=said):
        resolve(Document(ONE + web))


@pytest.mark.parametrize(
    ("setting", "at", "said"),
    [
        ('limits = { key = "many" }', "services.churn.limits.key", "is no quota"),
        ("deprecated = 2026-06-01\nsunset = 2026-01-01", "services.churn.sunset", "is before 2026-06-01"),
        ("sunset = 2026-01-01", "services.churn.sunset", "only a deprecated"),
        ('sticky = "cookie"', "services.churn.sticky", "is not one of key, request, header:NAME"),
        ('split = [{ to = "nobody", percent = 5 }]', "services.churn.split", "there is no other service 'nobody'"),
        ('split = [{ to = "churn", percent = 5 }]', "services.churn.split", "there is no other service 'churn'"),
        ('split = [{ to = "next" }]', "services.churn.split", "nothing says which requests"),
        ('split = [{ to = "next", percent = 60 }, { to = "next", percent = 60 }]', "services.churn.split", "120"),
        ('split = [{ to = "web", percent = 60 }]', "services.churn.split", "web is a web service"),
        ('cors = { origins = ["*"], credentials = true }', "services.churn.cors.origins", "name the pages"),
        ('priority = "urgent"', "services.churn.priority", "not one of high, normal, low"),
    ],
)
def test_a_mistake_is_said_where_it_was_made(setting: str, at: str, said: str) -> None:
    text = ONE + setting + "\n" + NEXT + '[services.web]\ncommand = "x"\n'
    with pytest.raises(ProjectFileInvalid) as caught:
        resolve(Document(text))
    assert caught.value.fields["key"] == at
    assert said in caught.value.message


def test_a_page_may_send_a_header_of_its_own_beside_key_and_content_type(plane: Plane) -> None:
    plane.deploy(ONE + 'cors = { origins = ["https://app.example.com"], headers = ["X-Mine"] }\n')
    rule = plane.routes()[0].cors
    assert rule is not None and rule.headers == [*CORS_HEADERS, "X-Mine"]


def test_a_key_names_services_and_queues_as_callers_do(plane: Plane) -> None:
    """One for the second version of an interface is for its route; its own name would open nothing."""
    second = '\n[services.next]\nmodel = "service:Next"\nroute = "churn"\napi = "v2"\n'
    plane.deploy(
        'name = "shop"\n[services.churn]\nmodel = "service:Churn"\n[queues.letters]\nhandler = "churn"' + second
    )
    asked = {"services": ["churn", "letters", "next", "nobody"], "environments": ["main", "dev"]}
    assert plane.call("keys.create", project="shop", **asked).not_there_yet == ["next", "nobody", "dev"]
    with pytest.raises(NotFound, match="no project 'shp'"):
        plane.call("keys.create", project="shp")
