"""Which services a mirror and a replay take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bough.kernel.errors import NotFound
from tests.plane import Plane

TOML = """name = "shop"
[services.site]
command = "python app.py"
"""


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    made = Plane(tmp_path)
    assert made.deploy(TOML).state == "live"
    made.call("environments.create", project="shop", branch="test")
    made.let_pass(1.0)
    yield made
    made.bough.stop()


def test_a_mirror_takes_web_services_along(plane: Plane) -> None:
    made = plane.call("mirrors.start", project="shop", environment="main", to="test", sample="5%")
    plane.let_pass(1.0)
    (route,) = [each for each in plane.routes() if each.environment == "main"]
    assert [(each.id, each.environment, each.percent) for each in route.mirrors] == [(made.id, "test", 5.0)]
    plane.call("mirrors.stop", id=made.id)
    plane.let_pass(1.0)
    assert not any(each.mirrors for each in plane.routes())


def test_a_replay_has_no_requests_of_web_services(plane: Plane) -> None:
    with pytest.raises(NotFound, match="model service"):
        plane.call("replays.start", project="shop", to="test")
