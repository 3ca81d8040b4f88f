"""Who can reach what, and a Bough in which nothing may be public."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from bough.gateway.models import Table
from bough.kernel.errors import Forbidden
from bough.kernel.platform import Platform
from bough.kernel.project import resolve
from bough.kernel.settings import Document
from tests.plane import Plane

FILE = """name = "shop"
[services.churn]
model = "service:Churn"
allow = ["10.0.0.0/8"]
scopes = ["predict"]
limits = { key = "10/s" }
[services.site]
command = "python app.py"
access = "key-or-jwt"
tls = "required"
port = 8080
issuers = [{ issuer = "https://login.example.com", audience = "shop" }]
[queues.letters]
handler = "churn"
access = "key"
"""
OPEN = 'name = "shop"\n[services.churn]\nmodel = "service:Churn"\n'
PUBLIC = OPEN + 'access = "public"\n'


def shown(plane: Plane, **fields: Any) -> tuple[Any, dict[str, Any]]:
    answer = plane.call("services.exposure", **fields)
    return answer, {each.name: each for each in answer.services}


def test_every_door_is_shown(tmp_path: Path) -> None:
    plane = Plane(tmp_path, platform=Platform(gateway_host="0.0.0.0", tls_certificate="cert.pem"))
    plane.deploy(FILE)
    answer, services = shown(plane)
    assert [(each.part, each.address, each.protocol, each.reached_from) for each in answer.listeners] == [
        ("gateway", "0.0.0.0:7400", "plain", "the network"),
        ("gateway", "0.0.0.0:7443", "TLS", "the network"),
        ("API", "127.0.0.1:7401", "plain", "this machine"),
    ]
    churn, site, letters = services["churn"], services["site"], services["letters"]
    assert (churn.asks_for, churn.allow, churn.tls, churn.limits) == (
        "key", ["10.0.0.0/8"], "plain and TLS", {"key": "10/s"}
    )  # fmt: skip
    assert (site.what, site.ports, site.tls, site.asks_for) == ("web service", [7400, 7443, 8080], "TLS", "key or jwt")
    assert (letters.what, letters.asks_for, letters.allow) == ("queue", "key", ["10.0.0.0/8"])
    assert letters.limits == {}, "the service's are for who asks it"
    table = msgspec.json.decode(plane.bough.home.table.read_bytes(), type=Table)
    assert [(each.scopes, each.access) for each in table.queues] == [(["predict"], "key")]
    assert shown(plane, project="other")[1] == {}
    routes = {each.service: each for each in plane.routes()}
    assert routes["churn"].allow == ["10.0.0.0/8"] and routes["site"].tls_required


def test_where_nothing_may_be_public_a_release_that_would_be_is_refused(tmp_path: Path) -> None:
    plane = Plane(tmp_path, platform=Platform(public_services=False))
    plane.deploy(OPEN)
    assert plane.routes()[0].access == "key"  # also while the gateway is for this machine only
    assert shown(plane)[1]["churn"].asks_for == "key"
    digest = plane.bundle({"service.py": "two"})
    for verb in ("releases.create", "releases.plan"):
        with pytest.raises(Forbidden) as caught:
            plane.call(verb, file=PUBLIC, bundles={".": digest})
        assert caught.value.own_code == "PUBLIC_REFUSED" and "services.churn" in caught.value.message
    queue = OPEN + '[queues.letters]\nhandler = "churn"\naccess = "public"\n'
    with pytest.raises(Forbidden, match=r"queues\.letters"):
        plane.call("releases.create", file=queue, bundles={".": digest})
    assert len(plane.call("releases.list", project="shop")) == 1


def test_what_was_public_before_is_shut(tmp_path: Path) -> None:
    plane = Plane(tmp_path)
    first = plane.deploy(PUBLIC)
    assert plane.routes()[0].access == "public"
    shut = Plane(tmp_path, after=plane, platform=Platform(public_services=False))
    shut.let_pass(1)
    assert shut.routes()[0].access == "key"
    with pytest.raises(Forbidden):
        shut.call("releases.rollback", project="shop", to=first.number)


def test_settings_of_doors_are_read_with_the_project_file() -> None:
    for line, said in (
        ('allow = ["10.0.0.1/8"]', "host bits"),
        ('allow = ["home"]', "no network"),
        ('tls = "on"', "tls"),
    ):
        with pytest.raises(Exception, match=said):
            resolve(Document(OPEN + line + "\n"))
